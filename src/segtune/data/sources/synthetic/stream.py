"""Scenes drawn afresh at every step, with attribute phrases: what the tiny base model is pretrained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segtune.core.errors import ConfigError
from segtune.core.records import Example, Group, Query
from segtune.data.sources.synthetic.attributes import attribute_queries
from segtune.data.sources.synthetic.scene import SceneObject, draw_scene, scene_rng

_STREAM_KEYS = {"train": 1, "val": 2}  # first word of the seed key; the dataset on disk uses others


class AttributeStream:
    """A source (`segtune.core.records.Source`) without an end: every epoch draws other scenes.

    The validation split ignores the epoch, so that scores of different epochs compare, and draws from seeds of its
    own.

    Args:
        length: Groups in an epoch.
        seed: Decides everything.
        queries: Queries of each scene.
        split: `"train"` or `"val"`.
        easing_epochs: In the train split, the epochs that are easier: in the first half all queries are single words
            ("red thing", "disc", "westmost thing", "thing excluding red"), in the second they change evenly to the
            whole grammar among filler words.

    Raises:
        ConfigError: If an argument is out of range.
    """

    def __init__(self, length: int, seed: int, queries: int = 4, split: str = "train", easing_epochs: int = 0) -> None:
        if split not in _STREAM_KEYS:
            raise ConfigError(
                "the stream has no such split", where="split", expected="train or val", found=repr(split),
                fix="name one of the two; only datasets written to disk have a test split",
            )  # fmt: skip
        if length < 1 or not 1 <= queries <= 8 or seed < 0:
            raise ConfigError(
                "argument out of range", where="AttributeStream", expected="length >= 1, 1 <= queries <= 8, seed >= 0",
                found=f"length {length}, queries {queries}, seed {seed}", fix="change the recipe's data section",
            )  # fmt: skip
        self.name = f"attributes@{split}"
        self._length, self._seed, self._queries, self._split = length, seed, queries, split
        self._easing_epochs = easing_epochs if split == "train" else 0

    def __len__(self) -> int:
        """Groups in an epoch."""
        return self._length

    def _record_id(self, index: int) -> str:
        return f"attributes_{self._split}_{index:06d}"

    def ids(self, index: int) -> Sequence[str]:
        """The ids of the group's examples (the same in every epoch), without drawing it."""
        return [f"{self._record_id(index)}#{k}" for k in range(self._queries)]

    def _ease(self, epoch: int) -> float:
        """How much easier than the grammar an epoch is: 1 in the first half of `easing_epochs`, 0 after the last."""
        half = self._easing_epochs / 2
        return min(1.0, max(0.0, 2 - epoch / half)) if half else 0.0

    def group(self, index: int, epoch: int = 0) -> Group:
        """Draws a scene and its queries.

        Args:
            index: From 0 to the length.
            epoch: Draws other scenes in the train split; the val split ignores it.

        Returns:
            The group: image uint8 `[h, w, 3]`, targets uint8 `[h, w]` of 0 and 1 (visible parts), original pixels.

        Raises:
            IndexError: If the index is out of range.
        """
        if not 0 <= index < self._length:
            raise IndexError(f"index {index} of a stream of {self._length} groups")
        rng = scene_rng(self._seed, _STREAM_KEYS[self._split], epoch if self._split == "train" else 0, index)
        while True:
            scene = draw_scene(rng)
            queries = attribute_queries(scene, rng, self._queries, self._ease(epoch))
            if len(queries) == self._queries:
                break
        examples = tuple(
            Example(
                name,
                Query(
                    one.text,
                    one.is_sentence,
                    one.kind,
                    explanation=" and ".join(describe(scene.objects[i]) for i in one.indices),
                ),
                np.any([scene.objects[i].mask for i in one.indices], axis=0).astype(np.uint8),
            )
            for name, one in zip(self.ids(index), queries, strict=True)
        )
        return Group(self._record_id(index), scene.image, examples)


def describe(one: SceneObject) -> str:
    """What an object is, in the words of the attribute grammar: the explaining answer that teaches a model to name."""
    return f"the {one.texture} {one.colour} {one.shape}"
