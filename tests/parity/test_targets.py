"""Targets equal a paint of every polygon on the full canvas, for all the real annotation files."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.external import shared_data

from segtune.ops.masks import PolygonShape, canvas_of, paint_target, validate_polygon


def plain_target(shapes: list[dict], size: tuple[int, int]) -> np.ndarray:
    """The rule of the reference, polygon by polygon, each area from a canvas of its own."""
    entries = []
    for shape in shapes:
        if shape["label"].lower() == "flag":
            continue
        points = np.array([[[int(x), int(y)] for x, y in shape["points"]]], dtype=np.int32)
        alone = np.zeros(size, np.uint8)
        cv2.polylines(alone, points, True, 1, 1)
        cv2.fillPoly(alone, points, 1)
        entries.append((int(alone.sum()), alone.astype(bool), 255 if "ignore" in shape["label"].lower() else 1))
    target = np.zeros(size, np.uint8)
    entries.reverse()  # sorting is stable: of equal areas the later comes first
    for _, inside, value in sorted(entries, key=lambda entry: -entry[0]):
        target[inside] = value
    return target


@pytest.mark.external
@pytest.mark.parametrize(("name", "files"), [("reasonseg_annotations", 12), ("camvid_reasonseg", 468)])
def test_all_real_annotation_files(name: str, files: int) -> None:
    paths = sorted(shared_data(name).glob("*/*.json"))
    assert len(paths) >= files
    different = [path.name for path in paths if not agrees(path)]
    assert different == []


def agrees(path: Path) -> bool:
    annotation = json.loads(path.read_text(encoding="utf-8"))
    shapes = [
        PolygonShape(shape["label"], validate_polygon(shape["points"], str(path), label=shape["label"]))
        for shape in annotation["shapes"]
    ]
    size = canvas_of(shapes)
    largest = np.max([point for shape in annotation["shapes"] for point in shape["points"]], axis=0)
    assert size == (int(np.ceil(largest[1])) + 1, int(np.ceil(largest[0])) + 1)
    return np.array_equal(paint_target(shapes, size), plain_target(annotation["shapes"], size))


@pytest.mark.parametrize("seed", range(20))
def test_random_polygons_with_equal_areas_and_overlaps(seed: int) -> None:
    generator = np.random.default_rng(seed)
    shapes = []
    for _ in range(12):
        corner, sides = generator.uniform(0, 40, 2), generator.choice([4.0, 9.0, 20.0], 2)
        offsets = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) if generator.random() < 0.5 else generator.random((5, 2))
        label = str(generator.choice(["target", "Ignore", "flag", "targt"]))
        shapes.append({"label": label, "points": (corner + offsets * sides).tolist()})
    ours = [PolygonShape(shape["label"], np.array(shape["points"])) for shape in shapes]
    size = canvas_of(ours)
    assert np.array_equal(paint_target(ours, size), plain_target(shapes, size))
