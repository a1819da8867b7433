from __future__ import annotations

import contextlib

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from tests.factory import batch_of, group, groups, tiny_loaded
from tests.float64 import TOLERANCE

from segtune.core.types import Batch
from segtune.engine.config import OptimConfig
from segtune.engine.loading import Loaded
from segtune.engine.optim import build_optimizer, prepared
from segtune.engine.step import StepReport, train_step
from segtune.losses.config import TERMS, LossConfig
from segtune.losses.terms import ReasoningObjective
from segtune.models.trainable import train_mode

# Answers and numbers of queries differ, so that a mean of means would not be the mean.
MEMBERS = [group(0, queries=1), group(1, queries=3), group(2, queries=2), group(3, queries=1)]
ANSWERS = [["<SEG>."], ["Sure, it is <SEG>."] * 3, ["<SEG> and <SEG>.", "It is <SEG>."], ["no such thing."]]


def _window(loaded: Loaded, cut: list[int]) -> list[Batch]:
    ends = [sum(cut[: i + 1]) for i in range(len(cut))]
    return [batch_of(loaded, MEMBERS[e - n : e], ANSWERS[e - n : e]) for n, e in zip(cut, ends, strict=True)]


def _objective(loaded: Loaded, losses: LossConfig | None = None) -> ReasoningObjective:
    return ReasoningObjective(losses or LossConfig(), loaded.model.seg_id)


def _made(loaded: Loaded, window: list[Batch], optimizer=None, **changes) -> StepReport:
    train_mode(loaded.model)
    settings = {
        "rate": 1e-2, "clip": 1.0, "objective": _objective(loaded), "observe": lambda *_: None,
        "accelerator": Accelerator(cpu=True), **changes,
    }  # fmt: skip
    if optimizer is None:
        optimizer = torch.optim.SGD([p for p in loaded.model.parameters() if p.requires_grad], lr=1e-2)
    return train_step(loaded.model, window, optimizer, **settings)


def _in_float64(loaded: Loaded) -> Loaded:
    """The model in double precision, and every batch that it is given: see `tests.float64`."""
    loaded.model.double()
    loaded.model.register_forward_pre_hook(lambda _, inputs: (inputs[0].to(dtype=torch.float64),))
    return loaded


def _trained(loaded: Loaded) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in loaded.model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("cut", [[1, 1, 1, 1], [2, 2], [3, 1]])
def test_accumulation_is_one_large_batch(cut):
    """Plain gradient descent, so that the weights after the step show the gradients as they are."""
    whole, parts = _in_float64(tiny_loaded()), _in_float64(tiny_loaded())
    start = _trained(whole)
    a = _made(whole, _window(whole, [4]), clip=1e9, rate=1.0)
    b = _made(parts, _window(parts, cut), clip=1e9, rate=1.0)
    for term in (*TERMS, "loss"):
        assert float(a.terms[term]) == pytest.approx(float(b.terms[term]), rel=TOLERANCE)
    assert float(a.grad_norm) == pytest.approx(float(b.grad_norm), rel=TOLERANCE)
    after, split = _trained(whole), _trained(parts)
    assert any(float((after[name] - start[name]).abs().max()) > 1e-4 for name in start)
    norm = float(a.grad_norm)
    for name in start:
        assert float((after[name] - split[name]).norm()) <= TOLERANCE * norm, name


