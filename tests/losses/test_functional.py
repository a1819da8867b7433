from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score

from segtune.losses.functional import (
    mask_bce,
    mask_boundary,
    mask_dice,
    mask_focal,
    mask_iou,
    mask_tversky,
    signed_distances,
    token_cross_entropy,
)


def focal(logits, targets, weights):
    return mask_focal(logits, targets, weights, 2.0, 0.25)


def tversky(logits, targets, weights):
    return mask_tversky(logits, targets, weights, 0.3, 0.7)


EVERY_MASK_LOSS = pytest.mark.parametrize("loss", [mask_bce, mask_dice, focal, mask_iou, tversky, mask_boundary])


def _drawn(seed: int = 0, count: int = 3, side: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, 3, (count, side, side)).astype(np.float32))
    targets = torch.from_numpy(rng.random((count, side, side)).astype(np.float32))
    weights = torch.from_numpy(rng.choice([0.0, 0.25, 1.0], (count, side, side)).astype(np.float32))
    return logits.requires_grad_(), targets, weights


def _numpy(*tensors: torch.Tensor) -> list[np.ndarray]:
    return [tensor.detach().double().numpy() for tensor in tensors]


def test_bce_against_numpy():
    logits, targets, weights = _drawn()
    x, t, w = _numpy(logits, targets, weights)
    p = 1 / (1 + np.exp(-x))
    element = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    expected = [(element[i] * w[i]).sum() / w[i].sum() for i in range(3)]
    np.testing.assert_allclose(mask_bce(logits, targets, weights).detach(), expected, rtol=1e-5)


def test_dice_against_numpy():
    logits, targets, weights = _drawn(1)
    x, t, w = _numpy(logits, targets, weights)
    p = 1 / (1 + np.exp(-x))
    expected = [
        1 - (2 * (w[i] * p[i] * t[i]).sum() + 1e-3) / ((w[i] * p[i]).sum() + (w[i] * t[i]).sum() + 1e-3)
        for i in range(3)
    ]
    np.testing.assert_allclose(mask_dice(logits, targets, weights).detach(), expected, rtol=1e-5)


def test_iou_and_tversky_against_numpy():
    logits, targets, weights = _drawn(5)
    x, t, w = _numpy(logits, targets, weights)
    p = 1 / (1 + np.exp(-x))
    tp, fp, fn = ((w * part).reshape(3, -1).sum(1) for part in (p * t, p * (1 - t), (1 - p) * t))
    jaccard = 1 - (tp + 1e-3) / (tp + fp + fn + 1e-3)
    np.testing.assert_allclose(mask_iou(logits, targets, weights).detach(), jaccard, rtol=1e-5)
    for alpha, beta in ((0.3, 0.7), (1.0, 0.0), (2.0, 0.5)):
        expected = 1 - (tp + 1e-3) / (tp + alpha * fp + beta * fn + 1e-3)
        np.testing.assert_allclose(mask_tversky(logits, targets, weights, alpha, beta).detach(), expected, rtol=1e-5)


def test_tversky_has_iou_and_dice_as_special_cases():
    drawn = _drawn(6)
    torch.testing.assert_close(mask_tversky(*drawn, 1.0, 1.0), mask_iou(*drawn))
    torch.testing.assert_close(mask_tversky(*drawn, 0.5, 0.5, smooth=5e-4), mask_dice(*drawn))


def test_iou_of_a_sure_mask_is_that_of_sklearn():
    rng = np.random.default_rng(0)
    wanted, predicted = rng.random((2, 3, 20, 30)) > 0.6
    logits = torch.from_numpy(np.where(predicted, 50.0, -50.0))
    value = mask_iou(logits, torch.from_numpy(wanted).float(), torch.ones(3, 20, 30))
    expected = [1 - jaccard_score(w.ravel(), p.ravel()) for w, p in zip(wanted, predicted, strict=True)]
    np.testing.assert_allclose(value, expected, atol=1e-4)


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.0, 0.5), (0.5, 0.9), (5.0, 0.0), (1.0, 1.0)])
def test_focal_against_numpy(gamma, alpha):
    logits, targets, weights = _drawn(7)
    x, t, w = _numpy(logits, targets, weights)
    p = 1 / (1 + np.exp(-x))
    element = -t * alpha * (1 - p) ** gamma * np.log(p) - (1 - t) * (1 - alpha) * p**gamma * np.log(1 - p)
    expected = (element * w).reshape(3, -1).sum(1) / w.reshape(3, -1).sum(1)
    np.testing.assert_allclose(mask_focal(logits, targets, weights, gamma, alpha).detach(), expected, rtol=1e-4)


