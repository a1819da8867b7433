"""What a mirror image changes: texts that say a side, and classes that differ by one.

Words are compared in every language of `ops.side_words` at once, for nobody says in which language a text is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from segtune.ops.side_words import HEIGHTS, LANGUAGES, MARKED, NEVER_ALONE, PAIRED_ABBREVIATIONS

_ALIKE = str.maketrans(
    {
        "’": "'",
        "ʼ": "'",
        "ʻ": "'",
        "′": "'",
        "`": "'",
        "´": "'",
        "‘": "'",
        "đ": "d",
        "ł": "l",
        "ø": "o",
        "ı": "i",
        "æ": "ae",
        "ی": "ي",
        "ى": "ي",
        "ک": "ك",
        "_": " ",
    }
)
_VOICED = "\u3099\u309a"  # marks of Japanese syllables, without which they are other syllables
_LETTER = r"[^\W\d_]"
# 東 and 西 are directions, but not in the word for "thing", nor in melons, tomatoes and clothes
_HAN_DIRECTIONS = "東(?!西)|(?<![东東])西(?![瓜服装裝洋餐兰蘭红紅葫藍])"
_CLOCK = (
    r"o\W{0,2}clock|\ba las? (?:\d|una|dos|tres|cuatro|cinco|siete|ocho|nueve|diez|once)|\b\d{1,2} ?heures?\b"
    r"|\b(?:alle|ore|ora|at|um|auf|klockan|kl) \d|\bna godzinie\b|\bна \d+ час|[一二三四五六七八九十\d] ?[点點]"
    r"(?:钟|鐘|方)|\d ?時|\d ?시\b|\bhuong \d|\barah jam\b|\b\d{1,2} ?(?:h|uur|uhr|gio|baje|นาฬิกา)\b"
    r"|\b(?:ein|zwei|drei|vier|funf|sechs|sieben|acht|neun|zehn|elf|zwolf) uhr\b|\b(?:saat|jam|ساعت) \d"
)
# "rectangle" begins with the stem of "right" in German, Dutch and Romanian; "sol" is a floor or the sun, and "bal" a
# ball, where they are no adjectives (those of Turkish and Hungarian stand before their noun)
_NOT_A_SIDE = re.compile(
    r"rechteck\w*|rechthoek\w*|rechtwink\w*|\brechtang\w*|\bdreptunghi\w*|\bupright\w*|\baright\b|\beaster\b"
    r"|\bcleft\b|\bleft ?overs?\b|\blevi's?\b|^\W*sol\W*$|\b(?:le|el|o|du|au|ao|do|del|al|il) sol\b"
    r"|(?<!\ba )(?<!\baz )\bbal\W*$"
)
_CAMELS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
_COMPASS = re.compile(r"(?<!\w)[NS][ .-]?[EW](?!\w)")
_ONE_LETTER = re.compile(r"(?<![\w'’.])[lLrR](?![\w'’])")
_ALPHABET = 6
"""Of more classes than these that differ by one letter, l and r are letters and no sides."""


def folded(text: str) -> str:
    """A text for comparison: words of `camelCase` and `snake_case` apart, without case, width and most accents."""
    parts = unicodedata.normalize("NFKD", _words_apart(text).casefold())
    kept = "".join(sign for sign in parts if not unicodedata.combining(sign) or sign in _VOICED)
    return " ".join(unicodedata.normalize("NFC", kept).translate(_ALIKE).split())


def _words_apart(text: str) -> str:
    """A text in signs of usual width with the words of `camelCase` and `LHand` apart, but not `LEDs`."""
    return _CAMELS.sub(" ", unicodedata.normalize("NFKC", text))


@lru_cache(maxsize=1 << 16)
def says_side(text: str) -> bool:
    """Whether a text says left or right in any way, so that it may be untrue of a mirror image.

    Args:
        text: A question, an explanation, or the name of a class.
    """
    words = _words_apart(text)
    if _marked().search(words.casefold()):
        return True
    if _COMPASS.search(text) or _ONE_LETTER.search(words.replace("_", " ")):
        return True
    return bool(_sides().search(_NOT_A_SIDE.sub(" ", folded(text))))


def says_height(text: str) -> bool:
    """Whether a text says above or below, so that it may be untrue of an image that stands on its head."""
    return bool(_heights().search(folded(text)))


@dataclass(frozen=True, slots=True)
class ClassMirror:
    """What becomes of classes in mirror images.

    Attributes:
        order: In an image mirrored left for right, label `k` becomes `order[k]`; its own inverse.
        across: Why images must not be mirrored left for right; empty where they may.
        over: Why they must not be mirrored top for bottom; empty where they may.
    """

    order: tuple[int, ...]
    across: str = ""
    over: str = ""

    @property
    def swaps(self) -> bool:
        """Whether any classes change places."""
        return self.order != tuple(range(len(self.order)))


def sided_classes(said: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """The classes of which a text says a side, whatever they are called.

    Args:
        said: The texts that mean a class, by its name.
    """
    return tuple(name for name, texts in said.items() if any(map(says_side, texts)))


def class_mirror(names: Sequence[str], sided: Collection[str] = ()) -> ClassMirror:
    """Finds the classes that differ by a side (`left_hand` and `right_hand`, `lung_l` and `lung_r`).

    Such classes change places in a mirror image. A class that says a side and has no such partner must not be mirrored.
    So must not two that differ by an l and an r at the beginning of a word: `lhand` and `rhand` are a pair, a lamp and
    a ramp are none. An image that stands on its head is taken where no class says a side or a height: a left hand looks
    like a right one there, and what is upper in it depends on what the class means.

    Args:
        names: Of the classes, in the order of their labels.
        sided: Those of which a text says a side; of a pair it may.
    """
    return _class_mirror(tuple(names), tuple(sided))


@cache
def _class_mirror(names: tuple[str, ...], sided: tuple[str, ...]) -> ClassMirror:
    plain = [_plain(name) for name in names]
    places: dict[str, set[int]] = {}
    for label, name in enumerate(plain):
        places.setdefault(name, set()).add(label)
    partners = [
        {found for other in _partners(name) for found in places.get(other, ()) if found != label}
        for label, name in enumerate(plain)
    ]
    order, alone, glued = list(range(len(names))), [], []
    for label, found in enumerate(partners):
        other = next(iter(found)) if len(found) == 1 else None
        if other is not None and partners[other] == {label} and not _is_of_an_alphabet(plain[label], plain):
            order[label] = other
        elif found or names[label] in sided or (says_side(names[label]) and not _is_a_letter(plain[label], plain)):
            alone.append(names[label])
        elif any(twin in places for twin in _glued(plain[label])):
            glued.append(names[label])
    reasons = (
        _reason(alone, "say a side, and which class is that of the other side is not plain"),
        _reason(glued, "differ by an l and an r, which may be sides: write left_ and right_ where they are"),
    )
    pairs = [name for label, name in enumerate(names) if order[label] != label]
    high = [name for name in names if says_height(name)]
    over = _reason(list(dict.fromkeys([*pairs, *alone, *glued, *high])), "say a side or a height")
    return ClassMirror(tuple(order), "; ".join(filter(None, reasons)), over)


def _reason(names: Sequence[str], what: str) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"the name or words of {', '.join(names[:3])}{more} {what}"


def _plain(name: str) -> str:
    """The words of a name, apart by single spaces."""
    signs = (" " if unicodedata.category(sign)[0] in "PZ" else sign for sign in folded(name))
    return " ".join("".join(signs).split())


def _partners(name: str) -> Iterator[str]:
    """The names that a name could have on the other side, by each pair of words."""
    words = name.split(" ")
    for one, other in PAIRED_ABBREVIATIONS:
        swapped = [_numbered(word, one, other) for word in words]
        if swapped != words and (len(words) > 1 or one not in NEVER_ALONE):
            yield " ".join(swapped)
    for pattern, table in _swaps():
        swapped_name = pattern.sub(lambda found, table=table: table[found[0]], name)  # type: ignore[misc]
        if swapped_name != name:
            yield swapped_name


def _glued(name: str) -> Iterator[str]:
    """The names with another letter where one of the words of a name begins with l or r: of `lhand` `rhand`.

    Such classes are as likely a lamp and a ramp: they never change places, and are told instead.
    """
    words = name.split(" ")
    for place, word in enumerate(words):
        if len(word) > 2 and word[0] in "lr":
            yield " ".join([*words[:place], ("r" if word[0] == "l" else "l") + word[1:], *words[place + 1 :]])


def _numbered(word: str, one: str, other: str) -> str:
    """An abbreviation turned to the other side, a number behind it kept; any other word as it is."""
    stem = word.rstrip("0123456789")
    if stem in (one, other):
        return (other if stem == one else one) + word[len(stem) :]
    return word


def _siblings(name: str, plain: Sequence[str]) -> set[str]:
    """The single letters that stand in other names where this one has an l or r."""
    words = name.split(" ")
    found: set[str] = set()
    for place, word in enumerate(words):
        if word not in ("l", "r"):
            continue
        for other in plain:
            theirs = other.split(" ")
            if len(theirs) == len(words) and len(theirs[place]) == 1 and theirs[place].isalpha():
                same = all(a == b for k, (a, b) in enumerate(zip(words, theirs, strict=True)) if k != place)
                found |= {theirs[place]} if same else set()
    return found


def _is_of_an_alphabet(name: str, plain: Sequence[str]) -> bool:
    return len(_siblings(name, plain)) > _ALPHABET


def _is_a_letter(name: str, plain: Sequence[str]) -> bool:
    """Whether the l or r of a name is one letter among others (`l_lip` beside `u_lip`) and says no side."""
    siblings = _siblings(name, plain)
    rest = " ".join(word for word in name.split(" ") if word not in ("l", "r"))
    return bool(siblings - {"l", "r"}) and len(siblings) <= _ALPHABET and not (rest and says_side(rest))


@cache
def _sides() -> re.Pattern[str]:
    words = [word for row in LANGUAGES for words in row for word in words.split()]
    return re.compile("|".join([_HAN_DIRECTIONS, _CLOCK, _any_of(words)]))


@cache
def _marked() -> re.Pattern[str]:
    """What finds the words that are others without their accents."""
    return re.compile("|".join(f"(?<!{_LETTER}){word}" for word in MARKED))


@cache
def _heights() -> re.Pattern[str]:
    return re.compile(_any_of(HEIGHTS.split()))


def _any_of(words: Iterable[str]) -> str:
    """The regular expression of any of some words in the notation of the table; what they share is looked at once."""
    kinds: dict[tuple[bool, bool], set[str]] = {}
    for word in words:
        kind = (word.startswith("*"), word.endswith("*"))
        kinds.setdefault(kind, set()).add(re.escape(folded(word.strip("*"))))
    return "|".join(
        f"{'' if before else f'(?<!{_LETTER})'}(?:{'|'.join(sorted(inner))}){'' if behind else f'(?!{_LETTER})'}"
        for (before, behind), inner in kinds.items()
    )


@cache
def _swaps() -> tuple[tuple[re.Pattern[str], dict[str, str]], ...]:
    """Of every pair of words, what finds either and what it becomes; stems and longer words anywhere in a name."""
    found = []
    for row in LANGUAGES:
        for left, right in zip(row.left.split(), row.right.split(), strict=False):
            one, other = folded(left.strip("*")), folded(right.strip("*"))
            inner = "|".join(sorted((re.escape(one), re.escape(other)), key=len, reverse=True))
            whole = not (left.endswith("*") and right.endswith("*")) and min(len(one), len(other)) < 5
            pattern = f"(?<!{_LETTER})(?:{inner})(?!{_LETTER})" if whole else f"(?:{inner})"
            found.append((re.compile(pattern), {one: other, other: one}))
    return tuple(found)
