"""What a mirror image changes: texts that say a side, and classes that differ by one.

Words are compared in every language of `ops.side_words` at once, for nobody says in which language a text is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from segtune.ops.side_words import HEIGHTS, LANGUAGES, PAIRED_ABBREVIATIONS

_ALIKE = str.maketrans(
    {
        "’": "'",
        "ʼ": "'",
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
    r"(?:钟|鐘|方)|\d ?時|\d ?시\b|\bhuong \d|\barah jam\b|\b\d{1,2} ?(?:h|uur|uhr|gio|baje)\b"
)
# "rectangle" begins with the stem of "right" in German and Dutch
_NOT_A_SIDE = re.compile(r"rechteck\w*|rechthoek\w*|rechtwink\w*|\brechtang\w*|\bupright\w*|\baright\b")
_COMPASS = re.compile(r"(?<!\w)[NS][ .-]?[EW](?!\w)")
_ONE_LETTER = re.compile(r"(?<![\w'’.])[lLrR](?![\w'’])")
_ALPHABET = 6
"""Of more classes than these that differ by one letter, l and r are letters and no sides."""


def folded(text: str) -> str:
    """A text for comparison: words of `camelCase` and `snake_case` apart, without case, width and most accents."""
    text = unicodedata.normalize("NFKC", text)
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).casefold()
    parts = unicodedata.normalize("NFKD", text)
    kept = "".join(sign for sign in parts if not unicodedata.combining(sign) or sign in _VOICED)
    return " ".join(unicodedata.normalize("NFC", kept).translate(_ALIKE).split())


@lru_cache(maxsize=1 << 16)
def says_side(text: str) -> bool:
    """Whether a text says left or right in any way, so that it may be untrue of a mirror image.

    Args:
        text: A question, an explanation, or the name of a class.
    """
    if _COMPASS.search(text) or _ONE_LETTER.search(text.replace("_", " ")):
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


def class_mirror(names: Sequence[str], said: Mapping[str, Iterable[str]] | None = None) -> ClassMirror:
    """Finds the classes that differ by a side (`left_hand` and `right_hand`, `lung_l` and `lung_r`).

    Such classes change places in a mirror image. A class that says a side and has no such partner must not be mirrored.
    An image that stands on its head is taken where no class says a side or a height: a left hand looks like a right
    one there, and what is upper in it depends on what the class means.

    Args:
        names: Of the classes, in the order of their labels.
        said: Further texts that mean a class, by its name.
    """
    return _class_mirror(tuple(names), tuple((name, tuple(texts)) for name, texts in (said or {}).items()))


@cache
def _class_mirror(names: tuple[str, ...], said: tuple[tuple[str, tuple[str, ...]], ...]) -> ClassMirror:
    plain = [_plain(name) for name in names]
    places: dict[str, set[int]] = {}
    for label, name in enumerate(plain):
        places.setdefault(name, set()).add(label)
    partners = [
        {found for other in _partners(name) for found in places.get(other, ()) if found != label}
        for label, name in enumerate(plain)
    ]
    order, alone = list(range(len(names))), []
    for label, found in enumerate(partners):
        other = next(iter(found)) if len(found) == 1 else None
        if other is not None and partners[other] == {label} and not _is_of_an_alphabet(plain[label], plain):
            order[label] = other
        elif found or (says_side(names[label]) and not _is_a_letter(plain[label], plain)):
            alone.append(names[label])
    alone += [
        name for name, texts in said if order[names.index(name)] == names.index(name) and any(map(says_side, texts))
    ]
    reason = _reason("a side, and which class is that of the other side is not plain", alone)
    sided = [name for label, name in enumerate(names) if order[label] != label] + alone
    high = [name for name in names if says_height(name)]
    over = _reason("a side or a height", list(dict.fromkeys(sided + high)))
    return ClassMirror(tuple(order), reason, over)


def _reason(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"the name or words of {', '.join(names[:3])}{more} say {what}"


def _plain(name: str) -> str:
    """The words of a name, apart by single spaces."""
    signs = (" " if unicodedata.category(sign)[0] in "PZ" else sign for sign in folded(name))
    return " ".join("".join(signs).split())


def _partners(name: str) -> Iterator[str]:
    """The names that a name could have on the other side, by each pair of words."""
    words = name.split(" ")
    for one, other in PAIRED_ABBREVIATIONS:
        swapped = [_numbered(word, one, other) for word in words]
        if swapped != words and (len(words) > 1 or one in ("l", "lt", "lh", "lft")):
            yield " ".join(swapped)
    for pattern, table in _swaps():
        swapped_name = pattern.sub(lambda found, table=table: table[found[0]], name)  # type: ignore[misc]
        if swapped_name != name:
            yield swapped_name


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
    words = (word for row in LANGUAGES for words in row for word in words.split())
    return re.compile("|".join([_HAN_DIRECTIONS, _CLOCK, *(_pattern(word) for word in words)]))


@cache
def _heights() -> re.Pattern[str]:
    return re.compile("|".join(_pattern(word) for word in HEIGHTS.split()))


def _pattern(word: str) -> str:
    """The regular expression of a word in the notation of the table."""
    inner = re.escape(folded(word.strip("*")))
    start = "" if word.startswith("*") else f"(?<!{_LETTER})"
    return start + inner + ("" if word.endswith("*") else f"(?!{_LETTER})")


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
