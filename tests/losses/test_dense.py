"""Every term against an independent implementation, and that no split of a batch changes a loss or a gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segtune.core.records import IGNORE
from segtune.core.types import DenseBatch, DenseOutput
from segtune.losses.config import DenseLossConfig
from segtune.losses.dense import (
    cross_entropy_sum,
    dense_counts,
    dense_loss_sums,
    dice_sum,
    focal_sum,
    to_labels,
)
from segtune.losses.objective import weighted_total

C, SIZE, LOW = 5, (24, 20), (6, 5)
FOREGROUND = (1, 3)
EVERYTHING = DenseLossConfig(
    ce=0.7, dice=5.0, focal=3.0, binary_bce=1.3, binary_dice=0.9, binary_focal=2.0, label_smoothing=0.1
)
WEIGHTS = torch.tensor([1.0, 30.0, 44.5, 60.0, 0.25])


def _total(sums, counts, config: DenseLossConfig) -> torch.Tensor:
    """The training loss, as the step makes it."""
    return weighted_total(sums, {term: getattr(config, term) for term in sums}, counts)


def batch_of(labels: Tensor) -> DenseBatch:
    return DenseBatch(torch.zeros(len(labels), 3, *labels.shape[1:]), labels, ())


def drawn(seed: int = 0, images: int = 4, *, low: tuple[int, int] = LOW) -> tuple[DenseOutput, DenseBatch]:
    """Outputs and labels; image 1 is all ignored, image 2 has one class, and class 4 occurs nowhere else."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, C - 1, (images, *SIZE), generator=generator).to(torch.uint8)
    labels[:, :5] = IGNORE
    labels[1:2], labels[2:3] = IGNORE, 4
    classes = 3 * torch.randn(images, C, *low, generator=generator)
    binary = 3 * torch.randn(images, *low, generator=generator)
    return DenseOutput(classes.requires_grad_(), binary.requires_grad_()), batch_of(labels)


def means(output: DenseOutput, batch: DenseBatch, config: DenseLossConfig, weights: Tensor | None = None):
    counts = dense_counts(batch, config, class_weights=weights, foreground=FOREGROUND)
    sums = dense_loss_sums(output, batch, config, weights, FOREGROUND)
    assert list(sums) == list(counts) == list(config.terms(classes=True, binary=True))
    return {term: float(value.detach()) / (counts[term] or 1.0) for term, value in sums.items()}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("low", [LOW, SIZE, (30, 31)], ids=["low-res", "same size", "larger"])
def test_cross_entropy_is_torchs(smoothing, weights, low):
    output, batch = drawn(low=low)
    large = F.interpolate(output.classes, size=SIZE, mode="bilinear", align_corners=False)
    expected = F.cross_entropy(
        large, batch.labels.long(), weight=weights, ignore_index=IGNORE, label_smoothing=smoothing
    )
    value = means(output, batch, DenseLossConfig(label_smoothing=smoothing), weights)["ce"]
    assert value == pytest.approx(float(expected.detach()), rel=1e-5)


def numpy_dice(probability: np.ndarray, labels: np.ndarray, classes: list[int]) -> list[float]:
    """1 - Dice of each pair of an image and one of `classes` that occurs in it."""
    losses = []
    for p, truth in zip(probability.astype(np.float64), labels, strict=True):
        counted = truth != IGNORE
        for c in classes:
            g = (truth[counted] == c).astype(float)
            if g.any():
                q = p[c][counted]
                losses.append(1 - (2 * (q * g).sum() + 1e-3) / (q.sum() + g.sum() + 1e-3))
    return losses


@pytest.mark.parametrize("background", [True, False])
def test_dice_is_the_mean_over_the_classes_of_each_image(background):
    output, batch = drawn()
    large = F.interpolate(output.classes, size=SIZE, mode="bilinear").softmax(1).detach().numpy()
    losses = numpy_dice(large, batch.labels.numpy(), list(range(0 if background else 1, C)))
    config = DenseLossConfig(dice_background=background)
    assert dense_counts(batch, config)["dice"] == len(losses)
    assert means(output, batch, config)["dice"] == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize(("gamma", "alpha"), [(4.0, 0.5), (2.0, 0.25), (0.5, 0.7), (0.0, 1.0)])
