from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch

from segtune.engine.config import OptimConfig, TrainConfig
from segtune.engine.state import TrainerState


def _train(**changes) -> TrainConfig:
    return TrainConfig.model_validate({"best": "val_gIoU", **changes})


def _told(values, optim, train) -> tuple[TrainerState, list[int]]:
    """The state after these values of `val_gIoU`, put to JSON and back after each, and the reductions so far."""
    state, reductions = TrainerState(), []
    for value in values:
        state.tell({} if value == "no validation" else {"val_gIoU": value}, optim, train)
        state = TrainerState.from_dict(json.loads(json.dumps(asdict(state))))
        reductions.append(state.reductions)
    return state, reductions


def test_a_plateau_by_hand():
    optim = OptimConfig(schedule="plateau", plateau_patience=2)
    values = [0.1, 0.2, 0.2, "no validation", 0.1, 0.15, 0.2, 0.3, 0.2, None]
    assert _told(values, optim, _train())[1] == [0, 0, 0, 0, 1, 1, 2, 2, 2, 3]


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_a_plateau_is_that_of_torch(patience):
    """PyTorch lowers the rate one value *after* its patience is over: its patience 2 is our 3."""
    values = torch.rand(60, generator=torch.Generator().manual_seed(patience)).tolist()
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.5, patience=patience - 1, threshold=0.0, eps=0.0
    )
    rates = []
    for value in values:
        theirs.step(value)
        rates.append(optimizer.param_groups[0]["lr"])
    optim = OptimConfig(schedule="plateau", plateau_patience=patience)
    assert [0.5**n for n in _told(values, optim, _train())[1]] == rates


def test_another_schedule_never_falls():
    assert _told([0.3, 0.2, 0.1, 0.0], OptimConfig(plateau_patience=1), _train())[1] == [0, 0, 0, 0]


def test_early_stopping_by_hand():
    train = _train(epochs=50, early_stopping={"patience": 2})
    for values, over in (
        ([0.1, 0.2, 0.1], False),
        ([0.1, 0.2, 0.1, "no validation"], False),
        ([0.1, 0.2, 0.1, "no validation", 0.2], True),
        ([0.1, 0.2, 0.1, 0.3, 0.1], False),
    ):
        state = _told(values, OptimConfig(), train)[0]
        assert state.gave_up(train) == state.is_over(train) == over, values
    assert not _told([0.3, 0.2, 0.1, 0.0], OptimConfig(), _train())[0].gave_up(_train())


def test_losses_should_fall():
    train = _train(early_stopping={"metric": "val_loss", "patience": 2})
    state = TrainerState()
    for value in (3.0, 2.0, 1.0):
        state.tell({"val_loss": value}, OptimConfig(), train)
    assert not state.gave_up(train)
    for value in (1.5, 1.0):
        state.tell({"val_loss": value}, OptimConfig(), train)
    assert state.gave_up(train)


def test_the_last_epoch_ends_a_run():
    assert TrainerState(epoch=3).is_over(_train(epochs=3))
    assert not TrainerState(epoch=2).is_over(_train(epochs=3))


def test_a_state_of_before_plateaus_is_read():
    assert TrainerState.from_dict({"epoch": 1, "window": 0, "step": 4}).plateau.best is None


def _bests(rows, **train) -> list[bool]:
    """Which epochs become the best, with the state put to JSON and back after each."""
    state, taken = TrainerState(), []
    for epoch, values in enumerate(rows, start=1):
        state.epoch = epoch
        taken.append(state.takes_as_best(values, _train(**train), validated=True))
        state = TrainerState.from_dict(json.loads(json.dumps(asdict(state))))
        assert state.best_epoch == max(i for i, one in enumerate(taken, start=1) if one)
    return taken


def test_the_answer_given_decides_between_equal_values_of_generate_mode():
    generated, forced = [0.0, 0.0, 0.0, 0.0, 0.1, 0.1, 0.0], [0.3, 0.2, 0.5, None, 0.1, 0.2, 0.9]
    rows = [{"val_generate_gIoU": g, "val_gIoU": f} for g, f in zip(generated, forced, strict=True)]
    assert _bests(rows, best="val_generate_gIoU") == [True, False, True, False, True, True, False]
    assert _bests(rows, best="val_generate_gIoU", best_goal="min")[:3] == [True, True, False]
    rows = [{"val_generate_cIoU": 0.0, "val_cIoU": f, "val_gIoU": 1 - f} for f in (0.1, 0.3, 0.2)]
    assert _bests(rows, best="val_generate_cIoU") == [True, True, False]


def test_without_a_twin_the_first_of_equal_values_stays():
    rows = [{"val_gIoU": 0.0, "val_emission_rate": 0.0, "val_cIoU": i / 9} for i in range(3)]
    for key in ("val_gIoU", "val_emission_rate"):
        assert _bests(rows, best=key) == [True, False, False]
    assert _bests([{}, {"val_gIoU": 0.1}, {}, {"val_gIoU": None}]) == [True, True, False, False]


def test_without_validation_the_newest_is_the_best():
    state = TrainerState(epoch=2, best=None, best_epoch=1)
    assert state.takes_as_best({}, _train(), validated=False)
    assert state.best_epoch == 2


def test_without_validation_a_key_of_training_decides():
    state, taken = TrainerState(), []
    for epoch, loss in enumerate([3.0, 2.0, 9.0, None, 2.5, 1.5], start=1):
        state.epoch = epoch
        taken.append(state.takes_as_best({"loss": loss}, _train(best="loss"), validated=False))
    assert taken == [True, True, False, False, False, True]
    assert (state.best, state.best_epoch) == (1.5, 6)


def test_a_state_of_before_twins_goes_on():
    state = TrainerState.from_dict({"epoch": 3, "window": 0, "step": 4, "best": 0.0, "best_epoch": 1})
    assert state.takes_as_best(
        {"val_generate_gIoU": 0.0, "val_gIoU": 0.4}, _train(best="val_generate_gIoU"), validated=True
    )
    assert (state.best_epoch, state.best_forced) == (3, 0.4)


def test_best_so_far_is_said_only_where_a_value_decided_it():
    """Validated every second epoch: the first becomes the best because there is no other; nothing compared it."""
    train, state = _train(), TrainerState()
    marks = []
    for epoch, values in enumerate([{"loss": 1.0}, {"val_gIoU": 0.3}, {"loss": 0.5}, {"val_gIoU": float("nan")}], 1):
        state.epoch = epoch
        better = state.takes_as_best(values, train, validated=True)
        marks.append(state.mark(values, train) if better else "")
    assert marks == ["", "  (best so far)", "", ""]
    assert state.best_epoch == 2
