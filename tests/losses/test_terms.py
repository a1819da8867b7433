from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.factory import SIDE, batch_of, group, groups, tiny_loaded

from segtune.core.records import IGNORE
from segtune.core.types import Batch, Masks, SegmentationOutput
from segtune.losses.config import OPTIONAL_TERMS, TERMS, LossConfig
from segtune.losses.objective import add_counts, means, weighted_total
from segtune.losses.terms import ReasoningObjective, loss_sums

EVERYTHING = {"ce": 0.7, "bce": 1.3, "dice": 0.9, "focal": 20.0, "iou": 0.6, "tversky": 0.4, "boundary": 3.0}
ANSWERS = [["It is <SEG>.", "<SEG>."], ["Sure, it is <SEG>.", "Sure, <SEG>."], ["<SEG>."], ["It is <SEG>."] * 3]


@cache
def _loaded(mask_features: str = "encoder"):
    return tiny_loaded(mask_features)


def _members():
    return [*groups(2), group(2, queries=1), group(3, queries=3)]


def _total(batches, config):
    """Loss over several batches as one window, and the gradients it leaves."""
    model = _loaded().model
    model.zero_grad()
    objective = ReasoningObjective(config, model.seg_id)
    counts = add_counts(objective, batches)
    loss = 0.0
    for batch in batches:
        part = weighted_total(objective.sums(model(batch), batch), objective.weights, counts)
        part.backward()
        loss += float(part.detach())
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return loss, gradients, counts


@pytest.mark.parametrize("space", ["model", "low_res", "original"])
@pytest.mark.parametrize("weights", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_one_batch_of_four_is_four_batches_of_one(space, weights):
    loaded, config = _loaded(), LossConfig(space=space, **weights)
    members = _members()
    whole = [batch_of(loaded, members, ANSWERS)]
    parts = [batch_of(loaded, [m], [a]) for m, a in zip(members, ANSWERS, strict=True)]
    loss, gradients, counts = _total(whole, config)
    split_loss, split_gradients, split_counts = _total(parts, config)
    assert counts == split_counts
    assert {count for term, count in counts.items() if term != "ce"} == {8}
    assert loss == pytest.approx(split_loss, rel=1e-5)
    assert gradients.keys() == split_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(split_gradients[name], gradient, rtol=1e-3, atol=2e-6, msg=name)


def test_counts_are_those_of_the_answers():
    loaded = _loaded()
    batch = batch_of(loaded, _members(), ANSWERS)
    answers = [loaded.conversation.answer(text) for texts in ANSWERS for text in texts]
    counts = ReasoningObjective(LossConfig(iou=1.0), loaded.model.seg_id).counts(batch)
    masks = len(answers)
    assert counts == {"ce": sum(map(len, answers)), "bce": masks, "dice": masks, "iou": masks}
    output = loaded.model(batch)
    assert (len(output.answer_logits), len(output.masks.query)) == (sum(map(len, answers)), len(answers))


def test_sums_are_those_of_the_elements():
    loaded = _loaded()
    batch = batch_of(loaded, groups(2))
    with torch.no_grad():
        output = loaded.model(batch)
    sums = loss_sums(output, batch, LossConfig(space="model"))
    bce, ce = 0.0, 0.0
    large = F.interpolate(output.masks.logits[:, None], size=(SIDE, SIDE), mode="bilinear")[:, 0].double().numpy()
    for query in range(4):
        target = batch.targets[query].numpy()
        counted = target != IGNORE
        x, t = large[query][counted], (target[counted] == 1).astype(float)
        bce += (np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))).mean()
    labels = [label for row in batch.labels.tolist() for label in row if label >= 0]
    for row, label in zip(output.answer_logits.double().numpy(), labels, strict=True):
        ce += np.log(np.exp(row).sum()) - row[label]
    assert float(sums["bce"]) == pytest.approx(bce, rel=1e-5)
    assert float(sums["ce"]) == pytest.approx(ce, rel=1e-5)


def test_weights_are_the_configured_ones():
    sums = {"ce": torch.tensor(6.0), "bce": torch.tensor(4.0), "dice": torch.tensor(1.0)}
    counts = {"ce": 3, "bce": 2, "dice": 2}
    total = weighted_total(sums, ReasoningObjective(LossConfig(), 0).weights, counts)
    assert float(total) == pytest.approx(1.0 * 6 / 3 + 2.0 * 4 / 2 + 0.5 * 1 / 2)
    dice = ReasoningObjective(LossConfig(ce=0, bce=0, dice=4), 0)
    assert float(weighted_total(sums, dice.weights, counts)) == pytest.approx(2.0)
    assert float(weighted_total(means(sums, counts), dice.weights)) == pytest.approx(2.0)


