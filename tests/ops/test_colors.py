"""Colours of classes: the same for any count, and apart for every kind of vision, by another measure than their own."""

from __future__ import annotations

import numpy as np
import pytest

from segtune.core.records import IGNORE
from segtune.ops.colors import GREY, class_colors
from segtune.ops.overlays import label_panel, legend, overlay_heat, overlay_labels

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)

# Viénot, Brettel and Mollon 1999, protanope and deuteranope, on linear RGB
DICHROMATS = (
    np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
    np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
)


def _cielab(colors: np.ndarray, vision: np.ndarray) -> np.ndarray:
    """CIE 1976 L*a*b* (D65) of uint8 sRGB."""
    values = colors / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4) @ vision.T
    xyz = linear @ np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]).T
    ratio = np.clip(xyz / [0.9505, 1.0, 1.089], 0, None)
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


@pytest.mark.parametrize("vision", [np.eye(3), *DICHROMATS], ids=["normal", "protanope", "deuteranope"])
def test_a_dozen_classes_are_told_apart(vision) -> None:
    lab = _cielab(np.vstack([class_colors(12), np.array([GREY])]), vision)
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1)[np.triu_indices(13, 1)]
    assert distances.min() > 10  # 2.3 is just noticeable side by side


def test_colors_are_fixed_and_all_different() -> None:
    every = class_colors(255)
    assert (every.shape, every.dtype) == ((255, 3), np.uint8)
    assert len(np.unique(every, axis=0)) == 255
    for count in (0, 1, 2, 11, 150):
        assert np.array_equal(class_colors(count), every[:count])
    every[:] = 0
    assert class_colors(1).any()


def test_an_overlay_of_classes_is_a_blend() -> None:
    labels = np.zeros((60, 80), np.uint8)
    labels[:, 20:40], labels[:, 40:60], labels[:, 60:] = 1, 2, IGNORE
    before = IMAGE.copy()
    result = overlay_labels(IMAGE, labels, 3, clear=(0,), alpha=0.5)
    assert np.array_equal(IMAGE, before)
    assert np.array_equal(result[:, :20], IMAGE[:, :20])
    colors = np.vstack([class_colors(3), np.array([GREY])]).astype(float)
    for part, color in ((slice(20, 40), colors[1]), (slice(40, 60), colors[2]), (slice(60, 80), colors[3])):
        assert np.abs(result[:, part] - (0.5 * IMAGE[:, part] + 0.5 * color)).max() <= 0.51
    with pytest.raises(ValueError, match="differ in size"):
        overlay_labels(IMAGE, labels[:-1], 3)


@pytest.mark.parametrize("width", [40, 200, 2000])
def test_a_legend_names_what_is_shown_in_its_colour(width) -> None:
    names = tuple(f"class {index}" for index in range(40))
    picture = legend(names, (3, 7, 30), width)
    assert picture.shape[1:] == (width, 3)
    for index in (3, 7, 30):
        assert (picture == class_colors(40)[index]).all(axis=-1).any()
    assert not (picture == class_colors(40)[8]).all(axis=-1).any()
    assert legend(names, range(40), width).shape[0] > picture.shape[0] or width == 2000
    assert legend(names, (), width).shape == (0, width, 3)
    assert legend(names, (3,), width, text=40).shape[0] > legend(names, (3,), width).shape[0]


def test_a_panel_of_classes() -> None:
    labels = np.zeros((60, 80), np.uint8)
    labels[:30], labels[:5] = 1, IGNORE
    panel = label_panel(IMAGE, labels, np.zeros_like(labels), ("background", "tree"), "words", clear=(0,))
    assert panel.shape[1:] == (240, 3)
    assert np.array_equal(panel[:60, :80], IMAGE)
    assert np.array_equal(panel[30:60, 80:160], IMAGE[30:])
    assert np.array_equal(panel[:60, 160:], IMAGE)
    assert (panel[60:] == class_colors(2)[1]).all(axis=-1).any()
    assert not (panel[60:] == class_colors(2)[0]).all(axis=-1).any()


def test_heat_glows_where_it_is_and_leaves_the_rest() -> None:
    heat = np.zeros((60, 80), np.float32)
    heat[:, 40:] = 1
    result = overlay_heat(IMAGE, heat, alpha=1.0)
    grey = result[:, :40].astype(int)
    assert (grey.max(axis=-1) == grey.min(axis=-1)).all()
    assert np.abs(grey[..., 0] - IMAGE[:, :40] @ np.array([0.299, 0.587, 0.114])).max() <= 1
    assert len(np.unique(result[:, 40:].reshape(-1, 3), axis=0)) == 1
    assert result[0, -1].sum() > 500  # the bright end of inferno
    with pytest.raises(ValueError, match="differ in size"):
        overlay_heat(IMAGE, heat[:-1])
