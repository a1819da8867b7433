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
        "*left* lhs west* northwest* southwest* portside port_side larboard nearside* lft",
        "right* rhs east* northeast* southeast* starboardside starboard_side starboard offside* rgt",
        "*handright *sideright *mostright oclock *clockwise* *o'clock* lh rh sinistral* dextral* southpaw* "
        "port_bow port_quarter port_beam to_port",
    ),
    # Latin and medical usage
    Language(
        "sinister sx laevo levo levocard* levoscolio* levorot* levovers*",
        "dexter dx dextro dextro dextrocard* dextroscolio* dextrorot* dextrovers*",
        "sinistrum dextrum dexter's sinister's laevorot* dex",
    ),
    # Chinese, simplified and traditional; Cantonese
    Language(
        "*左* *西边* *西侧* *西面* *西部* *西邊* *西側* *西方*",
        "*右* *东边* *东侧* *东面* *东部* *東邊* *東側* *东方*",
        "*顺时针* *逆时针* *順時針* *逆時針* *点钟* *點鐘* *點鍾* *向东* *向西* *朝东* *朝西* *東面* *東部*",
    ),
    # Japanese
    Language(
        "*ひだり* *ヒダリ* *レフト側* *西側* *西方*",
        "*みぎ* *ミギ* *ライト側* *東側* *東方*",
        "*レフト* *時計回* *時計まわ* *反時計* *時の方* *時方向* *時の位置* *東向* *西向*",
    ),
    # Korean
    Language(
        "*왼* *좌측* *좌편* *좌상* *좌하* *서쪽* *서편* *좌회전* *좌단*",
        "*오른* *우측* *우편* *우상* *우하* *동쪽* *동편* *우회전* *우단*",
        "*좌우* *시방향* *시_방향* *시계방향* *시계_방향* 좌 우 좌에 우에 좌로 우로 *레프트*",
    ),
    # Spanish; Galician, Catalan
    Language(
        "izquierd* izda izqdo zurd* occidental* babor esquerr*",
        "derech* dcha dcho diestr* oriental* estribor dret*",
        "izq dereit* oeste al_este del_este lado_este horario antihorario levogir* dextrogir* manecillas",
    ),
    # Portuguese
    Language(
        "esquerd* canhot* oeste bombordo",
        "direit* destro leste estibordo",
        "destra destros destras esq anti-horari* horas horari*",
    ),
    # French; Occitan
    Language(
        "gauche* gauche* gaucher* babord senestre*",
        "droit* droite* droitier* tribord dextre*",
        "sens_des_aiguilles aiguilles_d'une aiguilles_de_la dextrogyr* levogyr* "
        "horaire antihoraire heures ouest l'est cote_est",
    ),
    # Italian
    Language(
        "sinistra sinistro sinistre sinistri sinistrors* mancin*",
        "destra destro destre destri destrors* destrors*",
        "ovest a_est lato_est orario antiorario oriental* occidental* levogir* destrogir*",
    ),
    # Romanian
    Language("stang* stang* vestul", "dreapt* drept* estul", "vestic* estic* orelor *acelor_de_ceas* acele_ceas*"),
    # German
    Language(
        "links* linke* linkem linker* backbord westlich*",
        "rechts* rechte* rechtem rechter* steuerbord ostlich*",
        "ost osten nordost* sudost* nordwest* sudwest* *uhrzeiger*",
    ),
    # Dutch, Afrikaans
    Language(
        "linker* bakboord westen",
        "rechter* stuurboord oosten",
        "regs regter* oost* uur kloksgewijs* *wijzers* met_de_klok tegen_de_klok",
    ),
    # Swedish, Danish, Norwegian, Icelandic
    Language(
        "vanster* venstre venstre vastra vasterut vinstri* vanstra vanster*",
        "hoger* hojre hoyre ostra osterut haegri* hogra hogre*",
        "vanst* venst* vaster vastlig* hogra* hojre* hoyre* oster ostlig* medurs moturs klockan klokken klokka babord "
        "styrbord medsols motsols med_uret mod_uret",
    ),
    # Finnish, Estonian
    Language(
        "vasemm* vasen vasempaan vasenta vasak vasakul* vasakpool* lansi*",
        "oikea oikea oikeaan oikeaa parem paremal* parempool* itapuol*",
        "vasem* vasak* oikea* oikeit* oikeil* oikeis* oikeid* oikeim* paremas parema paremat ita itaan itain* itais* "
        "myotapaiv* vastapaiv* kello lannes* lantee* idas* idan",
    ),
    # Hungarian
    Language(
        "bal balra balrol baloldal* balszel*",
        "jobb jobbra jobbrol jobboldal* jobbszel*",
        "jobb* balos balfel* balkez* orakor oranal oramutato* nyugat* kelet*",
    ),
    # Russian, Belarusian
    Language(
        "левы* лева* лево* леву* леве* слев* налев* влев* злев* запад*",
        "правы* права* право* праву* праве* справа направо* вправ* справа* восто*",
        "восточ* часов часовой часовую часа шуйц* десниц* юго-запад* северо-запад* "
        "юго-восто* северо-восто* юговосто* усход* захад*",
    ),
    # Ukrainian
    Language(
        "ліва* ліве* лівий лівого* ліво* лівим* лівих лівій* ліву* лівіш* зліва наліво вліво захід*",
        "права* праве* правий правого* право* правим* правих правій* праву* правіш* справа направо вправо схід*",
        "найлів* найправіш* лівор* західн* східн* година годину годині годин годинников*",
    ),
    # Bulgarian, Macedonian, Serbian, Croatian, Bosnian, Slovene
    Language(
        "ляв* наляво вляво отляво левиот лијев* lijev* levo leva levi levu levoj levom levog levih",
        "дясн* надясно вдясно отдясно десниот десн* desn* desno desna desni desnu desnoj desnom desnog desnih",
        "леви левия левият левите надесно удесно здесно налево улево десен "
        "изто* ulijevo udesno zahod* vzhod* istok* istoc*",
    ),
    # Czech, Slovak
    Language(
        "levy leva leve leveho levemu levou levem levych levym levymi levej levejsi* nejlevejsi* vlevo nalevo zleva "
        "doleva lavy laveho lavemu lavom lavej lavou lavu lavych lavym lavymi vlavo nalavo zlava dolava",
        "pravy prava prave praveho pravemu pravou pravem pravych pravym pravymi pravej pravejsi* nejpravejsi* vpravo "
        "napravo zprava doprava pravy praveho pravemu pravom pravej pravou pravu pravych pravym pravymi vpravo napravo "
        "sprava doprava",
        "levo pravo vychod* zapad* hodinov* hodinach rucick*",
    ),
    # Polish
    Language(
        "lewy lewa lewe lewego lewej lewemu lewym lewymi lewych lewo lewi lewic* leworecz* lewostron* zachodn*",
        "prawy prawa prawe prawego prawej prawemu prawym prawymi prawych prawo prawi prawic* "
        "praworecz* prawostron* wschodn*",
        "na_zachod zachodu zachodzie na_wschod wschod wschodu wschodzie mankut* godzin* zegara zegarow*",
    ),
    # Lithuanian, Latvian, Albanian, Basque, Welsh, Irish
    Language(
        "kaire kaires kairej* kairen kairi* kairy* kreisais kreisa kreisaj* kreisam kreiso kreisi kreisu kreisas "
        "majt* ezker* chwith chle",
        "desine desines desinej* desinen desini* desiny* labais laba labaj* labam labo labi labu labas djatht* eskuin* "
        "dde dheis",
        "taobh_cle taobh_deas lamh_dheas eskubi* rietum* austrum*",
    ),
    # Greek, Armenian, Georgian
    Language(
        "αριστερο αριστερη αριστερα αριστερος αριστερ* *ձախ* *მარცხ*",
        "δεξι δεξια δεξια δεξιος δεξι* *աջ* *მარჯვ*",
        "ανατολ* δυτικ* δυση* ωρα *დასავლ* *აღმოსავლ*",
    ),
    # Turkish, Azerbaijani, Kazakh, Uzbek, Mongolian
    Language(
        "sol sola solda soldaki* soldan solun solunda* solundan soluna solu solumda* solumuz* bati сол",
        "sag saga sagda sagdaki* sagdan sagin saginda* sagindan sagina sagi sagimda* sagimiz* dogu оң",
        "solak* saglak* batida* batidan batisi* batiya doguda* dogudan dogusu* doguya saat_yon* saatin_ters* chapda* "
        "chapdan chap_tomon* chap_taraf* chap_qo'l* o'ng* ong зуун зүүн баруун солжак",
    ),
    # Arabic; شمال is "left" where Egyptian is spoken
    Language("*يسار* *يسر* *غرب*", "*يمين* *يمن* *شرق*", "*شمال* *عقارب* *الساعة*"),
    # Hebrew
    Language("*שמאל* *מערב*", "*ימין* *מזרח*", "*ימנ* *ימינ* *כיוון_השעון* *כיון_השעון* *בשעה*"),
    # Persian, Dari, Kurdish, Pashto
    Language("*چپ* *باختر*", "*راست* *خاور*", "*ساعتگرد* *عقربه* کین کیڼ* *ښی* چەپ"),
    # Urdu, Punjabi (Shahmukhi), Sindhi
    Language("*بائی* *بایا* *بائے* *کھب*", "*دائی* *دایا* *دائے* *سجے*", "*داہن* *مشرق* *مغرب* *بجے* *سجا* *سجی*"),
    # Hindi, Nepali, Maithili, Bhojpuri
    Language(
        "*बाए* *बाये* *बाया* *बायी* *बाई* *बायें* *पश्चिम*",
        "*दाए* *दाये* *दाया* *दायी* *दाई* *दायें* *पूर्व*",
        "*दाहिन* *सीधे_हाथ* *उल्टे_हाथ* *देब्रे* *वामावर्त* *दक्षिणावर्त* *घड़ी_की* *बजे* लेफ्ट* राइट* "
        "*पूरब* *बाँय* *बांय* *दांय* *दाँय* *बांए* *दांए*",
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
        "kiri kirinya kiriku kirimu kiwa kiwo kenca kaliwa* barat baratnya baratlaut",
        "kanan* kanannya kananku kananmu tengen tengen katuhu kanan* timur timurnya timurlaut",
        "dikiri dikanan sisikiri sisikanan baratdaya timurlaut jarum_jam pukul kidulkulon kulon wetan",
    ),
    # Vietnamese, with and without its marks
    Language("trai phia_tay huong_tay", "phai phia_dong huong_dong", "kim_dong_ho gio"),
    # Thai, Lao, Khmer, Burmese
    Language(
        "*ซ้าย* *ตะวันตก* *ຊ້າຍ* *ឆ្វេង* *ဘယ်ဘက်*",
        "*ขวา* *ตะวันออก* *ຂວາ* *ស្តាំ* *ညာဘက်*",
        "*เข็มนาฬิกา* *ស្ដាំ* *ညာ*",
    ),
    # Swahili, Hausa, Yoruba, Somali, Amharic, Zulu, Esperanto
    Language(
        "kushoto* hannun_hagu bidix* *ግራ* maldekstr*",
        "kulia* hannun_dama midig* *ቀኝ* dekstr*",
        "hagu gefen_dama bangaren_dama magharibi mashariki kwesobunxele kwesokudla osi otun",
    ),
    # Signs that point
    Language("*←* *⬅* *👈* *◀* *↖* *↙* *⇐* *⇦*", "*→* *➡* *👉* *▶* *↗* *↘* *⇒* *⇨*", "*⟲* *⟳* *↺* *↻* *⮌* *⮎*"),
)