def test_a_step_with_the_real_optimiser_is_the_same_however_it_is_cut():
    whole, parts = _in_float64(tiny_loaded()), _in_float64(tiny_loaded())
    start, config = _trained(whole), OptimConfig(lr=1e-3)
    for loaded, cut in ((whole, [4]), (parts, [1, 1, 1, 1])):
        _made(loaded, _window(loaded, cut), build_optimizer(loaded.model, config), rate=1e-3)
    after, split = _trained(whole), _trained(parts)
    # Adam's first step is the rate times g / (|g| + 1e-8): only gradients as small as their rounding may differ
    close = sum(int(((after[name] - split[name]).abs() <= 1e-6).sum()) for name in after)
    assert close >= 0.999 * sum(value.numel() for value in after.values())
    assert any(float((after[name] - start[name]).abs().max()) > 5e-4 for name in after)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_that_is_not_finite_leaves_everything_as_it_was(where):
    loaded = tiny_loaded()
    optimizer = build_optimizer(loaded.model, OptimConfig(lr=1e-3))
    batch = batch_of(loaded, groups(1))
    assert not _made(loaded, [batch], optimizer).skipped
    before = _trained(loaded)
    moments = {id(p): {k: v.clone() for k, v in entry.items()} for p, entry in optimizer.state.items()}
    if where == "loss":
        batch.images.vlm_pixels[:] = float("nan")
        report = _made(loaded, [batch], optimizer)
    else:
        projection = loaded.model.seg_projection.layers[2].weight
        hook = projection.register_hook(lambda gradient: gradient * float("inf"))
        report = _made(loaded, [batch], optimizer)
        hook.remove()
        assert bool(torch.isfinite(report.terms["loss"]))
    assert report.skipped
    after = _trained(loaded)
    assert all(torch.equal(before[name], after[name]) for name in before)
    for parameter, entry in optimizer.state.items():
        assert all(torch.equal(entry[key], moments[id(parameter)][key]) for key in entry)
    assert all(p.grad is None for p in loaded.model.parameters())
    assert not _made(loaded, [batch_of(loaded, groups(1))], optimizer).skipped


def test_one_bad_micro_batch_skips_the_whole_window():
    loaded = tiny_loaded()
    before = _trained(loaded)
    good, bad = batch_of(loaded, groups(1)), batch_of(loaded, groups(1))
    bad.images.mask_pixels[:] = float("inf")
    assert _made(loaded, [good, bad]).skipped
    assert all(torch.equal(before[name], value) for name, value in _trained(loaded).items())


def test_gradients_are_clipped_to_the_wanted_norm():
    loaded = tiny_loaded()
    start = _trained(loaded)
    report = _made(loaded, _window(loaded, [4]), clip=0.5, rate=1.0)
    assert float(report.grad_norm) > 0.5, "the norm before clipping is told"
    moved = torch.cat([(value - start[name]).flatten() for name, value in _trained(loaded).items()])
    assert float(moved.norm()) == pytest.approx(0.5, rel=1e-3)


def test_the_report_is_the_weighted_mean_over_the_window():
    loaded = tiny_loaded()
    losses = LossConfig(ce=0.3, bce=1.7, dice=0.9)
    seen = []
    report = _made(
        loaded, _window(loaded, [2, 2]), objective=_objective(loaded, losses),
        observe=lambda output, batch: seen.append((output, batch)),
    )  # fmt: skip
    assert [len(batch.group_ids) for _, batch in seen] == [2, 2]
    terms = {term: float(report.terms[term]) for term in TERMS}
    assert float(report.terms["loss"]) == pytest.approx(sum(getattr(losses, t) * v for t, v in terms.items()), rel=1e-5)
    assert not any(report.terms[term].requires_grad for term in terms)


def test_optional_terms_are_reported_and_trained_only_with_a_weight():
    loaded = tiny_loaded()
    losses = LossConfig(focal=2.0, boundary=0.5, space="original")
    objective = _objective(loaded, losses)
    whole, cut = (_made(tiny_loaded(), _window(loaded, parts), objective=objective) for parts in ([4], [1, 2, 1]))
    assert set(whole.terms) == {"loss", *TERMS, "focal", "boundary"}
    for name, value in whole.terms.items():
        assert float(value) == pytest.approx(float(cut.terms[name]), rel=1e-5), name
    terms = {term: float(whole.terms[term]) for term in losses.terms}
    assert float(whole.terms["loss"]) == pytest.approx(sum(getattr(losses, t) * v for t, v in terms.items()), rel=1e-5)
    assert set(_made(loaded, _window(loaded, [4])).terms) == {"loss", *TERMS}


def test_a_window_without_masks_trains_words_alone():
    loaded = tiny_loaded()
    report = _made(loaded, [batch_of(loaded, groups(1), "no such thing.")])
    assert not report.skipped
    assert (float(report.terms["bce"]), float(report.terms["dice"])) == (0, 0)
    assert float(report.terms["ce"]) > 0


