from __future__ import annotations

import numpy as np
import pytest
import torch

from segtune.losses.functional import mask_bce, mask_dice, token_cross_entropy


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


@pytest.mark.parametrize("loss", [mask_bce, mask_dice])
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


@pytest.mark.parametrize("loss", [mask_bce, mask_dice])
def test_a_mask_of_which_nothing_counts_is_finite_without_gradient(loss):
    logits, targets, _ = _drawn(4)
    value = loss(logits, targets, torch.zeros_like(targets))
    value.sum().backward()
    assert value.tolist() == [0, 0, 0]
    assert bool((logits.grad == 0).all())


@pytest.mark.parametrize("level", [-200.0, -10.0, 0.0, 10.0, 200.0])
@pytest.mark.parametrize("loss", [mask_bce, mask_dice])
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


def test_token_cross_entropy_against_numpy():
    logits = torch.randn(5, 11, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 10, 3, 3, 7])
    x = logits.double().numpy()
    expected = np.log(np.exp(x).sum(1)) - x[np.arange(5), labels.numpy()]
    np.testing.assert_allclose(token_cross_entropy(logits, labels), expected, rtol=1e-5)
