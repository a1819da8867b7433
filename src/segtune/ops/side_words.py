"""Words that say a side, by language: the one table that decides whether a picture may be mirrored.

`word` is a whole word, `stem*` the beginning of one, `*part*` stands anywhere (scripts without spaces, or with
prefixes), and `two_words` are two words. Words that mean something else far more often ("este", which is "this") stand
in `PAIRED_ABBREVIATIONS` instead. All are compared after `ops.sides.folded`: case, width and most accents aside. Words
that change places in a mirror image stand at the same position of `left` and `right`; what has no such partner, a time
of the clock for instance, is in `other`. A word too many costs a mirror image; a word too few teaches the opposite of
what a text says.
"""

from __future__ import annotations

from typing import NamedTuple


class Language(NamedTuple):
    """The side words of one language (or of several that share them)."""

    left: str
    right: str
    other: str = ""


LANGUAGES: tuple[Language, ...] = (
    # English; directions of the compass, of a ship, of the clock; abbreviations
    Language(
        "*left* lhs west* northwest* southwest* port portside larboard nearside*",
        "right* rhs east* northeast* southeast* starboard starboardside starboard offside*",
        "*handright *sideright *mostright oclock *clockwise* *o'clock* lh rh sinistral* dextral* southpaw*",
    ),
    # Latin and medical usage
    Language("sinister* sin sx laevo* levo*", "dexter* dex dx dextro* dextro*", "sinistrum dextrum"),
    # Chinese, simplified and traditional; Cantonese
    Language(
        "*左* *西边* *西侧* *西面* *西部* *西邊* *西側* *西方*",
        "*右* *东边* *东侧* *东面* *东部* *東邊* *東側* *东方*",
        "*顺时针* *逆时针* *順時針* *逆時針* *点钟* *點鐘* *點鍾* *向东* *向西* *朝东* *朝西* *東面* *東部*",
    ),
    # Japanese
    Language(
        "*ひだり* *ヒダリ* *レフト* *西側* *西方*",
        "*みぎ* *ミギ* *ライト* *東側* *東方*",
        "*時計回* *時計まわ* *反時計* *時の方* *時方向* *時の位置* *東向* *西向*",
    ),
    # Korean
    Language(
        "*왼* *좌측* *좌편* *좌상* *좌하* *서쪽* *서편* *레프트*",
        "*오른* *우측* *우편* *우상* *우하* *동쪽* *동편* *라이트*",
        "*좌우* *시방향* *시_방향* *시계방향* *시계_방향* 좌 우 좌에 우에 좌로 우로",
    ),
    # Spanish; Galician, Catalan
    Language(
        "izquierd* izq izda izqdo zurd* occidental* babor esquerr*",
        "derech* der dcha dcho diestr* oriental* estribor dret*",
        "dereit* oeste al_este del_este lado_este horario antihorario levogir* dextrogir* manecillas",
    ),
    # Portuguese
    Language("esquerd* esq canhot* oeste bombordo", "direit* dir destr* leste estibordo", "anti-horari* horas horari*"),
    # French; Occitan
    Language(
        "gauche* gauche* gaucher* babord senestr*",
        "droit* droite* droitier* tribord dextr*",
        "aiguilles horaire antihoraire heures ouest l'est cote_est",
    ),
    # Italian
    Language(
        "sinistr* sin mancin* sx",
        "destr* des destrors* dx",
        "ovest a_est lato_est orario antiorario oriental* occidental* levogir* destrogir*",
    ),
    # Romanian
    Language("stang* stang* vestul", "dreapt* drept* estul", "vestic* estic* orelor"),
    # German
    Language(
        "links* linke* linkem linker* backbord westlich*",
        "rechts* rechte* rechtem rechter* steuerbord ostlich*",
        "link ost osten nordost* sudost* nordwest* sudwest* *uhrzeiger* uhr",
    ),
    # Dutch, Afrikaans
    Language("linker* bakboord westen", "rechter* stuurboord oosten", "regs regter* oost* uur kloksgewijs* *wijzers*"),
    # Swedish, Danish, Norwegian, Icelandic
    Language(
        "vanst* venst* venstre* vaster* vinstri*",
        "hoger* hojre* hoyre* oster* haegri*",
        "hogra* hogre* medurs moturs klockan klokken babord styrbord medsols motsols",
    ),
    # Finnish, Estonian
    Language(
        "vasem* vasa* lansi*",
        "oikea* oike* ita*",
        "vasen vasak* parem* paremal* myotapaiv* vastapaiv* kello lannes* lantee* idas*",
    ),
    # Hungarian
    Language(
        "bal balra balrol baloldal* bal*oldal",
        "jobb jobbra jobbrol jobboldal* jobb*oldal",
        "jobb* balos balfel* balkez* balon orakor nyugat* kelet*",
    ),
    # Russian, Belarusian
    Language(
        "лев* слев* налев* влев* злев* запад*",
        "прав* справ* направ* вправ* справ* восто*",
        "часов* часа шуйц* десниц* юго-запад* северо-запад* юго-восто* северо-восто* юговосто* усход* захад*",
    ),
    # Ukrainian
    Language("лів* злів* налів* влів* захід*", "прав* справ* направ* вправ* схід*", "західн* східн* годин*"),
    # Bulgarian, Macedonian, Serbian, Croatian, Bosnian, Slovene
    Language(
        "*ляв* левиот лијев* lijev* levo leva levi levu levoj levom levog levih",
        "*дясн* десниот десн* desn* desno desna desni desnu desnoj desnom desnog desnih",
        "*десн* десен* изто* ulijevo udesno zahod* vzhod* istok* istoc*",
    ),
    # Czech, Slovak
    Language(
        "levy leva leve leveho levou levem levych vlevo nalevo zleva doleva",
        "pravy prava prave praveho pravou pravem pravych vpravo napravo zprava doprava",
        "levej pravej levym pravym levo pravo lavy lava lave laveho lavej lavou vlavo nalavo zlava dolava "
        "sprava vychod* zapad* hodin* rucick*",
    ),
    # Polish
    Language("lew* zachod*", "praw* wschod*", "wschodni* zachodni* godzin* zegara zegarow*"),
    # Lithuanian, Latvian, Albanian, Basque, Welsh, Irish
    Language(
        "kair* kreis* majt* ezker* chwith cle",
        "desin* lab* djatht* eskuin* dde deas",
        "eskubi* labais labaj* labi rietum* austrum*",
    ),
    # Greek, Armenian, Georgian
    Language("αριστερ* *ձախ* *მარცხ*", "δεξι* *աջ* *მარჯვ*", "ανατολ* δυτικ* δυση* ωρα *დასავლ* *აღმოსავლ*"),
    # Turkish, Azerbaijani, Kazakh, Uzbek, Mongolian
    Language(
        "sol sola solda soldaki soldan solun solunda solundaki soluna solu bati* сол",
        "sag saga sagda sagdaki sagdan sagin saginda sagindaki sagina sagi dogu* оң",
        "soldakini sag* solak* saat chap chapda chapdagi o'ng* ong зуун зүүн баруун солжак",
    ),
    # Arabic; شمال is "left" where Egyptian is spoken
    Language("*يسار* *يسر* *غرب*", "*يمين* *يمن* *شرق*", "*شمال* *عقارب* *الساعة*"),
    # Hebrew
    Language("*שמאל* *מערב*", "*ימין* *מזרח*", "*ימנ* *ימינ* *שעון* *בשעה*"),
    # Persian, Dari, Kurdish, Pashto
    Language("*چپ* *باختر*", "*راست* *خاور*", "*ساعت* *کین* *ښی* چەپ"),
    # Urdu, Punjabi (Shahmukhi), Sindhi
    Language("*بائی* *بایا* *بائے* *کھب*", "*دائی* *دایا* *دائے* *سجے*", "*داہن* *مشرق* *مغرب* *بجے* *سجا* *سجی*"),
    # Hindi, Nepali, Maithili, Bhojpuri
    Language(
        "*बाए* *बाये* *बाया* *बायी* *बाई* *बायें* *पश्चिम*",
        "*दाए* *दाये* *दाया* *दायी* *दाई* *दायें* *पूर्व*",
        "*दाहिन* *देब्रे* *वामावर्त* *दक्षिणावर्त* *घड़ी_की* *बजे* *लेफ्ट* *राइट* *पूरब* *बाँय* *बांय* *दांय* *दाँय* *बांए* *दांए*",
    ),
    # Marathi, Konkani
    Language("*डाव*", "*उजव*", "*वाजत*"),
    # Bengali, Assamese, Odia
    Language(
        "*বাম* *বাঁ* *বায়* *পশ্চিম* *ବାମ*",
        "*ডান* *ডাঁ* *ডাইন* *পূর্ব* *ଡାହାଣ*",
        "*বাও* *সোঁ* *ঘড়ির* *টার_দিকে*",
    ),
    # Punjabi (Gurmukhi), Gujarati
    Language("*ਖੱਬ* *ਪੱਛਮ* *ડાબ* *પશ્ચિમ*", "*ਸੱਜ* *ਪੂਰਬ* *જમણ* *પૂર્વ*", "*ਵਜੇ* *વાગ્ય*"),
    # Telugu, Kannada
    Language("*ఎడమ* *పడమ* *ಎಡ*", "*కుడి* *తూర్పు* *ಬಲ*", "*సవ్య* *గంటల* *ಪೂರ್ವ* *ಪಶ್ಚಿಮ*"),
    # Tamil, Malayalam, Sinhala
    Language(
        "*இடது* *இடப்* *மேற்கு* *ഇടത* *ഇടതു* *වම*",
        "*வலது* *வலப்* *கிழக்கு* *വലത* *വലതു* *දකුණ*",
        "*இடக்* *வலக்* *இடஞ்* *வலஞ்* *கடிகார* *மணி* *ഇടം* *വലം* *കിഴക്ക* *പടിഞ്ഞാറ* *ഘടികാര*",
    ),
    # Indonesian, Malay, Javanese, Sundanese, Tagalog
    Language(
        "kiri* kiwa kiwo kenca kaliwa* barat*",
        "kanan* tengen tengen katuhu kanan* timur*",
        "dikiri dikanan sisikiri sisikanan jam pukul kidulkulon kulon wetan",
    ),
    # Vietnamese, with and without its marks
    Language("trai phia_tay huong_tay", "phai phia_dong huong_dong", "kim_dong_ho gio"),
    # Thai, Lao, Khmer, Burmese
    Language(
        "*ซ้าย* *ตะวันตก* *ຊ້າຍ* *ឆ្វេង* *ဘယ်ဘက်*",
        "*ขวา* *ตะวันออก* *ຂວາ* *ស្តាំ* *ညာဘက်*",
        "*นาฬิกา* *ស្ដាំ* *ညာ*",
    ),
    # Swahili, Hausa, Yoruba, Somali, Amharic, Zulu, Esperanto
    Language(
        "kushoto* hagu bidix* *ግራ* maldekstr*",
        "kulia* dama midig* *ቀኝ* dekstr*",
        "magharibi mashariki kwesobunxele kwesokudla osi otun",
    ),
    # Signs that point
    Language("*←* *⬅* *👈* *◀* *↖* *↙* *⇐* *⇦*", "*→* *➡* *👉* *▶* *↗* *↘* *⇒* *⇨*", "*⟲* *⟳* *↺* *↻* *⮌* *⮎*"),
)