def test_focal_losses_are_those_of_the_paper(gamma, alpha):
    output, batch = drawn()
    config = DenseLossConfig(focal=1, binary_focal=1, focal_gamma=gamma, focal_alpha=alpha)
    labels = batch.labels.numpy()
    counted = labels != IGNORE
    p = F.interpolate(output.classes, size=SIZE, mode="bilinear").double().softmax(1).detach().numpy()
    p_t = np.take_along_axis(p, np.where(counted, labels, 0)[:, None].astype(int), 1)[:, 0][counted]
    q = F.interpolate(output.binary[:, None], size=SIZE, mode="bilinear").double().sigmoid()[:, 0].detach().numpy()
    t = np.isin(labels, FOREGROUND)[counted]
    q_t, a_t = np.where(t, q[counted], 1 - q[counted]), np.where(t, alpha, 1 - alpha)
    values = means(output, batch, config)
    assert values["focal"] == pytest.approx((-alpha * (1 - p_t) ** gamma * np.log(p_t)).mean(), rel=1e-5)
    assert values["binary_focal"] == pytest.approx((-a_t * (1 - q_t) ** gamma * np.log(q_t)).mean(), rel=1e-5)


def test_without_focusing_the_focal_loss_is_the_cross_entropy():
    output, batch = drawn()
    values = means(output, batch, DenseLossConfig(focal=1, focal_gamma=0, focal_alpha=1))
    assert values["focal"] == pytest.approx(values["ce"], rel=1e-6)