PAIRED_ABBREVIATIONS = (
    ("l", "r"), ("lt", "rt"), ("lh", "rh"), ("lft", "rgt"), ("lft", "rt"), ("le", "re"), ("li", "re"), ("g", "d"),
    ("sx", "dx"), ("sin", "dex"), ("sin", "des"), ("izq", "der"), ("esq", "dir"), ("os", "od"), ("л", "п"), ("w", "e"),
    ("nw", "ne"), ("sw", "se"), ("ouest", "est"), ("oeste", "este"), ("ovest", "est"), ("port", "starboard"),
    ("lava", "prava"), ("lave", "prave"), ("hagu", "dama"), ("cle", "deas"), ("chap", "ong"), ("chap", "o'ng"),
    ("レフト", "ライト"), ("레프트", "라이트"), ("लेफ्ट", "राइट"),
)  # fmt: skip
"""What says a side where classes of both names are there, and nothing anywhere else (but for l and r)."""

NEVER_ALONE = ("le", "li", "g", "os", "sx", "л", "w", "nw", "sw")
"""The first words of those pairs that are no names of classes by themselves: other letters and words stand beside."""

MARKED = ("ľav",)
"""Beginnings of words that say a side with these accents and mean something else without them."""

HEIGHTS = (
    "upper* lower* top* bottom* up down above below over under superior* inferior* north* south* overhead underneath "
    "ober* unter* oben unten haut* bas dessus dessous arriba abajo sopra sotto cima baixo alto alta bajo baja "
    "superieur* inferieur* верх* ниж* сверху снизу gorn* doln* boven* onder* ust alt yukari asagi tren duoi atas bawah "
    "ovre nedre ovan under felso also *上* *下* *ऊपर* *नीचे* *علو* *سفل* *بالا* *پایین* *บน* *ล่าง* *위* *아래* "
    "*উপর* *নিচ* *పై* *కింద* *மேல்* *கீழ்*"
)
"""Words that say above or below, in the same notation."""
