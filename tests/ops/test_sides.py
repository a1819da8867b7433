"""Which texts a mirror image would make untrue, and which classes change places in one."""

from __future__ import annotations

import pytest
from tests.ops.plain_words import CLASSES
from tests.ops.plain_words import LANGUAGES as PLAIN_LANGUAGES

from segtune.ops.side_words import HEIGHTS, LANGUAGES
from segtune.ops.sides import class_mirror, says_height, says_side, sided_classes

SIDED = (
    # English and abbreviations
    "the box on the left", "Rightmost disc?", "left-hand side", "the LHS box", "RHS", "the box at 3 o'clock",
    "at nine o’clock", "the 2 o clock position", "the port side",
    "turn counterclockwise", "NW corner", "the north-east corner",
    "left_hand", "leftHand", "lung_l", "the L kidney", "the arrow →", "ｌｅｆｔ", "ＬＨＳ", "the righthanded man",
    # Chinese, Japanese, Korean
    "左边的盒子", "右邊的盒子", "3点钟方向的盒子", "三點鐘方向", "顺时针",
    "東側の箱", "左の箱", "みぎの箱", "右側", "왼쪽 상자",
    "오른쪽에 있는 상자", "좌측 상자", "3시 방향",
    # Spanish, Portuguese, French, Italian, Romanian, Catalan
    "la caja de la izquierda", "el de la DERECHA", "a las 3",
    "a caixa da esquerda", "o da direita", "la boîte de gauche",
    "à droite", "le bras droit", "à 3 heures", "dans le sens des aiguilles d'une montre", "la scatola a sinistra",
    "quella destra", "cutia din stânga", "cea din dreapta", "la capsa de l'esquerra",
    # German, Dutch, Swedish, Danish, Norwegian, Finnish, Hungarian
    "das linke Kästchen", "der rechte Arm", "ganz rechts",
    "im Uhrzeigersinn", "auf 3 Uhr", "de linkerhand", "rechts onder",
    "lådan till vänster", "den högra", "til venstre",
    "kassen til højre", "boksen til høyre", "vasemmalla", "oikealla",
    "a bal oldalon", "jobbra",
    # Russian, Ukrainian, Polish, Czech, Serbian, Bulgarian, Greek
    "левая коробка", "коробка слева", "правее дерева", "на 3 часа", "по часовой стрелке", "ліворуч", "права рука",
    "lewe pudełko", "po prawej stronie", "krabice vlevo", "vpravo", "lijevo", "desna kutija", "лява кутия", "отдясно",
    "αριστερά", "το δεξί κουτί",
    # Turkish, Arabic, Hebrew, Persian, Urdu
    "soldaki kutu", "sağdaki kutu", "SAĞ", "الصندوق على اليسار", "اليد اليمنى", "إلى اليمين", "משמאל", "ימינה",
    "جعبه سمت چپ", "دست راست", "بائیں طرف", "دائیں ہاتھ",
    # Hindi, Marathi, Bengali, Punjabi, Gujarati, Telugu, Tamil, Kannada, Malayalam
    "बाईं ओर का डिब्बा", "दाहिने हाथ", "बाएँ", "दायां",
    "डावीकडे", "उजव्या बाजूला", "বাম দিকের বাক্স", "ডানদিকে", "বাঁ হাত",
    "ਖੱਬੇ ਪਾਸੇ", "ਸੱਜੇ", "ડાબી બાજુ", "જમણી", "ఎడమ వైపు", "కుడి", "இடது பக்கம்", "வலப்புறம்", "ಎಡಗಡೆ", "വലതു",
    "зүүн талын хайрцаг", "баруун талд",
    # Indonesian, Javanese, Tagalog, Vietnamese, Thai, Khmer, Burmese, Swahili
    "kotak di sebelah kiri", "kanan", "sisih kiwa", "tengen", "sa kaliwa", "bên trái", "hộp bên phải", "hop ben phai",
    "solundakiler", "solumdaki", "soldakinin", "levému", "levější", "nejlevější", "nejpravější", "ľavom", "ľavá ruka",
    "найлівіший", "좌회전", "우회전", "좌단", "우단", "balszélső", "az óramutató járásával", "3 óránál", "a bal oldali",
    "met de klok mee", "med uret", "mot klokka", "în sensul acelor de ceasornic", "mańkut", "सीधे हाथ", "उल्टे हाथ",
    "lft femur", "the box at 3 oʻclock", "lewej ręce", "левым глазом", "labajā rokā", "kairės rankos", "itään",
    "drei Uhr", "saat 3 yönünde", "ساعت 3", "vasemman käden", "αριστερός", "soldakiler",
    "กล่องทางซ้าย", "มือขวา", "ខាងឆ្វេង", "ညာဘက်", "upande wa kushoto",
)  # fmt: skip
PLAIN = (
    "the brightest one", "the upright box", "the beast",
    "at least one", "the solid red box", "is it sold?", "the vest",
    "the ball", "l'arbre", "le chat est grand", "das rote Rechteck",
    "哪个东西可以用来打开瓶子？", "红色的盒子", "赤い箱", "빨간 상자",
    "esta es la caja roja", "красная коробка", "ال صندوق الأحمر",
    "กล่องสีแดง", "Which one opens bottles?", "cái hộp đỏ",
    "the level", "the third object from the top", "the thing that is not a cup",
)  # fmt: skip


@pytest.mark.parametrize("text", SIDED)
def test_a_text_that_says_a_side(text: str) -> None:
    assert says_side(text)
    assert says_side(text.upper())


@pytest.mark.parametrize("text", PLAIN)
def test_a_text_that_says_none(text: str) -> None:
    assert not says_side(text)