@pytest.mark.parametrize("term", OPTIONAL_TERMS)
def test_an_optional_term_is_there_only_with_a_weight(term):
    loaded = _loaded()
    batch = batch_of(loaded, groups(1))
    output = _drawn(batch)
    config = LossConfig(**{term: 0.25}, ce=0, bce=0, dice=0)
    sums = loss_sums(output, batch, config)
    assert list(sums) == [*TERMS, term] == list(config.terms)
    assert list(loss_sums(output, batch, LossConfig())) == list(TERMS)
    total = weighted_total(sums, ReasoningObjective(config, 0).weights, {**dict.fromkeys(sums, 2), "ce": 5})
    assert float(total.detach()) == pytest.approx(0.25 * float(sums[term].detach()) / 2)
    assert float(total.detach()) > 0
    total.backward()
    assert float(output.masks.logits.grad.abs().sum()) > 0


def _drawn(batch: Batch, seed: int = 0) -> SegmentationOutput:
    """An output of drawn numbers for a batch, two masks for the first query."""
    generator = torch.Generator().manual_seed(seed)
    query = torch.tensor([0, *range(len(batch.targets))])
    logits = (3 * torch.randn(len(query), 16, 16, generator=generator)).requires_grad_()
    answer = torch.randn(int((batch.labels[:, 1:] >= 0).sum()), 700, generator=generator)
    return SegmentationOutput(answer, Masks(logits, torch.zeros(len(query)), query))


def _numpy_terms(x: np.ndarray, t: np.ndarray, w: np.ndarray, config: LossConfig) -> dict[str, float]:
    """Every term but `boundary` of one mask."""
    p = 1 / (1 + np.exp(-x.astype(np.float64)))
    tp, fp, fn = ((w * part).sum() for part in (p * t, p * (1 - t), (1 - p) * t))
    bce = -(t * np.log(p) + (1 - t) * np.log1p(-p))
    gamma, alpha = config.focal_gamma, config.focal_alpha
    focal = -t * alpha * (1 - p) ** gamma * np.log(p) - (1 - t) * (1 - alpha) * p**gamma * np.log1p(-p)
    errors = config.tversky_alpha * fp + config.tversky_beta * fn
    return {
        "bce": (bce * w).sum() / w.sum(),
        "dice": 1 - (2 * tp + 1e-3) / (2 * tp + fp + fn + 1e-3),
        "focal": (focal * w).sum() / w.sum(),
        "iou": 1 - (tp + 1e-3) / (tp + fp + fn + 1e-3),
        "tversky": 1 - (tp + 1e-3) / (tp + errors + 1e-3),
    }