def test_focal_without_focus_is_half_of_bce():
    drawn = _drawn(8)
    torch.testing.assert_close(mask_focal(*drawn, 0.0, 0.5), mask_bce(*drawn) / 2)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("level", [-500.0, 500.0])
def test_focal_of_a_hopelessly_sure_pixel_has_a_gradient_that_is_finite(gamma, level):
    logits = torch.full((1, 2, 2), level, requires_grad=True)
    value = mask_focal(logits, torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]), torch.ones(1, 2, 2), gamma, 0.25)
    value.sum().backward()
    assert bool(torch.isfinite(value).all())
    assert bool(torch.isfinite(logits.grad).all())
    assert float(logits.grad.abs().max()) > 0


def _brute_distances(t: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Every pixel against every pixel."""
    inside, outside = (t >= 0.5) & (w > 0), (t < 0.5) & (w > 0)
    result = np.zeros(t.shape)
    if not inside.any() or not outside.any():
        return result
    for y, x in np.argwhere(inside | outside):
        others = np.argwhere(outside if inside[y, x] else inside)
        nearest = np.sqrt(((others - (y, x)) ** 2).sum(1)).min() - 0.5
        result[y, x] = -nearest if inside[y, x] else nearest
    return result / np.hypot(*t.shape)


def test_distances_and_boundary_against_every_pair_of_pixels():
    rng = np.random.default_rng(9)
    t = np.zeros((4, 17, 23), np.float32)
    t[0, 3:9, 5:20], t[1, ::5, ::7], t[2, 8:, :11] = 1, 0.7, 1
    w = rng.choice([0.0, 0.5, 1.0], t.shape).astype(np.float32)
    w[2, 12:], t[3, :4] = 0, 0.4  # a target that runs into ignored pixels, and one of which no pixel is half covered
    expected = np.stack([_brute_distances(*pair) for pair in zip(t, w, strict=True)])
    found = signed_distances(torch.from_numpy(t), torch.from_numpy(w))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(expected).max() < 1
    x = rng.normal(0, 3, t.shape)
    element = expected * (1 / (1 + np.exp(-x)) - (t >= 0.5))
    loss = mask_boundary(torch.from_numpy(x), torch.from_numpy(t), torch.from_numpy(w))
    np.testing.assert_allclose(loss, (element * w).sum((1, 2)) / w.sum((1, 2)), rtol=1e-4, atol=1e-7)


def test_boundary_by_hand():
    target = torch.zeros(1, 6, 8)
    target[:, :, :3] = 1
    ones = torch.ones_like(target)
    columns = torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5, 4.5]) / 10  # the diagonal is 10
    torch.testing.assert_close(signed_distances(target, ones), columns.expand(1, 6, 8))
    sure = (target * 2 - 1) * 60
    assert float(mask_boundary(sure, target, ones)) == pytest.approx(0, abs=1e-6)
    everything = mask_boundary(torch.full((1, 6, 8), 60.0), target, ones)
    assert float(everything) == pytest.approx(float(columns[3:].sum()) / 8, rel=1e-5)
    # what is predicted far away costs more than the same area beside the target
    near, far = sure.clone(), sure.clone()
    near[:, :, 3], far[:, :, 7] = 60, 60
    assert float(mask_boundary(near, target, ones)) < float(mask_boundary(far, target, ones))


def test_boundary_means_the_same_at_every_resolution():
    target, logits = torch.zeros(1, 16, 20), torch.zeros(1, 16, 20)
    target[:, :, :6] = 1
    values = [
        mask_boundary(*(t.repeat_interleave(k, 1).repeat_interleave(k, 2) for t in (logits, target, target * 0 + 1)))
        for k in (1, 4)
    ]
    assert float(values[0]) == pytest.approx(float(values[1]), rel=1e-3)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_target_without_a_boundary_has_no_boundary_loss(level):
    drawn = _drawn()[0], torch.full((3, 8, 8), level), torch.ones(3, 8, 8)
    assert mask_boundary(*drawn).tolist() == [0, 0, 0]


def _reference_dice(x: np.ndarray, t: np.ndarray, scale: float = 1000, eps: float = 1e-6) -> np.ndarray:
    """LISA's, which divides every probability and target by `scale` before it sums."""
    p = 1 / (1 + np.exp(-x))
    p, t = p.reshape(len(x), -1), t.reshape(len(x), -1)
    numerator = 2 * (p / scale * t).sum(-1)
    denominator = (p / scale).sum(-1) + (t / scale).sum(-1)
    return 1 - (numerator + eps) / (denominator + eps)


def test_dice_and_bce_are_the_reference_systems_where_everything_counts():
    logits, _, _ = _drawn(2)
    targets = (torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.6).float()
    targets[1] = 0  # an empty target too
    ones = torch.ones_like(targets)
    x, t = _numpy(logits, targets)
    np.testing.assert_allclose(mask_dice(logits, targets, ones).detach(), _reference_dice(x, t), rtol=1e-5)
    reference_bce = (np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))).reshape(3, -1).mean(1)
    np.testing.assert_allclose(mask_bce(logits, targets, ones).detach(), reference_bce, rtol=1e-5)


