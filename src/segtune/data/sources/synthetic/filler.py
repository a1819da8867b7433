"""Common words that mean nothing in the drawn world.

Pretraining scatters them around attribute phrases, so that a language model learns to pass over words that it does
not know. None of them is a content word of the attribute grammar or a key word of the questions (tests hold this).
"""

from __future__ import annotations

_WORDS = """
about across actual admit advice afraid after again against agree aim allow almost along also although always among
amount anger announce another answer anyone argue article ask asleep assume attend average awake away baby bake
barely basket battle beach bean beard because become behind better between beyond bicycle bless bother bottle brief
brother budget busy button buyer cabin cake candle captain carpet carrot cattle certain chain chair chance chapter
cheese choice city class clean clear clever client climate clock close cloth coin collar college comfort concert
consider contain copy cotton could couple courage cousin cover curious current danger daughter debate deep describe
detail dinner direct discuss divide dollar double doubt dream during eager editor eight elbow elect electric email
empty enemy engine enjoy enter entire especially ever every excited expert explore extra fair faith family famous
fashion father feather february field final flavour flight flour flower follow foreign forget formal former fortune
forward found fourth freedom fresh friday friend garden gather general giant glad glass glove grand grass great
group grow guard guide habit half hammer happen harvest height hello hidden history hobby holiday honest horse hotel
hour house human hurry husband imagine important indeed industry inform inside invite item january judge juice
jungle junior kitchen knee knife knock label lady language laptop later lawyer leader leather leave lecture letter
level listen local lonely lorry manage many market matter mean meeting memory message metal method mind minute
mirror modern moment money month morning mother mountain myself name narrow nation neck needle news nice noise
notebook november object obvious ocean offer office often onion open opinion order outside oven own page palace
parrot partner party patient pencil pepper perfect perhaps period permit phrase piano picture pillow place planet
plate pocket poem police polite popular potato pour prefer prepare present price prize problem pupil purpose
question quick quiet radio reach reason refuse regular remain reply request review rhythm rice river salad salt same
sample sauce season second secret seem select sentence seven share sheet shoe shop shy silver simple since sleepy
slowly smell smile sock soft soldier some sometimes soon speak special spend spoon spring stable still stomach
strange street strong student study subject sudden sugar suit summer sunday supper taste taxi teacher team
television temper tennis theatre thumb thunder thursday ticket tidy together tomato tonight tooth topic tourist
towel town tradition travel treat trouble tuesday turkey twenty twice unless until vacation valley value various
very victory village wallet weather wedding week weekend welcome whether window wise with within wonder wooden work
worry would year zero
"""

FILLER_WORDS: tuple[str, ...] = tuple(_WORDS.split())
"""Over four hundred words, lower case."""