@pytest.mark.parametrize("ignore", ["honour", "negative"])
@pytest.mark.parametrize("features", ["encoder", "shared"])
def test_original_space_is_the_photograph_with_its_own_target(ignore, features):
    """Each mask by itself, brought to the size of its image as Segment Anything does it."""
    loaded = _loaded(features)
    batch = batch_of(loaded, groups(3))
    output = _drawn(batch)
    config = LossConfig(**EVERYTHING, space="original", ignore=ignore, focal_gamma=1.5, tversky_alpha=0.8)
    sums = loss_sums(output, batch, config)
    expected = dict.fromkeys(("bce", "dice", "focal", "iou", "tversky"), 0.0)
    for logits, query in zip(output.masks.logits.detach(), output.masks.query.tolist(), strict=True):
        geometry, target = batch.images.geometries[query // 2], batch.examples[query].target
        square = F.interpolate(logits[None, None], size=(SIDE, SIDE), mode="bilinear")
        (height, width), (top, left) = geometry.resized, geometry.offset
        seen = square[:, :, top : top + height, left : left + width]
        x = F.interpolate(seen, size=target.shape, mode="bilinear")[0, 0].double().numpy()
        w = (target != IGNORE).astype(float) if ignore == "honour" else np.ones(target.shape)
        for term, value in _numpy_terms(x, (target == 1).astype(float), w, config).items():
            expected[term] += value
    assert {term: float(sums[term].detach()) for term in expected} == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("space", ["model", "low_res"])
def test_ignored_pixels_are_negatives_on_request_and_padding_never(space):
    batch = batch_of(_loaded(), [group(0, size=(60, 90))])  # lies: the square is padded below
    before, output = batch.targets.clone(), _drawn(batch)
    rows, columns = batch.images.geometries[0].visible
    assert rows.stop < SIDE
    by_hand = batch.targets.clone()
    inside = by_hand[:, rows, columns]
    assert bool((inside == IGNORE).any())
    inside[inside == IGNORE] = 0
    other = replace(batch, targets=by_hand)
    config = LossConfig(**EVERYTHING, space=space)
    asked = loss_sums(output, batch, LossConfig(**EVERYTHING, space=space, ignore="negative"))
    honoured, changed = loss_sums(output, batch, config), loss_sums(output, other, config)
    for term in config.terms:
        assert float(asked[term].detach()) == pytest.approx(float(changed[term].detach()), rel=1e-6), term
        if term != "ce":
            assert float(asked[term].detach()) != pytest.approx(float(honoured[term].detach()), rel=1e-4), term
    assert torch.equal(batch.targets, before), "the batch is left as it was"


def test_what_a_crop_cut_away_has_no_weight():
    loaded = tiny_loaded("shared", image_geometry="crop")
    batch = batch_of(loaded, [group(1, size=(40, 90), queries=1, ignore=False)])
    target = batch.examples[0].target
    target[:], target[:, :8], target[:, -8:] = 0, 1, 1  # all of it is cut away
    output, config = _drawn(batch), LossConfig(space="original")
    bce = loss_sums(output, batch, config)["bce"]
    target[:] = 0
    assert float(bce.detach()) == pytest.approx(float(loss_sums(output, batch, config)["bce"].detach()))
    assert float(bce.detach()) / 2 < 10, "a logit for what was never seen costs nothing"


@pytest.mark.parametrize("space", ["model", "low_res", "original"])
def test_a_batch_without_a_mask_has_zero_terms_in_every_space(space):
    loaded, config = _loaded(), LossConfig(**EVERYTHING, space=space, ignore="negative")
    batch = batch_of(loaded, groups(1), "no such thing.")
    sums = loss_sums(loaded.model(batch), batch, config)
    assert {term: float(value.detach()) for term, value in sums.items() if term != "ce"} == dict.fromkeys(
        config.terms[1:], 0
    )
    loaded.model.zero_grad()
    objective = ReasoningObjective(config, loaded.model.seg_id)
    weighted_total(sums, objective.weights, objective.counts(batch)).backward()


@pytest.mark.parametrize("space", ["model", "original"])
def test_logits_that_are_not_finite_are_told_by_every_term(space):
    """The step looks at the sum: a term that swallowed a NaN would let it into the weights."""
    batch = batch_of(_loaded(), groups(1))
    output = _drawn(batch)
    output.masks.logits.data[1, 3, 3] = float("nan")
    config = LossConfig(**EVERYTHING, space=space)
    sums = loss_sums(output, batch, config)
    assert [term for term in config.terms[1:] if bool(torch.isfinite(sums[term]))] == []


def test_a_batch_without_a_mask_has_a_finite_loss():
    loaded = _loaded()
    batch = batch_of(loaded, groups(1), "no such thing.")
    objective = ReasoningObjective(LossConfig(), loaded.model.seg_id)
    counts = objective.counts(batch)
    assert counts["dice"] == 0 < counts["ce"]
    loaded.model.zero_grad()
    sums = loss_sums(loaded.model(batch), batch, LossConfig())
    assert (float(sums["bce"]), float(sums["dice"])) == (0, 0)
    total = weighted_total(sums, objective.weights, counts)
    total.backward()
    assert bool(torch.isfinite(total))
    assert float(total.detach()) > 0
    gradients = [p.grad for p in loaded.model.parameters() if p.grad is not None]
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


def test_an_empty_target_has_a_finite_loss():
    loaded = _loaded()
    batch = batch_of(loaded, groups(1))
    batch.targets[:] = 0
    batch.targets[1] = IGNORE
    loaded.model.zero_grad()
    sums = loss_sums(loaded.model(batch), batch, LossConfig())
    objective = ReasoningObjective(LossConfig(), loaded.model.seg_id)
    weighted_total(sums, objective.weights, objective.counts(batch)).backward()
    assert all(bool(torch.isfinite(sums[term])) for term in TERMS)
    gradients = [p.grad for p in loaded.model.parameters() if p.grad is not None]
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