@pytest.mark.parametrize("language", PLAIN_LANGUAGES)
def test_the_commonest_words_of_a_language_say_none(language: str) -> None:
    words = PLAIN_LANGUAGES[language].split()
    assert len(words) > 50
    assert [word for word in words if says_side(word)] == []


@pytest.mark.parametrize("data", CLASSES)
def test_usual_classes_say_none(data: str) -> None:
    names = [name.strip() for name in CLASSES[data].split("|") if name.strip()]
    assert [name for name in names if says_side(name)] == []


def test_a_star_stands_only_at_an_end_of_a_word() -> None:
    words = [word for row in LANGUAGES for words in row for word in words.split()] + HEIGHTS.split()
    assert [word for word in words if "*" in word.strip("*")] == []


def test_partners_stand_side_by_side() -> None:
    for row in LANGUAGES:
        assert len(row.left.split()) == len(row.right.split()), row.left


PAIRS = (
    ("left_hand", "right_hand"), ("LeftLung", "RightLung"),
    ("lung_l", "lung_r"), ("L-kidney", "R-kidney"), ("L", "R"),
    ("rib_l4", "rib_r4"), ("links", "rechts"), ("linke Hand", "rechte Hand"), ("main gauche", "main droite"),
    ("bras_gauche", "bras_droit"), ("mano izquierda", "mano derecha"), ("mão esquerda", "mão direita"),
    ("mano sinistra", "mano destra"), ("左手", "右手"), ("왼손", "오른손"), ("левая рука", "правая рука"),
    ("ліва рука", "права рука"), ("lewa ręka", "prawa ręka"),
    ("اليد اليسرى", "اليد اليمنى"), ("बायाँ हाथ", "दायाँ हाथ"),
    ("বাম হাত", "ডান হাত"), ("tangan kiri", "tangan kanan"), ("tay trái", "tay phải"), ("sol el", "sağ el"),
    ("มือซ้าย", "มือขวา"), ("ఎడమ చేయి", "కుడి చేయి"),
    ("இடது கை", "வலது கை"), ("بایاں ہاتھ", "دایاں ہاتھ"), ("دست چپ", "دست راست"),
    ("femur_lt", "femur_rt"), ("Port side", "Starboard side"),
    ("west wing", "east wing"), ("linkerarm", "rechterarm"), ("LHand", "RHand"), ("lft_femur", "rt_femur"),
    ("vänster hand", "höger hand"), ("venstre hånd", "højre hånd"), ("αριστερό χέρι", "δεξί χέρι"),
    ("vasen käsi", "oikea käsi"), ("ľavá ruka", "pravá ruka"), ("mano izq", "mano der"), ("port", "starboard"),
    ("kairė ranka", "dešinė ranka"), ("левый глаз", "правый глаз"), ("lewe oko", "prawe oko"),
)  # fmt: skip


@pytest.mark.parametrize("pair", PAIRS)
def test_classes_that_differ_by_a_side_change_places(pair: tuple[str, str]) -> None:
    found = class_mirror(("background", pair[0], "thing", pair[1]))
    assert found.order == (0, 3, 2, 1)
    assert found.swaps
    assert not found.across
    assert pair[0] in found.over, "upside down, a left hand looks like a right one"


@pytest.mark.parametrize(
    "names",
    [
        ("background", "left_hand"),
        ("hand", "left_hand"),
        ("左手", "手"),
        ("LHand", "hand"),
        ("lung_l", "lung"),
        ("left hand", "right hand", "right-hand"),
        tuple("abcdefghijklmnopqrstuvwxyz"),
    ],
)
def test_a_side_without_a_plain_partner_is_not_mirrored(names: tuple[str, ...]) -> None:
    found = class_mirror(names)
    assert not found.swaps
    assert found.across
    assert found.over


@pytest.mark.parametrize(
    "names",
    [
        ("background", "wound"),
        ("sky", "road", "car"),
        ("shirt_s", "shirt_m", "shirt_l"),
        ("red", "green"),
        ("r", "g", "b"),
        ("bright", "dark"),
    ],
)
def test_other_classes_are_mirrored_as_they_are(names: tuple[str, ...]) -> None:
    found = class_mirror(names)
    assert found.order == tuple(range(len(names)))
    assert (found.across, found.over) == ("", "")


def test_one_letter_among_others_is_no_side() -> None:
    found = class_mirror(("u_lip", "l_lip", "l_eye", "r_eye"))
    assert found.order == (0, 1, 3, 2)
    assert not found.across


def test_words_of_a_class_count_too() -> None:
    sided = sided_classes({"a": ["the lane on the left"], "b": ["the other lane"]})
    assert sided == ("a",)
    assert "a" in class_mirror(("background", "a", "b"), sided).across
    assert not class_mirror(("background", "left_lane", "right_lane"), ["left_lane"]).across


@pytest.mark.parametrize(
    "names", [("lhand", "rhand"), ("leye", "reye"), ("lamp", "ramp"), ("lhand open", "rhand open")]
)
def test_classes_that_differ_by_a_glued_letter_are_told_and_never_change_places(names: tuple[str, str]) -> None:
    found = class_mirror(("background", *names))
    assert not found.swaps
    assert names[0] in found.across
    assert "left_" in found.across
    assert found.over
    assert not class_mirror(("background", names[0])).across


@pytest.mark.parametrize("name", ["upper_lip", "bottom", "oben", "верхняя губа", "上唇"])
def test_heights(name: str) -> None:
    assert says_height(name)
    assert class_mirror((name, "thing")).over
    assert not class_mirror((name, "thing")).across
