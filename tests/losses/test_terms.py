from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.factory import SIDE, batch_of, group, groups, tiny_loaded

from segtune.core.records import IGNORE
from segtune.losses.config import LossConfig
from segtune.losses.terms import TERMS, Counts, count, loss_sums, weighted_total

ANSWERS = [["It is <SEG>.", "<SEG>."], ["Sure, it is <SEG>.", "Sure, <SEG>."], ["<SEG>."], ["It is <SEG>."] * 3]


@cache
def _loaded():
    return tiny_loaded()


def _members():
    return [*groups(2), group(2, queries=1), group(3, queries=3)]


def _total(batches, config):
    """Loss over several batches as one window, and the gradients it leaves."""
    model = _loaded().model
    model.zero_grad()
    counts = sum((count(batch, model.seg_id) for batch in batches), Counts(0, 0))
    loss = 0.0
    for batch in batches:
        part = weighted_total(loss_sums(model(batch), batch, config), counts, config)
        part.backward()
        loss += float(part.detach())
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return loss, gradients, counts


@pytest.mark.parametrize("space", ["model", "low_res"])
def test_one_batch_of_four_is_four_batches_of_one(space):
    loaded, config = _loaded(), LossConfig(space=space)
    members = _members()
    whole = [batch_of(loaded, members, ANSWERS)]
    parts = [batch_of(loaded, [m], [a]) for m, a in zip(members, ANSWERS, strict=True)]
    loss, gradients, counts = _total(whole, config)
    split_loss, split_gradients, split_counts = _total(parts, config)
    assert counts == split_counts
    assert counts.masks == 8
    assert loss == pytest.approx(split_loss, rel=1e-5)
    assert gradients.keys() == split_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(split_gradients[name], gradient, rtol=1e-3, atol=2e-6, msg=name)


def test_counts_are_those_of_the_answers():
    loaded = _loaded()
    batch = batch_of(loaded, _members(), ANSWERS)
    answers = [loaded.conversation.answer(text) for texts in ANSWERS for text in texts]
    assert count(batch, loaded.model.seg_id) == Counts(sum(map(len, answers)), len(answers))
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
    total = weighted_total(sums, Counts(tokens=3, masks=2), LossConfig())
    assert float(total) == pytest.approx(1.0 * 6 / 3 + 2.0 * 4 / 2 + 0.5 * 1 / 2)
    assert float(weighted_total(sums, Counts(3, 2), LossConfig(ce=0, bce=0, dice=4))) == pytest.approx(2.0)


def test_a_batch_without_a_mask_has_a_finite_loss():
    loaded = _loaded()
    batch = batch_of(loaded, groups(1), "no such thing.")
    counts = count(batch, loaded.model.seg_id)
    assert counts.masks == 0
    loaded.model.zero_grad()
    sums = loss_sums(loaded.model(batch), batch, LossConfig())
    assert (float(sums["bce"]), float(sums["dice"])) == (0, 0)
    total = weighted_total(sums, counts, LossConfig())
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
    weighted_total(sums, count(batch, loaded.model.seg_id), LossConfig()).backward()
    assert all(bool(torch.isfinite(sums[term])) for term in TERMS)
    gradients = [p.grad for p in loaded.model.parameters() if p.grad is not None]
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
