"""The embedded dataset on disk, in the ReasonSeg layout.

Every scene yields questions of all four kinds about at least two of its objects: ten in train, four or five
elsewhere. A file holds one target, one kind and one `is_sentence`, so a scene becomes several files with identical
pixels. The directory appears complete or not at all, and `synth.json` in it says how it was made.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segtune.core.errors import ConfigError
from segtune.data.sources.synthetic.drawn_directory import SPLITS, Counts, draw_once, split_sizes
from segtune.data.sources.synthetic.polygons import target_polygons
from segtune.data.sources.synthetic.questions import KINDS, questions
from segtune.data.sources.synthetic.scene import Scene, SceneQuery, draw_scene, scene_rng
from segtune.ops.masks import PolygonShape

VERSION = 5
"""Raised whenever the same arguments would draw something else."""

FILES = {"*.json": "files", "*.jpg": "files"}
"""The files below a split, and the count that says how many there are."""

Polygons = dict[int, list[PolygonShape]]
"""Index of an object -> the polygons of its target."""

_DATASET_KEYS = {"train": 11, "val": 12, "test": 13}  # first word of the seed key; streams use others
_QUESTIONS = {"train": (10, 11), "val": (4, 6), "test": (4, 6)}  # how many of a scene: the first, and the end
_UNCLEAR_SHARE = 0.6  # of the occluded targets, how many get an ignored border
_JPEG_QUALITY = 95


def draw_asked_scene(seed: int, split: str, index: int) -> tuple[Scene, list[SceneQuery], Polygons]:
    """A scene of the dataset with its questions, drawn again until it has enough to ask.

    Args:
        seed: Of the dataset.
        split: Of the dataset.
        index: Of the scene within the split.

    Returns:
        The scene, its questions of all four kinds about at least two objects, and the polygons of each object asked
        for. There are ten questions of a train scene, because a question costs a step of training little beside its
        image, and the same objects asked for in one way and another tell the words apart; four or five elsewhere.
    """
    attempt = 0
    while True:
        rng = scene_rng(seed, _DATASET_KEYS[split], index, attempt)
        attempt += 1
        scene = draw_scene(rng)
        unclear = rng.random(len(scene.objects)) < _UNCLEAR_SHARE
        count = int(rng.integers(*_QUESTIONS[split]))
        asked = questions(scene, split, rng, count)
        if len(asked) < count or len({q.kind for q in asked}) < len(KINDS) or len({q.index for q in asked}) < 2:
            continue
        shapes = {}
        for target in {query.index for query in asked}:
            polygons = target_polygons(scene.objects[target], unclear_border=bool(unclear[target]))
            if polygons is not None:
                shapes[target] = polygons
        if all(query.index in shapes for query in asked):
            return scene, asked, shapes


def _annotation(stem: str, queries: list[SceneQuery], shapes: list[PolygonShape]) -> dict[str, Any]:
    """The content of one annotation file."""
    return {
        "text": [query.text for query in queries],
        "is_sentence": queries[0].is_sentence,
        "kind": queries[0].kind,
        "shapes": [
            {
                "label": shape.label,
                "labels": [shape.label],
                "shape_type": "polygon",
                "image_name": f"{stem}.jpg",
                "points": shape.points.tolist(),
                "group_id": None,
                "group_ids": [None],
                "flags": {},
            }
            for shape in shapes
        ],
    }


def _jpeg(image: np.ndarray) -> bytes:
    """uint8 `[h, w, 3]` RGB as a JPEG without chroma subsampling (objects are small and told apart by colour)."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def _write_split(place: Path, split: str, size: int, seed: int, first: int) -> dict[str, int]:
    """Writes one split; its scenes are numbered from `first` on. Returns its counts."""
    place.mkdir()
    counts = {"scenes": size, "files": 0, "queries": 0}
    for index in range(size):
        scene, asked, shapes = draw_asked_scene(seed, split, index)
        pixels = _jpeg(scene.image)
        files: dict[tuple[int, str, bool], list[SceneQuery]] = {}
        for query in asked:
            files.setdefault((query.index, query.kind, query.is_sentence), []).append(query)
        for letter, ((target, _, _), queries) in zip("abcdefghijkl", files.items(), strict=False):
            stem = f"scene_{first + index:05d}_{letter}"
            (place / f"{stem}.jpg").write_bytes(pixels)
            text = json.dumps(_annotation(stem, queries, shapes[target]), ensure_ascii=False)
            (place / f"{stem}.json").write_text(text, encoding="utf-8")
        counts["files"] += len(files)
        counts["queries"] += len(asked)
    return counts


def write_dataset(directory: Path, *, scenes: int, seed: int, splits: Mapping[str, float] = SPLITS) -> Counts:
    """Draws the embedded dataset, or finds it already drawn.

    Args:
        directory: Where to. Written beside it first, then renamed.
        scenes: Number of scenes of all splits together.
        seed: Decides everything, together with `VERSION`.
        splits: Share of each split.

    Returns:
        For each split the number of `scenes`, `files` (annotations) and `queries` (texts).

    Raises:
        ConfigError: If an argument is out of range, or something else lies in `directory`.
    """
    if seed < 0:
        raise ConfigError("the seed is negative", where="seed", expected="0 or more", found=str(seed), fix="use 0")
    sizes = split_sizes(scenes, splits)

    def write(place: Path) -> Counts:
        """Writes the splits; scenes are numbered through all of them."""
        counts: Counts = {}
        first = 0
        for split, size in sizes.items():
            counts[split] = _write_split(place / split, split, size, seed, first)
            first += size
        return counts

    return draw_once(directory, description_of(scenes, seed, splits), FILES, write)


def description_of(scenes: int, seed: int, splits: Mapping[str, float] = SPLITS) -> dict[str, Any]:
    """What decides every file of the dataset; the arguments are those of `write_dataset`."""
    return {"version": VERSION, "seed": seed, "scenes": scenes, "splits": split_sizes(scenes, splits)}
