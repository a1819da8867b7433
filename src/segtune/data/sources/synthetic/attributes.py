"""Terse attribute phrases: the telegraphic language that the base model is pretrained on.

The grammar shares its names of colours and shapes with the questions of the embedded dataset; its other content words
are its own, and the questions never use them:

    attribute   [the] [large|small] [plain|striped|dotted|checked] [COLOUR] (SHAPE | thing)
    extreme     [the] (westmost|eastmost|northmost|southmost|largest|smallest) (GROUP | thing)
    relation    [the] thing (west|east|north|south) of the PHRASE
    exclusion   [the] (GROUP | COLOUR | thing) excluding [the] (SHAPE | COLOUR | COLOUR thing)

Half of the phrases stand among filler words; with many they are punctuated like a sentence. In an exclusion they may
stand inside as well: up to four before `excluding` and up to two behind it, as words do in "the red one in the picture
that is not a disc". A phrase of the grammar is emitted only where it picks exactly one object. The single words of the
curriculum ("red thing", "thing excluding red") pick every object they are true of, so that each of them teaches as much
as a scene holds.

Extremes, exclusions and single words never rest on a texture. A stripe is half a patch of the small encoder wide, which
hardly sees it: such phrases teach to guess.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import combinations

import numpy as np

from segtune.data.sources.synthetic.filler import FILLER_WORDS
from segtune.data.sources.synthetic.objects import COLOURS, SHAPES, TEXTURES
from segtune.data.sources.synthetic.predicates import (
    DIRECTIONS,
    SIZE_EXTREMES,
    extreme,
    matching,
    only_beyond,
    only_lacking,
)
from segtune.data.sources.synthetic.scene import Scene, SceneQuery

KINDS: Mapping[str, float] = {"attribute": 0.25, "extreme": 0.22, "relation": 0.13, "exclusion": 0.40}
"""The kinds of attribute phrases and how often each is drawn where the scene allows it."""

MOST_FILLER = 8
"""The most filler words around a phrase."""

_COMMAS = 0.1  # how often a filler word of a sentence has a comma behind it
_INSIDE = (4, 2)  # the most filler words before and behind `excluding`

_SIDES = {"left": "west", "right": "east", "above": "north", "below": "south"}
_EXTREMES = {side: f"{word}most" for side, word in _SIDES.items()} | {size: size for size in SIZE_EXTREMES}
_NAMED_SIZES = ("small", "large")  # a medium object is described by what else it is

_FAMILY = {
    word: family
    for family, words in {
        "colour": COLOURS, "shape": SHAPES, "size": (*_NAMED_SIZES, *SIZE_EXTREMES),
        "place": [f"{word}most" for word in _SIDES.values()],
    }.items()
    for word in words
}  # fmt: skip

_SINGLE: Mapping[str, float] = {
    "colour": 0.12, "shape": 0.40, "size": 0.08, "place": 0.16, "exclusion": 0.24,
}  # fmt: skip
# How often a single word is about what; shapes are learned slowest and sizes fastest.

CONTENT_WORDS = frozenset(
    {*SHAPES, *COLOURS, *TEXTURES, *_NAMED_SIZES, *_SIDES.values(), *_EXTREMES.values(), "thing", "excluding"}
)
"""Every word of the grammar but `the` and `of`."""

_ORDER = ("size", "texture", "colour", "shape")
_SUBSETS = tuple(subset for n in (1, 2, 3) for subset in combinations(_ORDER, n))
_SUBSET_WEIGHT = np.array([{1: 3.0, 2: 2.0, 3: 0.8}[len(s)] * (1.5 if "shape" in s else 1.0) for s in _SUBSETS])

Phrases = list[tuple[str, tuple[int, ...], float]]
"""Phrases of one kind: the words, the indices of the objects they pick, and a weight."""


def _words(attributes: Mapping[str, str]) -> str:
    """`{"colour": "red"}` -> `"red thing"`."""
    named = [attributes[key] for key in _ORDER if key in attributes]
    return " ".join(named if "shape" in attributes else [*named, "thing"])


def _attribute(scene: Scene) -> Phrases:
    """Every combination of one to three attributes that only one object has."""
    found: list[tuple[tuple[tuple[str, str], ...], int, float]] = []
    for index, one in enumerate(scene.objects):
        for subset, weight in zip(_SUBSETS, _SUBSET_WEIGHT.tolist(), strict=True):
            if "size" in subset and one.size not in _NAMED_SIZES:
                continue
            found.append((tuple((key, getattr(one, key)) for key in subset), index, weight))
    count = Counter(attributes for attributes, _, _ in found)
    return [(_words(dict(a)), (index,), weight) for a, index, weight in found if count[a] == 1]


def _groups(scene: Scene, keys: Iterable[str]) -> list[tuple[dict[str, str], list[int]]]:
    """All objects, and every group of two or more that share a value of one of `keys`."""
    groups: list[tuple[dict[str, str], list[int]]] = [({}, list(range(len(scene.objects))))]
    for key in keys:
        for value in sorted({getattr(one, key) for one in scene.objects}):
            group = matching(scene.objects, {key: value})
            if len(group) >= 2:
                groups.append(({key: value}, group))
    return groups


def _extreme(scene: Scene) -> Phrases:
    """The furthest to each side, the largest and the smallest, of all objects or of a group."""
    phrases: Phrases = []
    for attributes, group in _groups(scene, ("colour", "shape")):
        for which in (*DIRECTIONS, *SIZE_EXTREMES):
            picked = extreme(scene.objects, group, which)
            if picked is not None:
                weight = 0.7 if attributes else 2.0
                phrases.append((f"{_EXTREMES[which]} {_words(attributes)}", (picked,), weight))
    return phrases


def _relation(scene: Scene, described: Phrases) -> Phrases:
    """The only object beyond one that is described by its attributes."""
    phrases: Phrases = []
    for direction in DIRECTIONS:
        pair = only_beyond(scene.objects, direction)
        if pair is not None:
            anchors = [(words, weight) for words, picked, weight in described if picked == (pair[1],)]
            total = sum(weight for _, weight in anchors)
            for words, weight in anchors:
                phrases.append((f"thing {_SIDES[direction]} of the {words}", (pair[0],), weight / total))
    return phrases


def _exclusion(scene: Scene) -> Phrases:
    """The only object of a group that lacks what all the others of it have."""
    phrases: Phrases = []
    for attributes, group in _groups(scene, ("colour", "shape")):
        for key in ("colour", "shape"):
            if key in attributes:
                continue
            for value in sorted({getattr(scene.objects[i], key) for i in group}):
                picked = only_lacking(scene.objects, group, key, value)
                if picked is not None:
                    phrases.append((f"{_words(attributes)} excluding {value}", (picked,), 1.0 if attributes else 2.0))
    return phrases


def attribute_phrases(scene: Scene) -> dict[str, Phrases]:
    """Every phrase of the grammar that picks exactly one object of a scene, without filler, by kind."""
    described = _attribute(scene)
    return {
        "attribute": described,
        "extreme": _extreme(scene),
        "relation": _relation(scene, described),
        "exclusion": _exclusion(scene),
    }


def _filler(rng: np.random.Generator, fewest: int, most: int) -> list[str]:
    return [FILLER_WORDS[i] for i in rng.integers(0, len(FILLER_WORDS), int(rng.integers(fewest, most + 1)))]


def _dress(phrase: str, rng: np.random.Generator, most: int) -> tuple[str, bool]:
    """A phrase with an article and up to `most` filler words at random, and whether it became a sentence."""
    words, inside, around = phrase.split(), list[str](), list[str]()
    if rng.random() < 0.4:
        words = ["the", *words]
    if most and "excluding" in words:
        words, inside = _spread(words, rng)
    if most and rng.random() >= 0.5:
        around = _filler(rng, 1, most)
        cut = int(rng.integers(0, len(around) + 1))
        words = [*around[:cut], *words, *around[cut:]]
    is_sentence = bool(inside or around) and len(words) > 6
    return _punctuated(words, rng) if is_sentence else " ".join(words), is_sentence


def _spread(words: list[str], rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """An exclusion with filler words inside, and these.

    "Thing" may go behind the colour of a group and come behind an excluded one: a model that could tell the two from
    where it stands would never learn that what is excluded is what follows the word.
    """
    cut = words.index("excluding")
    group, excluded = words[:cut], words[cut + 1 :]
    before, behind = (_filler(rng, 0, limit) if rng.random() < 0.7 else [] for limit in _INSIDE)
    drop, add, article = rng.random(3) < 0.5
    if drop and group[-1] == "thing" and group[-2:-1] not in ([], ["the"]):
        group = group[:-1]
    if add and excluded[-1] in COLOURS:
        excluded = [*excluded, "thing"]
    return [*group, *before, "excluding", *behind, *(["the"] if article else []), *excluded], before + behind


def _punctuated(words: list[str], rng: np.random.Generator) -> str:
    """The words as people write a sentence: a capital, a stop, at times a comma behind a filler word.

    A capital makes another token of a word, so a content word never gets one.
    """
    commas = rng.random(len(words)) < _COMMAS
    parts = [f"{w}," if comma and w in FILLER_WORDS else w for w, comma in zip(words[:-1], commas, strict=False)]
    text = " ".join([*parts, words[-1]]) + (".", "?", "")[int(rng.integers(3))]
    return text if words[0] in CONTENT_WORDS else text[0].upper() + text[1:]


def _single(scene: Scene, extremes: Phrases) -> dict[str, Phrases]:
    """The phrases that rest on one content word, by what the word is about: each teaches to see one thing.

    A word and its exclusion pick all the objects they are true of, unless these are none or all of the scene.
    """
    families: dict[str, Phrases] = {}
    everything = set(range(len(scene.objects)))
    for key in _ORDER:
        for value in sorted({getattr(one, key) for one in scene.objects}):
            picked = matching(scene.objects, {key: value})
            if value not in _FAMILY or len(picked) == len(everything):
                continue
            families.setdefault(key, []).append((_words({key: value}), tuple(picked), 1.0))
            if key != "size":
                lacking = tuple(sorted(everything.difference(picked)))
                families.setdefault("exclusion", []).append((f"thing excluding {value}", lacking, 1.0))
    for phrase in extremes:
        word, *rest = phrase[0].split()
        if rest == ["thing"]:
            families.setdefault(_FAMILY[word], []).append(phrase)
    return families


def _one_of(families: Mapping[str, Phrases], shares: Mapping[str, float], asked: Counter[int], rng: np.random.Generator
            ) -> tuple[str, str, tuple[int, ...]]:  # fmt: skip
    """Draws a family by its share and one of its phrases, of those whose objects were asked for least.

    Args:
        families: The phrases to choose from.
        shares: How often each family is drawn where it has any phrases.
        asked: How often each object was picked so far.
        rng: The source of chance.

    Returns:
        The family, the words and the objects they pick.
    """
    names = [name for name in shares if families.get(name)]
    share = np.array([shares[name] for name in names])
    name = names[int(rng.choice(len(names), p=share / share.sum()))]
    fewest = min(max(asked[i] for i in picked) for _, picked, _ in families[name])
    choices = [one for one in families[name] if max(asked[i] for i in one[1]) == fewest]
    weight = np.array([one[2] for one in choices])
    words, picked, _ = choices[int(rng.choice(len(choices), p=weight / weight.sum()))]
    return name, words, picked


def attribute_queries(scene: Scene, rng: np.random.Generator, count: int, ease: float = 0.0) -> list[SceneQuery]:
    """Draws attribute phrases for a scene, with different targets as far as it has them.

    Args:
        scene: The scene.
        rng: The source of chance.
        count: How many.
        ease: 0 draws from the whole grammar. Above, a query with this chance has a single content word ("red thing",
            "disc", "westmost thing"), and phrases stand among fewer filler words; at 1 there are only single words
            without filler.

    Returns:
        At most `count` queries; fewer only where the grammar has no more to say.
    """
    grammar = attribute_phrases(scene)
    single = _single(scene, grammar["extreme"]) if ease else {}
    queries: list[SceneQuery] = []
    asked: Counter[int] = Counter()
    most = round((1 - ease) * MOST_FILLER)
    while len(queries) < count and any(grammar.values()):
        easy = rng.random() < ease and any(single.values())
        families, shares = (single, _SINGLE) if easy else (grammar, KINDS)
        family, words, picked = _one_of(families, shares, asked, rng)
        for others in (grammar, single):  # nothing is asked twice
            others.update({name: [one for one in phrases if one[0] != words] for name, phrases in others.items()})
        asked.update(picked)
        kind = family if family in KINDS else "extreme" if words.split()[0] in _EXTREMES.values() else "attribute"
        queries.append(SceneQuery(*_dress(words, rng, most), kind, picked))
    return queries
