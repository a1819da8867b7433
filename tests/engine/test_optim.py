from __future__ import annotations

import pytest
import torch
from tests.factory import batch_of, groups, tiny_loaded

from segtune.core.errors import CheckpointError
from segtune.engine.config import OptimConfig
from segtune.engine.loading import Loaded
from segtune.engine.optim import build_optimizer, load_optimizer_state, optimizer_state, set_rate
from segtune.losses.config import LossConfig
from segtune.losses.terms import count, loss_sums, weighted_total
from segtune.models.config import TrainSettings
from segtune.models.trainable import component_of

EVERYTHING = TrainSettings.model_validate({part: "full" for part in TrainSettings.model_fields if part != "seg_token"})


def _step(loaded: Loaded, optimizer: torch.optim.Optimizer, seed: int = 0) -> None:
    batch = batch_of(loaded, groups(2)[seed % 2 :][:1])
    optimizer.zero_grad()
    losses = LossConfig()
    weighted_total(loss_sums(loaded.model(batch), batch, losses), count(batch, loaded.model.seg_id), losses).backward()
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
