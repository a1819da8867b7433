from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import SamImageProcessorPil

from segtune.ops.geometry import OUTSIDE_LOGIT, fit, seen_pixels, soften, to_model, to_original


@pytest.mark.parametrize(
    ("original", "placement", "resized", "offset"),
    [
        ((360, 480), "corner", (768, 1024), (0, 0)),
        ((360, 480), "center", (768, 1024), (128, 0)),
        ((360, 480), "crop", (1024, 1365), (0, -170)),
        ((480, 360), "corner", (1024, 768), (0, 0)),
        ((480, 360), "center", (1024, 768), (0, 128)),
        ((480, 360), "crop", (1365, 1024), (-170, 0)),
        ((100, 100), "crop", (1024, 1024), (0, 0)),
        ((3, 4000), "corner", (1, 1024), (0, 0)),
    ],
)
def test_fit_by_hand(original, placement, resized, offset):
    geometry = fit(original, 1024, placement)
    assert (geometry.resized, geometry.offset, geometry.size) == (resized, offset, 1024)
    assert geometry.original == original


def test_visible_is_where_the_image_lies():
    assert fit((360, 480), 1024, "corner").visible == (slice(0, 768), slice(0, 1024))
    assert fit((360, 480), 1024, "center").visible == (slice(128, 896), slice(0, 1024))
    assert fit((360, 480), 1024, "crop").visible == (slice(0, 1024), slice(0, 1024))


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("placement", ["corner", "center", "crop"])
@pytest.mark.parametrize("size", [(201, 333), (333, 201), (128, 128), (77, 90), (719, 541)])
def test_a_mask_survives_the_way_there_and_back(placement, size):
    height, width = size
    ys, xs = np.mgrid[:height, :width]
    radius = 0.3 * min(size)
    disc = (ys - height / 2 - 3) ** 2 + (xs - width / 2 + 2) ** 2 < radius**2
    geometry = fit(size, 256, placement)
    model = to_model(torch.from_numpy(disc.astype(np.uint8)), geometry, 255)
    logits = torch.where(model == 1, 8.0, -8.0)[None]
    back = to_original(logits, geometry)
    assert back.shape == (1, height, width)
    assert _iou(back[0].numpy() > 0, disc) > 0.95


@pytest.mark.parametrize("placement", ["corner", "center"])
def test_padding_is_marked_and_labels_stay_labels(placement):
    geometry = fit((30, 50), 64, placement)
    target = torch.zeros(30, 50, dtype=torch.uint8)
    target[10:20, 5:25], target[:, 40:] = 1, 255
    model = to_model(target, geometry, 7)
    rows, columns = geometry.visible
    outside = torch.ones_like(model, dtype=torch.bool)
    outside[rows, columns] = False
    assert bool((model[outside] == 7).all())
    assert set(model[~outside].tolist()) == {0, 1, 255}


@pytest.mark.parametrize("size", [(47, 83), (83, 47), (64, 64), (9, 200)])
def test_logits_come_back_as_segment_anything_has_it(size):
    processor = SamImageProcessorPil(size={"longest_edge": 128}, pad_size={"height": 128, "width": 128})
    logits = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))
    geometry = fit(size, 128, "corner")
    theirs = processor.post_process_masks([logits[None]], [size], [geometry.resized], binarize=False)[0][0]
    torch.testing.assert_close(to_original(logits, geometry), theirs)


def test_what_a_crop_cut_off_is_background():
    geometry = fit((50, 100), 64, "crop")
    back = to_original(torch.full((1, 16, 16), 5.0), geometry)[0]
    # 64 of 128 resized columns were seen: the middle 50 of 100, up to the blur of the last resize
    assert bool((back[:, :24] == OUTSIDE_LOGIT).all())
    assert bool((back[:, 76:] == OUTSIDE_LOGIT).all())
    assert bool((back[:, 26:74] == 5.0).all())


def test_softened_targets_by_hand():
    targets = torch.tensor([[[1, 1, 0, 255], [1, 0, 255, 255], [0, 0, 255, 255], [0, 0, 255, 255]]], dtype=torch.uint8)
    fraction, weight = soften(targets, 2, 255)
    # top right: one counted pixel of four, and it is background; bottom right: nothing counts
    np.testing.assert_allclose(fraction[0].numpy(), [[0.75, 0.0], [0.0, 0.0]], atol=1e-6)
    np.testing.assert_allclose(weight[0].numpy(), [[1.0, 0.25], [1.0, 0.0]], atol=1e-6)


def test_softening_against_numpy():
    rng = np.random.default_rng(0)
    targets = rng.choice(np.array([0, 1, 255], np.uint8), (3, 12, 12))
    cells = targets.reshape(3, 4, 3, 4, 3)
    counted = (cells != 255).sum(axis=(2, 4))
    wanted = (cells == 1).sum(axis=(2, 4))
    fraction, weight = soften(torch.from_numpy(targets), 4, 255)
    np.testing.assert_allclose(weight.numpy(), counted / 9, rtol=1e-6)
    np.testing.assert_allclose(fraction.numpy(), wanted / np.maximum(counted, 1), rtol=1e-5)


def test_softening_at_the_same_size_only_separates_target_and_weight():
    targets = torch.tensor([[[0, 1], [255, 1]]], dtype=torch.uint8)
    fraction, weight = soften(targets, 2, 255)
    assert fraction.tolist() == [[[0, 1], [0, 1]]]
    assert weight.tolist() == [[[1, 1], [0, 1]]]


@pytest.mark.parametrize("placement", ["corner", "center"])
@pytest.mark.parametrize("size", [(30, 50), (50, 30), (64, 64), (3, 400)])
def test_every_pixel_is_seen_where_nothing_is_cropped(placement, size):
    seen = seen_pixels(fit(size, 64, placement))
    assert (seen.shape, seen.dtype) == (size, torch.bool)
    assert bool(seen.all())


@pytest.mark.parametrize("size", [(30, 90), (90, 30), (64, 65), (30, 30)])
def test_what_a_crop_cuts_away_is_not_seen(size):
    geometry = fit(size, 64, "crop")
    seen = seen_pixels(geometry)
    constant = to_original(torch.full((1, 16, 16), 5.0), geometry)[0]
    assert torch.equal(seen, (constant - 5).abs() < 1e-3), "exactly the pixels into which no outside logit is mixed"
    share = min(size) / max(size)
    assert float(seen.float().mean()) == pytest.approx(share, abs=2 / max(size))
