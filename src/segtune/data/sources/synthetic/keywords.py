"""The key words of the questions: what the attribute grammar has no words for.

Colours and shapes are named as in the grammar, because a model that knows them shall be taught to think with them:
uses, comparisons, directions and negations are new words here. Read as attributes alone they mislead ("left of the red
disc" is not the red disc).

A *variant* is one way to fill the slots of a template, `{slot: words}`. The same variants serve every split, so that
a validation question asks in a new arrangement for what training has shown; the arrangements are in `phrasings`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import product

from segtune.data.sources.synthetic.objects import COLOURS, SHAPES
from segtune.data.sources.synthetic.predicates import DIRECTIONS, SIZE_EXTREMES

Variant = Mapping[str, str]

USES: Mapping[str, tuple[str, str]] = {
    "disc": ("kick a goal", "roll down a hill"),
    "square": ("pack clothes", "store old toys"),
    "triangle": ("camp in the woods", "sleep outdoors"),
    "star": ("play the sheriff", "make a wish"),
    "ring": ("thread a rope through", "save a swimmer"),
    "cross": ("call a doctor", "give first aid"),
    "bar": ("measure a table", "bridge a ditch"),
    "heart": ("show true love", "send a valentine"),
    "crescent": ("light the night", "draw the moon"),
    "drop": ("water a plant", "wash my face"),
}
"""What one would use a shape to do."""

ROLES: Mapping[str, str] = {
    "disc": "ball",
    "square": "box",
    "triangle": "tent",
    "star": "badge",
    "ring": "hoop",
    "cross": "hospital sign",
    "bar": "plank",
    "heart": "valentine",
    "crescent": "moon",
    "drop": "tear",
}
"""What a shape could stand for."""

PLURALS: Mapping[str, str] = {shape: f"{shape}es" if shape.endswith("s") else f"{shape}s" for shape in SHAPES}
"""Several objects of a shape."""

SUPERLATIVES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "largest": (("biggest", "bulkiest"), ("is the biggest", "fills the most space", "takes the most room")),
    "smallest": (("tiniest", "littlest"), ("is the tiniest", "fills the least space", "takes the least room")),
    "left": (("leftmost", "furthest left"), ("is furthest left", "is nearest the left edge")),
    "right": (("rightmost", "furthest right"), ("is furthest right", "is nearest the right edge")),
    "above": (("highest", "topmost"), ("is the highest", "is nearest the ceiling")),
    "below": (("lowest", "bottommost"), ("is the lowest", "is nearest the floor")),
}
"""An extreme as an adjective, and as what the object does."""

PLACES: Mapping[str, tuple[str, ...]] = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above", "over", "higher than"),
    "below": ("below", "under", "lower than"),
}
"""A direction as a preposition."""

NEGATIONS = ("not",)
"""The words by which the templates of negation say no: one, because a tiny model learns each of them anew."""

_COMMON = "a the my on in of to from off as one is first give make show call play mark send draw down through onto old"


def function_variants(shape: str) -> list[Variant]:
    """Slots `do` (what to do with it) and `noun` (what it could stand for)."""
    return [{"do": use, "noun": ROLES[shape]} for use in USES[shape]]


def comparison_variants(which: str) -> list[Variant]:
    """Slots `adj` and `clause` for a direction or an extreme of size."""
    return [{"adj": adj, "clause": clause} for adj, clause in product(*SUPERLATIVES[which])]


def relation_variants(direction: str, colour: str) -> list[Variant]:
    """Slots `dir` and `colour`, the colour being the anchor's."""
    return [{"dir": place, "colour": colour} for place in PLACES[direction]]


def negation_variants(shape: str, colour: str, *, by_colour: bool) -> list[Variant]:
    """Slots for a pair of objects of which one is wanted.

    Args:
        shape: The shape that both share, or the one that the wanted object lacks.
        colour: The colour that the wanted object lacks, or the one that both share.
        by_colour: True where both share the colour and differ in shape.

    Returns:
        Variants with `group` and `groups` (one and several of what they share), `but` (the unwanted one) and `other`
        (the same as a predicate).
    """
    if by_colour:
        return [{"group": f"{colour} one", "groups": f"{colour} ones", "but": shape, "other": f"a {shape}"}]
    return [{"group": shape, "groups": PLURALS[shape], "but": f"{colour} one", "other": colour}]


def all_variants() -> dict[str, list[Variant]]:
    """Every variant there is, by kind."""
    pairs = list(product(SHAPES, COLOURS))
    return {
        "function": [one for shape in SHAPES for one in function_variants(shape)],
        "comparison": [one for which in (*DIRECTIONS, *SIZE_EXTREMES) for one in comparison_variants(which)],
        "relation": [one for side, colour in product(DIRECTIONS, COLOURS) for one in relation_variants(side, colour)],
        "negation": [
            one for shape, colour in pairs for flag in (True, False)
            for one in negation_variants(shape, colour, by_colour=flag)
        ],
    }  # fmt: skip


def words_of(text: str) -> list[str]:
    """The words of a text, lower case, without punctuation."""
    return re.findall(r"[a-z']+", text.lower())


_SLOT_WORDS = {word for kind in all_variants().values() for one in kind for word in words_of(" ".join(one.values()))}

KEY_WORDS = frozenset(_SLOT_WORDS.union(NEGATIONS).difference(_COMMON.split()))
"""The words that decide what a question means."""
