"""Scenes drawn afresh at every step with a class for every pixel: what the encoder of a dense model is pretrained on.

Every object is labelled where it shows, whether or not anybody would ask for it; shadows and clutter are background.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from segtune.core.errors import ConfigError
from segtune.core.records import LabelledImage
from segtune.data.sources.classes import BACKGROUND
from segtune.data.sources.synthetic.objects import COLOURS, SHAPES
from segtune.data.sources.synthetic.scene import Scene, draw_scene, scene_rng

CLASSES: Mapping[str, tuple[str, ...]] = {"shapes": (BACKGROUND, *SHAPES), "colours": (BACKGROUND, *COLOURS)}
"""What objects may be labelled by, and the classes that this gives."""

_STREAM_KEYS = {"train": 21, "val": 22}  # first word of the seed key; the other stream and the datasets use others


class LabelledScenes:
    """A source (`segtune.core.records.DenseSource`) without an end: every epoch draws other scenes.

    The validation split ignores the epoch, so that scores of different epochs compare, and draws from seeds of its
    own. The same seed draws the same scenes whatever they are labelled by.

    Args:
        labels: What objects are labelled by, one of `CLASSES`.
        length: Images in an epoch.
        seed: Decides everything.
        split: `"train"` or `"val"`.

    Attributes:
        name: `LABELS@SPLIT`.
        classes: `background`, then the shapes or colours.
        drawn: Whether every epoch draws afresh, so that nothing may be kept.

    Raises:
        ConfigError: If an argument is out of range.
    """

    def __init__(self, labels: str, length: int, seed: int, split: str = "train") -> None:
        if split not in _STREAM_KEYS:
            raise ConfigError(
                "the stream has no such split", where="split", expected="train or val", found=repr(split),
                fix="name one of the two; only datasets written to disk have a test split",
            )  # fmt: skip
        if labels not in CLASSES or length < 1 or seed < 0:
            raise ConfigError(
                "argument out of range", where="LabelledScenes",
                expected=f"labels one of {', '.join(CLASSES)}, length >= 1, seed >= 0",
                found=f"labels {labels!r}, length {length}, seed {seed}", fix="change the recipe's data section",
            )  # fmt: skip
        self.name, self.classes, self.drawn = f"{labels}@{split}", CLASSES[labels], split == "train"
        self._labels, self._length, self._seed, self._split = labels, length, seed, split

    def __len__(self) -> int:
        """Images in an epoch."""
        return self._length

    def item(self, index: int, epoch: int = 0) -> LabelledImage:
        """Draws a scene.

        Args:
            index: From 0 to the length.
            epoch: Draws other scenes in the train split; the val split ignores it.

        Returns:
            Image uint8 `[h, w, 3]` and labels uint8 `[h, w]` (see `scene_labels`), original pixels: those of the
            canvas, one of `scene.CANVASES`.

        Raises:
            IndexError: If the index is out of range.
        """
        if not 0 <= index < self._length:
            raise IndexError(f"index {index} of a stream of {self._length} images")
        rng = scene_rng(self._seed, _STREAM_KEYS[self._split], epoch if self.drawn else 0, index)
        scene = draw_scene(rng)
        return LabelledImage(self.item_id(index), scene.image, scene_labels(scene, self._labels))

    def item_id(self, index: int) -> str:
        """The id of the image at `index` (the same in every epoch), without drawing it."""
        return f"{self._labels}_{self._split}_{index:06d}"


def scene_labels(scene: Scene, labels: str = "shapes") -> np.ndarray:
    """The class of every pixel of a scene.

    Args:
        scene: The scene.
        labels: What its objects are labelled by, one of `CLASSES`.

    Returns:
        uint8 `[h, w]`, indices into `CLASSES[labels]`: that of each object where it shows, else 0.
    """
    classes = CLASSES[labels]
    painted = np.zeros(scene.image.shape[:2], np.uint8)
    for one in scene.objects:
        painted[one.mask] = classes.index(one.shape if labels == "shapes" else one.colour)
    return painted
