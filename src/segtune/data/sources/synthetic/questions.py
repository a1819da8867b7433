"""Natural-language questions about a scene: the queries of the embedded dataset.

Four kinds, each as short phrases and as long sentences that need a step of thought: *function* (what is it good
for), *comparison* (which is the biggest, the highest), *relation* (what lies left of the red one) and *negation*
(the red one that is not a disc). A question is asked only where it picks exactly one object.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from segtune.data.sources.synthetic.keywords import (
    Variant,
    all_variants,
    comparison_variants,
    function_variants,
    negation_variants,
    relation_variants,
)
from segtune.data.sources.synthetic.phrasings import TEMPLATES
from segtune.data.sources.synthetic.predicates import DIRECTIONS, SIZE_EXTREMES, extreme, matching, only_beyond
from segtune.data.sources.synthetic.scene import Scene, SceneQuery

KINDS = tuple(TEMPLATES)
"""The kinds of questions."""

_PARAPHRASE = 0.5  # how often the next question asks for the same as the last one, in other words


@dataclass(frozen=True, slots=True)
class Askable:
    """Something that a question may ask of a scene.

    Attributes:
        kind: One of `KINDS`.
        index: The object that it picks.
        variants: The ways to fill a template's slots.
    """

    kind: str
    index: int
    variants: tuple[Variant, ...]


def _pairs(scene: Scene, shared: str, differing: str) -> list[tuple[int, int]]:
    """(wanted, unwanted) of every group of exactly two that share one attribute and differ in another."""
    pairs = []
    for value in sorted({getattr(one, shared) for one in scene.objects}):
        group = matching(scene.objects, {shared: value})
        if len(group) == 2 and len({getattr(scene.objects[i], differing) for i in group}) == 2:
            pairs += [(group[0], group[1]), (group[1], group[0])]
    return pairs


def askable(scene: Scene) -> list[Askable]:
    """Everything that can be asked of a scene with exactly one answer."""
    objects = scene.objects
    found: list[Askable] = []
    for index, one in enumerate(objects):
        if matching(objects, {"shape": one.shape}) == [index]:
            found.append(Askable("function", index, tuple(function_variants(one.shape))))
    for which in (*DIRECTIONS, *SIZE_EXTREMES):
        picked = extreme(objects, range(len(objects)), which)
        if picked is not None:
            found.append(Askable("comparison", picked, tuple(comparison_variants(which))))
    for direction in DIRECTIONS:
        pair = only_beyond(objects, direction)
        if pair is not None and len(matching(objects, {"colour": objects[pair[1]].colour})) == 1:
            variants = relation_variants(direction, objects[pair[1]].colour)
            found.append(Askable("relation", pair[0], tuple(variants)))
    for wanted, other in _pairs(scene, "colour", "shape"):
        variants = negation_variants(objects[other].shape, objects[wanted].colour, by_colour=True)
        found.append(Askable("negation", wanted, tuple(variants)))
    for wanted, other in _pairs(scene, "shape", "colour"):
        variants = negation_variants(objects[wanted].shape, objects[other].colour, by_colour=False)
        found.append(Askable("negation", wanted, tuple(variants)))
    return found


def render(template: str, variant: Variant) -> str:
    """A template with its slots filled."""
    return template.format_map(variant)


def every_text(split: str) -> set[str]:
    """All questions that a split can ever ask: each of its templates with each variant."""
    variants = all_variants()
    return {
        render(template, variant)
        for kind in KINDS
        for templates in TEMPLATES[kind][split]
        for template in templates
        for variant in variants[kind]
    }


def _ask(one: Askable, split: str, is_sentence: bool, rng: np.random.Generator) -> SceneQuery:
    """One question for something askable."""
    templates = TEMPLATES[one.kind][split][int(is_sentence)]
    template = templates[int(rng.integers(len(templates)))]
    text = render(template, one.variants[int(rng.integers(len(one.variants)))])
    return SceneQuery(text, is_sentence, one.kind, (one.index,))


def questions(scene: Scene, split: str, rng: np.random.Generator, count: int) -> list[SceneQuery]:
    """Draws questions for a scene, balanced over kinds, targets and lengths.

    Args:
        scene: The scene.
        split: Whose templates to use: `"train"`, `"val"` or `"test"`.
        rng: The source of chance.
        count: How many.

    Returns:
        At most `count` questions with different texts: the first four of different kinds where the scene has them,
        then at times a paraphrase of the one before.
    """
    left = askable(scene)
    kinds, targets = Counter[str](), Counter[int]()
    chosen: list[SceneQuery] = []
    texts: set[str] = set()
    last: tuple[Askable, bool] | None = None
    is_sentence = bool(rng.integers(2))
    for _ in range(4 * count):
        if len(chosen) == count or not left:
            break
        if last is not None and len(chosen) >= len(KINDS) and rng.random() < _PARAPHRASE:
            one, long = last
        else:
            tie = rng.random(len(left))
            one = left[min(range(len(left)), key=lambda i: (kinds[left[i].kind], targets[left[i].index], tie[i]))]
            is_sentence = not is_sentence
            long = is_sentence
        query = _ask(one, split, long, rng)
        if query.text in texts:
            continue
        last = one, long
        texts.add(query.text)
        kinds[one.kind] += 1
        targets[one.index] += 1
        chosen.append(query)
    return chosen
