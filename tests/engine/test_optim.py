from __future__ import annotations

import sys
import types

import pytest
import torch
from tests.factory import batch_of, groups, tiny_loaded

from segtune.core.errors import CheckpointError, ConfigError
from segtune.engine.config import OptimConfig
from segtune.engine.loading import Loaded
from segtune.engine.optim import (
    build_optimizer,
    load_optimizer_state,
    optimizer_state,
    rate_shares,
    require_optimizer,
    set_rate,
)
from segtune.losses.config import LossConfig
from segtune.losses.objective import weighted_total
from segtune.losses.terms import ReasoningObjective
from segtune.models.config import TrainSettings
from segtune.models.trainable import component_of

EVERYTHING = TrainSettings.model_validate({part: "full" for part in TrainSettings.model_fields if part != "seg_token"})


def _step(loaded: Loaded, optimizer: torch.optim.Optimizer, seed: int = 0) -> None:
    batch = batch_of(loaded, groups(2)[seed % 2 :][:1])
    optimizer.zero_grad()
    objective = ReasoningObjective(LossConfig(), loaded.model.seg_id)
    sums = objective.sums(loaded.model(batch), batch)
    weighted_total(sums, objective.weights, objective.counts(batch)).backward()
    optimizer.step()


def _trained(loaded: Loaded) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in loaded.model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("train", [TrainSettings(), EVERYTHING], ids=["lora", "everything"])
def test_training_goes_on_as_if_it_had_not_stopped(train):
    config = OptimConfig(lr=1e-2)
    straight, resumed = tiny_loaded(train=train), tiny_loaded(train=train)
    optimizer = build_optimizer(straight.model, config)
    for seed in range(2):
        _step(straight, optimizer, seed)
    state = {name: value.clone() for name, value in optimizer_state(straight.model, optimizer).items()}
    with torch.no_grad():
        for parameter, saved in zip(resumed.model.parameters(), straight.model.parameters(), strict=True):
            parameter.copy_(saved)
    again = build_optimizer(resumed.model, config)
    load_optimizer_state(resumed.model, again, state, "here")
    restored = optimizer_state(resumed.model, again)
    assert restored.keys() == state.keys()
    assert all(torch.equal(restored[name], state[name]) for name in state)
    for seed in range(2):
        _step(straight, optimizer, seed)
        _step(resumed, again, seed)
    a, b = _trained(straight), _trained(resumed)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_the_state_before_the_first_step_can_be_saved_and_loaded():
    loaded = tiny_loaded()
    optimizer = build_optimizer(loaded.model, OptimConfig())
    load_optimizer_state(loaded.model, optimizer, optimizer_state(loaded.model, optimizer), "here")
    _step(loaded, optimizer)


def test_the_state_of_other_parameters_is_refused_by_name():
    loaded = tiny_loaded()
    optimizer = build_optimizer(loaded.model, OptimConfig())
    _step(loaded, optimizer)
    state = optimizer_state(loaded.model, optimizer)
    gone = next(name for name in state if name.startswith("seg_projection")).rpartition("|")[0]
    less = {name: value for name, value in state.items() if not name.startswith(f"{gone}|")}
    more = {**state, "stranger.weight|exp_avg": torch.zeros(2)}
    for changed, name in ((less, gone), (more, "stranger.weight")):
        fresh = build_optimizer(loaded.model, OptimConfig())
        with pytest.raises(CheckpointError, match="other parameters") as caught:
            load_optimizer_state(loaded.model, fresh, changed, "last")
        assert name in caught.value.found
        assert caught.value.where == "last"
        assert not fresh.state


def test_state_of_another_shape_is_refused_by_name():
    loaded = tiny_loaded()
    optimizer = build_optimizer(loaded.model, OptimConfig())
    _step(loaded, optimizer)
    state = optimizer_state(loaded.model, optimizer)
    name = next(name for name in state if name.endswith("|exp_avg"))
    with pytest.raises(CheckpointError, match=r"shape|other parameters") as caught:
        load_optimizer_state(
            loaded.model, build_optimizer(loaded.model, OptimConfig()), {**state, name: torch.zeros(3)}, "x"
        )
    assert name.rpartition("|")[0] in caught.value.found


STATES = {
    "half": ("exp_avg", lambda value: value.half()),
    "negative": ("exp_avg_sq", lambda value: value - 1),
    "no step": ("step", None),
    "step of whole numbers": ("step", lambda value: value.long()),
    "steps of a vector": ("step", lambda value: value.repeat(2)),
    "step 0": ("step", torch.zeros_like),
    "step -1": ("step", lambda value: -value),
    "step 0.5": ("step", lambda value: value / 2),
    "later step": ("step", lambda value: value + 1),
    "no moment": ("exp_avg", None),
}


