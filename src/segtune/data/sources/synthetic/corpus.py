"""Texts from which the tokenizer of the tiny model is trained: never a validation or test phrasing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from segtune.data.sources.synthetic.attributes import attribute_queries
from segtune.data.sources.synthetic.filler import FILLER_WORDS
from segtune.data.sources.synthetic.keywords import all_variants
from segtune.data.sources.synthetic.phrasings import TEMPLATES
from segtune.data.sources.synthetic.questions import KINDS, render
from segtune.data.sources.synthetic.scene import draw_scene, scene_rng

Choice = TypeVar("Choice")

_CORPUS_KEY = 3  # first word of the seed key; streams and datasets use others
_PER_SCENE = 8
_FILLER_LINE = 8


def training_texts(seed: int, count: int) -> list[str]:
    """Attribute phrases and training questions in equal parts, after one pass over the filler words.

    Args:
        seed: Decides everything.
        count: How many texts, the lines of filler words included.

    Returns:
        `count` texts, repeats possible.
    """
    rng = scene_rng(seed, _CORPUS_KEY)
    texts = [" ".join(FILLER_WORDS[i : i + _FILLER_LINE]) for i in range(0, len(FILLER_WORDS), _FILLER_LINE)]
    variants = all_variants()
    while len(texts) < count:
        scene = draw_scene(rng)
        texts += [query.text for query in attribute_queries(scene, rng, _PER_SCENE)]
        for _ in range(_PER_SCENE):
            kind = KINDS[int(rng.integers(len(KINDS)))]
            templates = TEMPLATES[kind]["train"][int(rng.integers(2))]
            texts.append(render(_one_of(templates, rng), _one_of(variants[kind], rng)))
    return texts[:count]


def _one_of(choices: Sequence[Choice], rng: np.random.Generator) -> Choice:
    """One of several, at random."""
    return choices[int(rng.integers(len(choices)))]