def test_binary_losses_see_the_foreground_classes():
    output, batch = drawn()
    large = F.interpolate(output.binary[:, None], size=SIZE, mode="bilinear")[:, 0].detach()
    counted = batch.labels != IGNORE
    target = torch.isin(batch.labels, torch.tensor(FOREGROUND)).float()
    values = means(output, batch, DenseLossConfig())
    expected = F.binary_cross_entropy_with_logits(large[counted], target[counted])
    assert values["binary_bce"] == pytest.approx(float(expected), rel=1e-5)
    p = torch.stack([1 - large.sigmoid(), large.sigmoid()], 1).numpy()
    mask = torch.where(counted, target, IGNORE).numpy()
    losses = numpy_dice(p, mask, [1])
    assert len(losses) == 2, "images 1 (ignored) and 2 (another class) have no foreground"
    assert dense_counts(batch, DenseLossConfig(), foreground=FOREGROUND)["binary_dice"] == 2
    assert values["binary_dice"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_counts_are_those_of_the_labels():
    _, batch = drawn()
    labels = batch.labels.numpy()
    counted = labels[labels != IGNORE]
    counts = dense_counts(batch, EVERYTHING, class_weights=WEIGHTS, foreground=FOREGROUND)
    assert counts["focal"] == counts["binary_bce"] == counts["binary_focal"] == len(counted)
    assert counts["ce"] == pytest.approx(WEIGHTS.numpy()[counted].sum(dtype=np.float64))
    assert "binary_bce" not in dense_counts(batch, EVERYTHING)
    assert dense_counts(batch, DenseLossConfig())["ce"] == len(counted)


class _Model(nn.Module):
    """One convolution for both heads, at half the resolution."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Conv2d(3, C + 1, 3, padding=1, stride=2)

    def forward(self, pixels: Tensor) -> DenseOutput:
        out = self.body(pixels)
        return DenseOutput(out[:, :C], out[:, C])


def _window(parts: list[DenseBatch]) -> tuple[float, list[Tensor]]:
    """The loss of a window of micro-batches and the gradients that it leaves."""
    model = _Model()
    every = [dense_counts(part, EVERYTHING, class_weights=WEIGHTS, foreground=FOREGROUND) for part in parts]
    counts = {term: sum(one[term] for one in every) for term in every[0]}
    loss = 0.0
    for part in parts:
        sums = dense_loss_sums(model(part.pixels), part, EVERYTHING, WEIGHTS, FOREGROUND)
        total = _total(sums, counts, EVERYTHING)
        total.backward()
        loss += float(total.detach())
    return loss, [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("cuts", [[1, 1, 1, 1], [3, 1], [0, 2, 2]], ids=str)
def test_one_batch_of_four_is_any_split_of_it(cuts):
    _, batch = drawn()
    pixels = torch.randn(4, 3, *SIZE, generator=torch.Generator().manual_seed(5))
    parts = [DenseBatch(p, labels, ()) for p, labels in zip(pixels.split(cuts), batch.labels.split(cuts), strict=True)]
    loss, gradients = _window([DenseBatch(pixels, batch.labels, ())])
    split_loss, split_gradients = _window(parts)
    assert split_loss == pytest.approx(loss, rel=1e-5)
    for a, b in zip(gradients, split_gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_what_is_ignored_counts_nowhere():
    output, batch = drawn(low=SIZE)
    before = means(output, batch, EVERYTHING, WEIGHTS)
    with torch.no_grad():
        output.classes.permute(0, 2, 3, 1)[batch.labels == IGNORE] += 7 * torch.randn(C)
        output.binary[batch.labels == IGNORE] += 9
    assert means(output, batch, EVERYTHING, WEIGHTS) == pytest.approx(before)
    _total(
        dense_loss_sums(output, batch, EVERYTHING, WEIGHTS, FOREGROUND), dict.fromkeys(before, 1.0), EVERYTHING
    ).backward()
    assert not output.classes.grad.permute(0, 2, 3, 1)[batch.labels == IGNORE].any()
    assert not output.binary.grad[batch.labels == IGNORE].any()


@pytest.mark.parametrize(
    "labels",
    [
        torch.full((2, *SIZE), IGNORE, dtype=torch.uint8),
        torch.zeros((2, *SIZE), dtype=torch.uint8),
        torch.full((2, *SIZE), 3, dtype=torch.uint8),
        torch.zeros((0, *SIZE), dtype=torch.uint8),
    ],
    ids=["all ignored", "background alone", "one class", "no images"],
)
@pytest.mark.parametrize("extreme", [1.0, 1e4], ids=["drawn", "extreme"])
def test_degenerate_labels_have_a_finite_loss_and_gradient(labels, extreme):
    output, _ = drawn(images=len(labels))
    batch, config = batch_of(labels), EVERYTHING.model_copy(update={"focal_gamma": 0.5, "dice_background": False})
    scaled = DenseOutput(output.classes * extreme, output.binary * extreme)
    counts = dense_counts(batch, config, class_weights=WEIGHTS, foreground=FOREGROUND)
    total = _total(dense_loss_sums(scaled, batch, config, WEIGHTS, FOREGROUND), counts, config)
    total.backward()
    assert bool(torch.isfinite(total))
    assert bool(torch.isfinite(output.classes.grad).all() & torch.isfinite(output.binary.grad).all())
    if not (labels != IGNORE).any():
        assert (float(total.detach()), set(counts.values())) == (0.0, {0.0})


def test_perfect_predictions_cost_nothing():
    _, batch = drawn()
    wanted = torch.stack([batch.labels == c for c in range(C)], 1).float()
    target = torch.isin(batch.labels, torch.tensor(FOREGROUND)).float()
    output = DenseOutput(60 * wanted, 120 * target - 60)
    config = EVERYTHING.model_copy(update={"label_smoothing": 0.0})
    assert max(means(output, batch, config, WEIGHTS).values()) < 1e-6


def test_a_logit_that_is_no_number_is_told_by_every_term():
    output, batch = drawn()
    with torch.no_grad():
        output.classes[0, 2, 3, 3] = output.binary[0, 3, 3] = float("nan")
    sums = dense_loss_sums(output, batch, EVERYTHING, WEIGHTS, FOREGROUND)
    assert [term for term, value in sums.items() if bool(torch.isfinite(value))] == []


def test_only_the_heads_that_are_there_have_terms():
    output, batch = drawn()
    classes = dense_loss_sums(DenseOutput(output.classes, None), batch, EVERYTHING)
    assert tuple(classes) == EVERYTHING.terms(classes=True, binary=False)
    binary = dense_loss_sums(DenseOutput(None, output.binary), batch, EVERYTHING, foreground=FOREGROUND)
    assert tuple(binary) == EVERYTHING.terms(classes=False, binary=True)
    with pytest.raises(ValueError, match="foreground"):
        dense_loss_sums(output, batch, EVERYTHING)


def test_half_precision_logits_are_compared_in_single():
    output, batch = drawn()
    half = DenseOutput(output.classes.detach().bfloat16(), output.binary.detach().bfloat16())
    sums = dense_loss_sums(half, batch, EVERYTHING, WEIGHTS, FOREGROUND)
    assert {value.dtype for value in sums.values()} == {torch.float32}
    single = DenseOutput(half.classes.float(), half.binary.float())
    again = dense_loss_sums(single, batch, EVERYTHING, WEIGHTS, FOREGROUND)
    assert {t: float(v) for t, v in sums.items()} == {t: float(v) for t, v in again.items()}


def test_the_parts_by_themselves():
    logits = torch.tensor([[[[2.0, -1.0]], [[0.0, 3.0]]]])
    labels = torch.tensor([[[0, 1]]])
    log_p = logits.log_softmax(1)
    assert float(cross_entropy_sum(log_p, labels, None, 0.0)) == pytest.approx(np.log1p(np.e**-2) + np.log1p(np.e**-4))
    assert float(focal_sum(log_p, labels, 0.0, 0.5)) == pytest.approx(
        0.5 * float(cross_entropy_sum(log_p, labels, None, 0.0))
    )
    half = torch.full((1, 2, 1, 2), 0.5)
    assert float(dice_sum(half, labels, background=True, smooth=0.0)) == pytest.approx(2 * (1 - 1 / 2))
    assert to_labels(logits, (1, 2)) is logits
    assert to_labels(logits, (3, 4)).shape == (1, 2, 3, 4)