@pytest.mark.parametrize("wrong", STATES)
def test_a_state_that_cannot_be_is_refused_by_name(wrong):
    loaded = tiny_loaded()
    optimizer = build_optimizer(loaded.model, OptimConfig())
    _step(loaded, optimizer)
    state, (field, change) = optimizer_state(loaded.model, optimizer), STATES[wrong]
    load_optimizer_state(loaded.model, build_optimizer(loaded.model, OptimConfig()), state, "last", steps=1)
    name = next(name for name in state if name.endswith(f"|{field}"))
    if change is None:
        del state[name]
    else:
        state[name] = change(state[name])
    fresh = build_optimizer(loaded.model, OptimConfig())
    with pytest.raises(CheckpointError, match="cannot have") as caught:
        load_optimizer_state(loaded.model, fresh, state, "last", steps=1)
    assert name.rpartition("|")[0] in caught.value.found
    assert not fresh.state


def test_unknown_fields_of_a_state_are_refused():
    loaded = tiny_loaded()
    optimizer = build_optimizer(loaded.model, OptimConfig())
    _step(loaded, optimizer)
    state = optimizer_state(loaded.model, optimizer)
    name = next(name for name in state if name.endswith("|step")).rpartition("|")[0]
    with pytest.raises(CheckpointError, match="max_exp_avg_sq missing or unknown"):
        load_optimizer_state(loaded.model, optimizer, {**state, f"{name}|max_exp_avg_sq": torch.ones(1)}, "last")


def test_exactly_what_trains_is_optimised_once():
    loaded = tiny_loaded()
    optimizer = build_optimizer(loaded.model, OptimConfig())
    inside = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(inside) == sorted(id(p) for p in loaded.model.parameters() if p.requires_grad)


def test_vectors_and_seg_rows_do_not_decay():
    loaded = tiny_loaded(train=EVERYTHING.model_copy(update={"embeddings": "frozen", "llm": "lora"}))
    optimizer = build_optimizer(loaded.model, OptimConfig(weight_decay=0.3))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in loaded.model.named_parameters():
        if parameter.requires_grad:
            spared = parameter.ndim <= 1 or component_of(name) == "seg_token"
            assert decay[id(parameter)] == (0.0 if spared else 0.3), name


def test_settings_reach_the_optimiser():
    optimizer = build_optimizer(tiny_loaded().model, OptimConfig(lr=3e-3, betas=(0.8, 0.9)))
    assert {group["lr"] for group in optimizer.param_groups} == {3e-3}
    assert {group["betas"] for group in optimizer.param_groups} == {(0.8, 0.9)}
    set_rate(optimizer, 1e-5)
    assert {group["lr"] for group in optimizer.param_groups} == {1e-5}


def test_on_a_cpu_the_step_in_one_pass_is_that_of_plain_adamw():
    """In float64, where two orders of the same operations differ by rounding alone."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 48, dtype=torch.float64)
    model = torch.nn.ModuleDict({"encoder": linear})
    copies = [parameter.detach().clone().requires_grad_() for parameter in linear.parameters()]
    ours = build_optimizer(model, OptimConfig(lr=1e-2, weight_decay=0.0))
    plain = torch.optim.AdamW(copies, lr=1e-2, betas=OptimConfig().betas, weight_decay=0.0, foreach=False, fused=False)
    assert all(group["fused"] for group in ours.param_groups)
    for _ in range(50):
        for parameter, copy in zip(linear.parameters(), copies, strict=True):
            parameter.grad = torch.randn_like(parameter)
            copy.grad = parameter.grad.clone()
        ours.step()
        plain.step()
    for parameter, copy in zip(linear.parameters(), copies, strict=True):
        torch.testing.assert_close(parameter.detach(), copy.detach(), rtol=1e-12, atol=1e-12)


def test_components_have_rates_of_their_own():
    loaded = tiny_loaded()
    rates = {"mask_decoder": 1e-4, "seg_projection": 5e-3}
    optimizer = build_optimizer(loaded.model, OptimConfig(lr=1e-3, rates=rates, weight_decay=0.3))
    inside = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(inside) == sorted(id(p) for p in loaded.model.parameters() if p.requires_grad)
    for factor in (1.0, 0.25):
        set_rate(optimizer, factor * 1e-3)
        own = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
        for name, parameter in loaded.model.named_parameters():
            if parameter.requires_grad:
                assert own[id(parameter)] == pytest.approx(factor * rates.get(component_of(name), 1e-3)), name
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {decay[id(p)] for p in loaded.model.parameters() if p.requires_grad and p.ndim <= 1} == {0.0}


def test_a_step_moves_each_component_by_its_rate():
    """Adam's first step is the rate times the sign of the gradient, whatever its size."""
    loaded = tiny_loaded()
    optimizer = build_optimizer(loaded.model, OptimConfig(lr=1e-3, rates={"mask_decoder": 1e-5}, weight_decay=0))
    before = _trained(loaded)
    _step(loaded, optimizer)
    moved = {name: float((value - before[name]).abs().max()) for name, value in _trained(loaded).items()}
    for name, distance in moved.items():
        if distance:
            assert distance <= (1e-5 if component_of(name) == "mask_decoder" else 1e-3) * 1.01, name
    assert max(moved[name] for name in moved if component_of(name) == "seg_projection") > 5e-4