def test_the_rate_of_the_step_is_the_one_that_is_asked_for():
    loaded = tiny_loaded()
    optimizer = build_optimizer(loaded.model, OptimConfig(lr=1.0))
    _made(loaded, [batch_of(loaded, groups(1))], optimizer, rate=1e-4)
    assert {group["lr"] for group in optimizer.param_groups} == {1e-4}


def _with_scaler(monkeypatch: pytest.MonkeyPatch, scale: float) -> Accelerator:
    """An accelerator as fp16 makes it on a GPU, with the scaler that PyTorch also has for a CPU."""
    accelerator = Accelerator(cpu=True)
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    accelerator.native_amp = True
    monkeypatch.setattr(Accelerator, "mixed_precision", "fp16")
    monkeypatch.setattr(accelerator, "autocast", contextlib.nullcontext)
    return accelerator


def test_a_scaled_loss_makes_the_same_step(monkeypatch):
    plain, scaled = tiny_loaded(), tiny_loaded()
    config = OptimConfig(lr=1e-3)
    a = _made(plain, _window(plain, [2, 2]), build_optimizer(plain.model, config), rate=1e-3)
    accelerator = _with_scaler(monkeypatch, 2.0**10)
    optimizer = prepared(accelerator, build_optimizer(scaled.model, config))
    b = _made(scaled, _window(scaled, [2, 2]), optimizer, rate=1e-3, accelerator=accelerator)
    assert not b.skipped
    assert float(a.grad_norm) == pytest.approx(float(b.grad_norm), rel=1e-5)
    after, other = _trained(plain), _trained(scaled)
    assert all(torch.equal(after[name], other[name]) for name in after)  # a power of two scales exactly
    assert {group["lr"] for group in optimizer.param_groups} == {1e-3}


def test_the_gradients_of_a_later_stage_are_unscaled_once(monkeypatch):
    """Accelerate would divide by the scale once for every optimiser that it has ever prepared."""
    plain, scaled = tiny_loaded(), tiny_loaded()
    config, clip = OptimConfig(lr=1e-3), 1e9
    accelerator = _with_scaler(monkeypatch, 2.0**10)
    for _ in range(3):
        theirs = build_optimizer(plain.model, config)
        ours = prepared(accelerator, build_optimizer(scaled.model, config))
        a = _made(plain, _window(plain, [2, 2]), theirs, rate=1e-3, clip=clip)
        b = _made(scaled, _window(scaled, [2, 2]), ours, rate=1e-3, clip=clip, accelerator=accelerator)
        assert float(a.grad_norm) == float(b.grad_norm)
    after, other = _trained(plain), _trained(scaled)
    assert all(torch.equal(after[name], other[name]) for name in after)


def test_a_scale_that_is_too_large_is_halved_and_the_weights_are_left_alone(monkeypatch):
    loaded = tiny_loaded()
    accelerator = _with_scaler(monkeypatch, 2.0**127)
    optimizer = prepared(accelerator, build_optimizer(loaded.model, OptimConfig()))
    before = _trained(loaded)
    objective = _objective(loaded, LossConfig(ce=100))
    report = _made(loaded, _window(loaded, [4]), optimizer, objective=objective, accelerator=accelerator)
    assert report.skipped
    assert bool(torch.isfinite(report.terms["loss"]))
    assert accelerator.scaler.get_scale() == 2.0**126
    assert all(torch.equal(before[name], value) for name, value in _trained(loaded).items())
    accelerator.scaler.update(2.0**10)
    assert not _made(loaded, _window(loaded, [4]), optimizer, accelerator=accelerator).skipped
    assert accelerator.scaler.get_scale() == 2.0**10
    assert any(not torch.equal(before[name], value) for name, value in _trained(loaded).items())


def test_bf16_makes_a_step_with_float32_weights():
    loaded = tiny_loaded()
    AcceleratorState._reset_state()
    try:
        report = _made(loaded, _window(loaded, [4]), accelerator=Accelerator(cpu=True, mixed_precision="bf16"))
    finally:
        AcceleratorState._reset_state()
    assert not report.skipped
    assert all(p.dtype == torch.float32 for p in loaded.model.parameters())
    whole = _made(tiny_loaded(), _window(loaded, [4]))
    assert float(report.terms["loss"]) == pytest.approx(float(whole.terms["loss"]), rel=0.02)