PAIRED_ABBREVIATIONS = (
    ("l", "r"), ("lt", "rt"), ("lh", "rh"), ("lft", "rgt"), ("le", "re"), ("li", "re"), ("g", "d"), ("sx", "dx"),
    ("sin", "dex"), ("izq", "der"), ("esq", "dir"), ("os", "od"), ("л", "п"), ("w", "e"), ("nw", "ne"), ("sw", "se"),
    ("ouest", "est"), ("oeste", "este"), ("ovest", "est"),
)  # fmt: skip
"""What says a side where classes of both names are there, and nothing anywhere else (but for l and r)."""

HEIGHTS = (
    "upper* lower* top* bottom* up down above below over under superior* inferior* north* south* overhead underneath "
    "ober* unter* oben unten haut* bas dessus dessous arriba abajo sopra sotto cima baixo alto alta bajo baja "
    "superieur* inferieur* верх* ниж* сверху снизу gorn* doln* boven* onder* ust alt yukari asagi tren duoi atas bawah "
    "ovre nedre ovan under felso also *上* *下* *ऊपर* *नीचे* *علو* *سفل* *بالا* *پایین* *บน* *ล่าง* *위* *아래* "
    "*উপর* *নিচ* *పై* *కింద* *மேல்* *கீழ்*"
)
"""Words that say above or below, in the same notation."""
