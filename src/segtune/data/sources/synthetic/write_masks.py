"""The embedded dataset on disk with a class for every pixel, in the layout of index masks (`masks:DIR`).

The scenes are of the same kind as those with questions, but drawn from seeds of their own; every object is labelled by
its shape. `synth.json` in the directory says how it was made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segtune.core.errors import ConfigError
from segtune.data.layouts import IMAGES, MASKS
from segtune.data.sources.classes import FILE
from segtune.data.sources.synthetic.dense_stream import CLASSES, scene_labels
from segtune.data.sources.synthetic.drawn_directory import Counts, draw_once, split_sizes
from segtune.data.sources.synthetic.scene import Scene, draw_scene, scene_rng

MASKS_VERSION = 1
"""Raised whenever the same arguments would draw something else."""

MASKS_FILES = {f"{IMAGES}/*.jpg": "images", f"{MASKS}/*.png": "images"}
"""The files below a split, and the count that says how many there are."""

_KEYS = {"train": 31, "val": 32, "test": 33}  # first word of the seed key; streams and the other dataset use others
_LABELS = "shapes"
_JPEG_QUALITY = 95


def draw_split_scene(seed: int, split: str, index: int) -> Scene:
    """A scene of the dataset.

    Args:
        seed: Of the dataset.
        split: Of the dataset.
        index: Of the scene within the split.
    """
    return draw_scene(scene_rng(seed, _KEYS[split], index))


def write_masks(directory: Path, *, scenes: int, seed: int) -> Counts:
    """Draws the embedded dataset with index masks, or finds it already drawn.

    Args:
        directory: Where to. Written beside it first, then renamed.
        scenes: Number of scenes of all splits together.
        seed: Decides everything, together with `MASKS_VERSION`.

    Returns:
        For each split the number of `images` and of `objects` in them.

    Raises:
        ConfigError: If an argument is out of range, or something else lies in `directory`.
    """
    if seed < 0:
        raise ConfigError("the seed is negative", where="seed", expected="0 or more", found=str(seed), fix="use 0")
    sizes = split_sizes(scenes)

    def write(place: Path) -> Counts:
        """Writes `classes.json` and the splits; scenes are numbered through all of them."""
        (place / FILE).write_text(json.dumps({"classes": CLASSES[_LABELS]}, indent=2) + "\n", encoding="utf-8")
        counts: Counts = {}
        first = 0
        for split, size in sizes.items():
            counts[split] = _write_split(place / split, split, size, seed, first)
            first += size
        return counts

    return draw_once(directory, masks_description(scenes, seed), MASKS_FILES, write)


def masks_description(scenes: int, seed: int) -> dict[str, Any]:
    """What decides every file of the dataset; the arguments are those of `write_masks`."""
    sizes = split_sizes(scenes)
    return {"kind": "masks", "version": MASKS_VERSION, "seed": seed, "scenes": scenes, "splits": sizes}


def _write_split(place: Path, split: str, size: int, seed: int, first: int) -> dict[str, int]:
    """Writes one split; its scenes are numbered from `first` on. Returns its counts."""
    for folder in (IMAGES, MASKS):
        (place / folder).mkdir(parents=True)
    counts = {"images": size, "objects": 0}
    for index in range(size):
        scene = draw_split_scene(seed, split, index)
        stem = f"scene_{first + index:05d}"
        # without chroma subsampling: objects are small, and their edges are those of their masks
        picture = Image.fromarray(scene.image)
        picture.save(place / IMAGES / f"{stem}.jpg", quality=_JPEG_QUALITY, subsampling=0)
        _index_image(scene_labels(scene, _LABELS)).save(place / MASKS / f"{stem}.png", optimize=True)
        counts["objects"] += len(scene.objects)
    return counts


def _index_image(labels: np.ndarray) -> Image.Image:
    """uint8 `[h, w]` as a picture whose values are the labels, with a palette in which a person can tell them apart."""
    picture = Image.fromarray(labels)
    picture.putpalette(_PALETTE)
    return picture


def _palette() -> list[int]:
    """R, G and B of 256 labels: black for 0, then hues that lie far apart (the golden angle of 137.5 degrees)."""
    turns = (np.arange(255) * 0.381966) % 1
    hues = np.array([(np.cos(2 * np.pi * (turns - shift)) + 1) * 127.5 for shift in (0, 1 / 3, 2 / 3)])
    return [0, 0, 0, *np.rint(hues.T).astype(int).ravel().tolist()]


_PALETTE = _palette()