@pytest.mark.parametrize(
    ("name", "found", "fix"),
    [
        ("mask_decoders", "no component", "did you mean mask_decoder?"),
        ("vision_tower", "frozen or absent", "model.train"),
        ("connector", "frozen or absent", ""),
    ],
)
def test_a_rate_for_what_does_not_train_is_refused(name, found, fix):
    with pytest.raises(ConfigError, match="does not train") as caught:
        rate_shares(tiny_loaded().model, OptimConfig(rates={name: 1e-3}))
    assert caught.value.exit_code == 2
    assert caught.value.where == f"optim.rates.{name}"
    assert found in caught.value.found
    assert fix in caught.value.fix
    assert "mask_decoder" in caught.value.expected


def test_without_bitsandbytes_its_optimisers_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigError, match="needs bitsandbytes") as caught:
        require_optimizer("adamw8bit", torch.device("cpu"))
    assert caught.value.exit_code == 2
    assert "pip install 'segtune[quant]'" in caught.value.fix
    require_optimizer("adamw", torch.device("cpu"))


def test_an_optimiser_without_a_kernel_for_the_device_is_refused(monkeypatch):
    class Kernelless(torch.optim.SGD):
        def step(self, closure=None):
            raise NotImplementedError("no kernel for 'CPU'")

    fake = types.SimpleNamespace(optim=types.SimpleNamespace(AdamW8bit=Kernelless))
    monkeypatch.setitem(sys.modules, "bitsandbytes", fake)
    with pytest.raises(ConfigError, match="does not support adamw8bit") as caught:
        require_optimizer("adamw8bit", torch.device("cpu"))
    assert caught.value.found == "no kernel for 'CPU'"


@pytest.mark.quant
def test_pages_are_refused_where_there_are_none():
    require_optimizer("adamw8bit", torch.device("cpu"))
    for name in ("paged_adamw", "paged_adamw8bit"):
        with pytest.raises(ConfigError, match=f"does not support {name}") as caught:
            require_optimizer(name, torch.device("cpu"))
        assert "not supported on CPU" in caught.value.found


@pytest.mark.quant
@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported")
@pytest.mark.parametrize("name", ["adamw8bit", "paged_adamw", "paged_adamw8bit"])
def test_bitsandbytes_goes_on_as_if_it_had_not_stopped(name, tmp_path):
    from safetensors.torch import load_file, save_file

    config = OptimConfig(name=name, lr=1e-2, rates={"mask_decoder": 1e-3})
    straight, resumed = tiny_loaded(train=EVERYTHING), tiny_loaded(train=EVERYTHING)
    optimizer = build_optimizer(straight.model, config)
    for seed in range(2):
        _step(straight, optimizer, seed)
    save_file(optimizer_state(straight.model, optimizer), tmp_path / "state.safetensors")
    with torch.no_grad():
        for parameter, saved in zip(resumed.model.parameters(), straight.model.parameters(), strict=True):
            parameter.copy_(saved)
    again = build_optimizer(resumed.model, config)
    load_optimizer_state(resumed.model, again, load_file(tmp_path / "state.safetensors"), "here")
    if "8bit" in name:
        assert any(entry["state1"].dtype == torch.uint8 for entry in again.state.values())
    for seed in range(2):
        _step(straight, optimizer, seed)
        _step(resumed, again, seed)
    a, b = _trained(straight), _trained(resumed)
    assert all(torch.equal(a[name], b[name]) for name in a)