@EVERY_MASK_LOSS
def test_ignored_pixels_have_no_influence(loss):
    logits, targets, weights = _drawn(3)
    value = loss(logits, targets, weights)
    value.sum().backward()
    ignored = weights == 0
    assert bool(ignored.any())
    assert bool((logits.grad[ignored] == 0).all())
    assert bool((logits.grad[~ignored] != 0).all())
    changed = torch.where(ignored, torch.full_like(logits, 50.0), logits.detach())
    torch.testing.assert_close(loss(changed, torch.where(ignored, 1 - targets, targets), weights), value.detach())


@EVERY_MASK_LOSS
def test_a_mask_of_which_nothing_counts_is_finite_without_gradient(loss):
    logits, targets, _ = _drawn(4)
    value = loss(logits, targets, torch.zeros_like(targets))
    value.sum().backward()
    assert value.tolist() == [0, 0, 0]
    assert bool((logits.grad == 0).all())


@pytest.mark.parametrize("level", [-200.0, -10.0, 0.0, 10.0, 200.0])
@EVERY_MASK_LOSS
def test_an_empty_target_is_finite(loss, level):
    logits = torch.full((1, 16, 16), level, requires_grad=True)
    value = loss(logits, torch.zeros(1, 16, 16), torch.ones(1, 16, 16))
    value.sum().backward()
    assert bool(torch.isfinite(value).all())
    assert bool(torch.isfinite(logits.grad).all())


def test_dice_by_hand():
    target = torch.zeros(1, 4, 4)
    target[0, :2] = 1
    ones = torch.ones_like(target)
    sure = (target * 2 - 1) * 40
    assert float(mask_dice(sure, target, ones)) == pytest.approx(0, abs=1e-6)
    assert float(mask_dice(-sure, target, ones)) == pytest.approx(1, abs=1e-4)
    # probability 1/2 everywhere: overlap 4, areas 8 and 8
    assert float(mask_dice(torch.zeros(1, 4, 4), target, ones)) == pytest.approx(0.5, abs=1e-4)


def test_half_precision_logits_are_summed_in_float32():
    target = torch.ones(1, 300, 300)
    ones = torch.ones_like(target)
    value = mask_dice(torch.zeros(1, 300, 300, dtype=torch.bfloat16), target, ones)
    assert value.dtype == mask_bce(torch.zeros(1, 300, 300, dtype=torch.bfloat16), target, ones).dtype == torch.float32
    assert float(value) == pytest.approx(1 / 3, rel=1e-4)


@EVERY_MASK_LOSS
def test_values_are_float32_and_a_mask_at_a_time(loss):
    logits, targets, weights = _drawn(10)
    whole = loss(logits, targets, weights)
    assert (whole.shape, whole.dtype) == ((3,), torch.float32)
    parts = [loss(logits[i : i + 1], targets[i : i + 1], weights[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(torch.cat(parts), whole)
    assert loss(logits[:0], targets[:0], weights[:0]).shape == (0,)


@EVERY_MASK_LOSS
def test_a_perfect_mask_costs_nothing_and_its_opposite_the_most(loss):
    target = torch.zeros(1, 12, 12)
    target[0, 2:7, 3:9] = 1
    ones, sure = torch.ones_like(target), (target * 2 - 1) * 40
    perfect, half, opposite = (float(loss(x, target, ones)) for x in (sure, sure * 0, -sure))
    assert perfect == pytest.approx(0, abs=1e-6)
    assert perfect < half < opposite


def test_token_cross_entropy_against_numpy():
    logits = torch.randn(5, 11, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 10, 3, 3, 7])
    x = logits.double().numpy()
    expected = np.log(np.exp(x).sum(1)) - x[np.arange(5), labels.numpy()]
    np.testing.assert_allclose(token_cross_entropy(logits, labels), expected, rtol=1e-5)
