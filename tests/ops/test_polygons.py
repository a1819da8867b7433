from __future__ import annotations

import numpy as np
import pytest

from segtune.ops.polygons import fill_polygons


def _inside(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Even-odd by hand: for every pixel centre the crossings of a ray to the right, one edge at a time."""
    inside = np.zeros(size, bool)
    for row in range(size[0]):
        for column in range(size[1]):
            cx, cy, crossings = column + 0.5, row + 0.5, 0
            for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
                if (y0 <= cy) != (y1 <= cy) and x0 + (cy - y0) / (y1 - y0) * (x1 - x0) > cx:
                    crossings += 1
            inside[row, column] = crossings % 2 == 1
    return inside


@pytest.mark.parametrize("seed", range(20))
def test_every_pixel_centre_is_decided_by_the_even_odd_rule(seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-6, 22, (int(rng.integers(3, 9)), 2))  # crosses itself and leaves the canvas
    np.testing.assert_array_equal(fill_polygons([points], (13, 17)), _inside(points, (13, 17)))


def test_a_square_is_as_wide_as_its_borders_are_apart_and_neighbours_share_nothing():
    left = np.array([[2, 3], [6, 3], [6, 7], [2, 7]], float)
    mask = fill_polygons([left], (10, 12))
    assert mask.sum() == 16
    assert mask[3:7, 2:6].all()
    other = fill_polygons([np.add(left, (4, 0))], (10, 12))
    assert not (mask & other).any()
    assert (mask | other).sum() == 32
    halves = [np.array([[0, 0], [4.5, 0], [4.5, 5], [0, 5]]), np.array([[4.5, 0], [9, 0], [9, 5], [4.5, 5]])]
    first, second = (fill_polygons([half], (5, 9)) for half in halves)
    assert not (first & second).any(), "a centre on a shared edge belongs to one of them"
    assert (first | second).all()


def test_parts_are_joined_and_a_part_in_a_part_cuts_no_hole():
    outer = np.array([[0, 0], [8, 0], [8, 8], [0, 8]], float)
    assert fill_polygons([outer, outer / 2], (8, 8)).all()


@pytest.mark.parametrize(
    "points", [[[1, 1], [1, 1], [1, 1]], [[-9, -9], [-5, -9], [-5, -5]], [[0, 2.5], [9, 2.5], [4, 2.5]]]
)
def test_nothing_to_fill(points):
    assert not fill_polygons([np.array(points, float)], (6, 9)).any()


def test_agrees_with_pycocotools_but_for_the_border():
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for _ in range(10):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
        points = 50 + 40 * np.column_stack([np.cos(angles), np.sin(angles)])
        theirs = coco.decode(coco.frPyObjects([points.ravel().tolist()], 100, 100))[:, :, 0] > 0
        ours = fill_polygons([points], (100, 100))
        assert (ours & theirs).sum() / (ours | theirs).sum() > 0.95
