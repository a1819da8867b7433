"""The embedded dataset on disk, in the ReasonSeg layout.

Every scene yields four or five questions of all four kinds about at least two of its objects. A file holds one
target, one kind and one `is_sentence`, so a scene becomes several files with identical pixels. The directory appears
complete or not at all, and `synth.json` in it says how it was made.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segtune.core.errors import ConfigError
from segtune.data.sources.synthetic.polygons import target_polygons
from segtune.data.sources.synthetic.questions import KINDS, questions
from segtune.data.sources.synthetic.scene import Scene, SceneQuery, draw_scene, scene_rng
from segtune.ops.masks import PolygonShape

VERSION = 4
"""Raised whenever the same arguments would draw something else."""

DESCRIPTION = "synth.json"
"""The file at the dataset's root that says how it was made."""

SPLITS: Mapping[str, float] = {"train": 0.7, "val": 0.15, "test": 0.15}
"""The usual shares of the splits."""

MOST_HELD_OUT = 150
"""The most scenes of val and test: more would make every scoring longer and hardly truer; the rest is for training."""

Counts = dict[str, dict[str, int]]
"""Split -> number of `scenes`, `files` and `queries`."""

Polygons = dict[int, list[PolygonShape]]
"""Index of an object -> the polygons of its target."""

_DATASET_KEYS = {"train": 11, "val": 12, "test": 13}  # first word of the seed key; streams use others
_UNCLEAR_SHARE = 0.6  # of the occluded targets, how many get an ignored border
_JPEG_QUALITY = 95


def _split_sizes(scenes: int, splits: Mapping[str, float]) -> dict[str, int]:
    """Scenes of each split; what rounding and `MOST_HELD_OUT` leave over goes to the first."""
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown or not splits or min(splits.values()) < 0 or abs(sum(splits.values()) - 1) > 1e-6:
        raise ConfigError(
            "the shares of the splits are wrong", where="splits", expected="shares of train, val and test, sum 1",
            found=str(dict(splits)), fix='for example {"train": 0.7, "val": 0.15, "test": 0.15}',
        )  # fmt: skip
    sizes = {split: min(round(scenes * share), MOST_HELD_OUT) for split, share in splits.items()}
    first = next(iter(sizes))
    sizes[first] += scenes - sum(sizes.values())
    if min(sizes.values()) < 1:
        raise ConfigError(
            "too few scenes for these splits", where="scenes", expected="at least one scene in every split",
            found=f"{scenes} scenes -> {sizes}", fix="ask for more scenes",
        )  # fmt: skip
    return sizes


def draw_asked_scene(seed: int, split: str, index: int) -> tuple[Scene, list[SceneQuery], Polygons]:
    """A scene of the dataset with its questions, drawn again until it has enough to ask.

    Args:
        seed: Of the dataset.
        split: Of the dataset.
        index: Of the scene within the split.

    Returns:
        The scene, four or five questions of all four kinds about at least two objects, and the polygons of each
        object asked for.
    """
    attempt = 0
    while True:
        rng = scene_rng(seed, _DATASET_KEYS[split], index, attempt)
        attempt += 1
        scene = draw_scene(rng)
        unclear = rng.random(len(scene.objects)) < _UNCLEAR_SHARE
        count = int(rng.integers(4, 6))
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
        for letter, ((target, _, _), queries) in zip("abcdefgh", files.items(), strict=False):
            stem = f"scene_{first + index:05d}_{letter}"
            (place / f"{stem}.jpg").write_bytes(pixels)
            text = json.dumps(_annotation(stem, queries, shapes[target]), ensure_ascii=False)
            (place / f"{stem}.json").write_text(text, encoding="utf-8")
        counts["files"] += len(files)
        counts["queries"] += len(asked)
    return counts


def _existing(directory: Path, wanted: Mapping[str, Any]) -> Counts | None:
    """The counts of a dataset that is already there as wanted; None where the directory is free.

    Raises:
        ConfigError: If something else is there.
    """
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return None
    found = "a file" if directory.is_file() else f"a directory without {DESCRIPTION}"
    try:
        made = json.loads((directory / DESCRIPTION).read_text(encoding="utf-8"))
        found = ", ".join(f"{key} {made[key]}" for key in wanted)
        if all(made[key] == value for key, value in wanted.items()):
            counts: Counts = made["counts"]
            lost = [
                f"{len(list((directory / split).glob(pattern)))} of {count['files']} files {split}/{pattern}"
                for split, count in counts.items()
                for pattern in ("*.json", "*.jpg")
                if len(list((directory / split).glob(pattern))) != count["files"]
            ]
            if not lost:
                return counts
            found = "; ".join(lost)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # not ours, or damaged: refused below
    raise ConfigError(
        "there is something else in the way", where=str(directory), found=found,
        expected="no such directory, an empty one, or the same dataset: "
        + ", ".join(f"{key} {value}" for key, value in wanted.items()),
        fix="name another directory, or remove this one",
    )  # fmt: skip


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
    directory = directory.expanduser().resolve()
    sizes = _split_sizes(scenes, splits)
    description = {"version": VERSION, "seed": seed, "scenes": scenes, "splits": sizes}
    there = _existing(directory, description)
    if there is not None:
        return there
    directory.parent.mkdir(parents=True, exist_ok=True)
    partial = directory.with_name(f".{directory.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        counts: Counts = {}
        first = 0
        for split, size in sizes.items():
            counts[split] = _write_split(partial / split, split, size, seed, first)
            first += size
        content = {"generator": "segtune", **description, "counts": counts}
        (partial / DESCRIPTION).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        try:
            partial.rename(directory)
        except OSError:  # perhaps another process has just written the same
            counts_there = _existing(directory, description)
            if counts_there is None:
                raise
            return counts_there
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return counts
