"""Pictures: what is outside a mask is left alone, and a caption always fits."""

from __future__ import annotations

import numpy as np
import pytest

from segtune.core.records import IGNORE
from segtune.ops.overlays import overlay, panel

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def test_outside_the_mask_the_image_stays() -> None:
    mask = np.zeros((60, 80), bool)
    mask[10:30, 20:50] = True
    before = IMAGE.copy()
    result = overlay(IMAGE, mask, (255, 0, 0), alpha=0.5)
    assert np.array_equal(IMAGE, before)
    assert np.array_equal(result[~mask], IMAGE[~mask])
    assert (result[10, 20:50] == (255, 0, 0)).all()
    expected = np.rint(0.5 * IMAGE[20, 30] + 0.5 * np.array([255, 0, 0]))
    assert np.array_equal(result[20, 30], expected)


def test_no_line_along_the_border_of_the_picture() -> None:
    result = overlay(IMAGE, np.ones((60, 80), bool), (255, 0, 0), alpha=0.0)
    assert np.array_equal(result, IMAGE)


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="differ in size"):
        overlay(IMAGE, np.zeros((60, 81), bool))


@pytest.mark.parametrize("caption", ["", "a cat", "word " * 300, "x" * 500, "Größe 图 ?\nIoU 0.5"])
@pytest.mark.parametrize("prediction", [None, np.ones((60, 80), bool)])
def test_a_panel_holds_three_pictures_and_the_caption(caption: str, prediction: np.ndarray | None) -> None:
    target = np.zeros((60, 80), np.uint8)
    target[:5], target[20:40, 20:40] = IGNORE, 1
    picture = panel(IMAGE, target, prediction, caption)
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (240, 3)
    assert 60 < picture.shape[0] < 60 + 140
    assert np.array_equal(picture[:60, :80], IMAGE)


def test_large_pictures_are_made_smaller() -> None:
    image = np.zeros((300, 1200, 3), np.uint8)
    picture = panel(image, np.zeros((300, 1200), np.uint8), None, "q", max_side=400)
    assert picture.shape[1] == 1200
    assert (picture[:100] == 0).all()
