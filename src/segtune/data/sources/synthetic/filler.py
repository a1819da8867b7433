"""Common words that mean nothing in the drawn world.

Pretraining scatters them around attribute phrases, so that a language model learns to pass over words that it does
not know, and over the small words that every question is full of ("which one of these would you"): fine-tuning has the
words that matter to teach. None of them is a content word of the attribute grammar or a key word of the questions
(tests hold this).
"""

from __future__ import annotations

_WORDS = """
a about across actual admit advice afraid after afternoon again against agree aim all allow almost along already
also although always am among amount an and anger announce another answer any anyone anything are argue article as
ask asked asking asleep assume at attend average awake away baby bake barely basket battle be beach bean beard
because become behind better between beyond bicycle bless both bother bottle brief bring brother brought budget busy
button buyer cabin cake call can candle captain carpet carrot cattle certain chain chair chance chapter cheese
children choice choose city class clean clear clever client climate clock close cloth coin collar college comfort
compare concert consider contain copy cotton could couple courage cousin cover curious current danger daughter
debate deep describe detail dinner direct discuss divide do dollar double doubt dream during each eager easy editor
eight elbow elect electric elsewhere email empty enemy engine enjoy enter entire especially ever every everybody
everything exactly excited expert explore extra fair faith family famous fashion father feather february field final
find first flavour flight flour flower follow for foreign forget forgot formal former fortune forward found fourth
freedom fresh friday friend from garden gather general giant give glad glass glove good grand grandma grass great
group grow guard guide habit had half hammer handy happen harvest have he height hello help helps here hid hidden
his history hobby holiday honest horse hotel hour house human hurry husband i if imagine important in indeed
industry inform inside into invite is it item items january judge juice jungle junior just keep kitchen knee knife
knock label lady language laptop later lawyer leader leather leave lecture lets letter level lie lies like likes
listen local lonely look looked looking looks lorry made manage many market matter me mean meet meeting memory
message metal method mind minute mirror modern moment money month morning mother mountain must my myself name narrow
nation neck need needle neighbour news nice noise notebook november object objects obvious ocean offer office often
once one onion only open opinion order our out outside oven own page palace parrot partner party patient pencil
people pepper perfect perhaps period permit phrase piano pick picks picture pillow place placed planet plans plate
please pocket poem point police polite popular potato pour prefer prepare present price prize problem pupil purpose
put question quick quiet radio reach really reason refuse regular remain reply request rest review rhythm rice river
salad salt same sample sauce says scene searching season second secret see seem seen select sentence serve seven
several share she sheet shoe shop should show shy silver simple simply since single sister sleepy slowly smell smile
so sock soft soldier some somebody someone something sometimes soon speak special spend spoon spring stable start
still stomach stood strange street strong student study subject sudden sugar suit summer sunday supper suppose take
taste taxi teacher team television tell temper tennis that theatre them then there these they think this through
thumb thunder thursday ticket tidy time to together tomato tomorrow tonight tooth topic tourist towel town tradition
travel treat trouble tuesday turkey twenty twice two unless until us use used vacation valley value various very
victory view village wallet want wants was we weather wedding week weekend welcome what whatever when where whether
which whichever will window wise with within wonder wooden work works worry would year yet you your zero
"""

FILLER_WORDS: tuple[str, ...] = tuple(_WORDS.split())
"""Over five hundred words, lower case."""
