"""A trainer's state that is believed only where it can be; the values are those of a run of eight steps."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from segtune.core.errors import CheckpointError
from segtune.engine.checkpoint import Checkpoint
from segtune.engine.config import DenseTrainConfig, OptimConfig
from segtune.engine.dense_tracker import DenseTracker
from segtune.engine.stages import plan
from segtune.engine.state import History, TrainerState
from segtune.engine.state_file import require_consistent, require_same_model, state_from
from segtune.engine.state_recorded import require_recorded

WINDOWS = 4
TRAIN = DenseTrainConfig(epochs=3, stages=({"epochs": 1}, {"epochs": 2}))


class _Objective:
    weights: ClassVar = {"ce": 1.0}


class _Task:
    objective = _Objective()

    def tracker(self, sums: dict[str, Any] | None = None) -> DenseTracker:
        return DenseTracker.from_dict(sums) if sums else DenseTracker(classes=2, foreground=(1,))


def _values() -> dict[str, Any]:
    """After six steps: in the second stage, in the middle of its first epoch."""
    tracker = DenseTracker(classes=2, foreground=(1,))
    tracker.step({"loss": 1.5, "ce": 1.5}, 0.1)
    tracker.step({"loss": -0.5, "ce": -0.5}, 0.1)
    state = TrainerState(
        epoch=1, window=2, step=6, best=0.5, best_epoch=1, stage=1, stage_epoch=0, stage_step=2,
        tracker=tracker.to_dict(),
    )  # fmt: skip
    return json.loads(json.dumps(dataclasses.asdict(state)))


def _require(values: dict[str, Any], *, scaled: bool = False) -> TrainerState:
    state = state_from(values, "trainer_state.json")
    task: Any = _Task()
    require_consistent(state, TRAIN, plan(TRAIN, OptimConfig()), WINDOWS, scaled, task, "trainer_state.json")
    return state


def test_a_state_of_the_run_is_taken() -> None:
    assert _require(_values()).step == 6
    end = {"epoch": 3, "window": 0, "step": 12, "stage": 2, "stage_epoch": 0, "stage_step": 0, "tracker": None}
    assert _require({**_values(), **end}).is_over(TRAIN)
    pending = {"window": 4, "step": 8, "stage_step": 4}
    assert _require({**_values(), **pending}).window == WINDOWS
    begun = {"epoch": 1, "window": 0, "step": 4, "stage_step": 0, "tracker": None}
    assert _require({**_values(), **begun}).stage == 1


def test_every_field_of_a_state_is_a_key_of_the_file() -> None:
    names = [field.name for field in dataclasses.fields(TrainerState)]
    values = _values()
    assert sorted(names) == sorted(values)
    for name in names:
        with pytest.raises(CheckpointError, match=name):
            state_from({**values, name: object()}, "trainer_state.json")


WRONG: dict[str, Any] = {
    "epoch": [-5, 4, 2, 10**400, 1.0, "1", None, True, [1]],
    "window": [-1, 5, 3, None, "2"],
    "step": [-6, 7, 6.5, "6", 2**60],
    "best": ["0.5", [0.5], {}],
    "best_epoch": [2, -1, None, 0],
    "stage": [99, 2, -1, None, 0],
    "stage_epoch": [1, 2, -1, "0"],
    "stage_step": [3, 1, -2, 2.0],
    "skipped_in_row": [-1, 7, None],
    "skipped": [-1, 3, 1_000_000_000, None],
    "tracker": [None, [], "none", {}, 7],
    "reductions": [-1, None, 1, 60],
    "stopping": [{"best": 0.5, "waited": 0}, {"best": None, "waited": 1}],
    "stage_best": [{"best": 0.5, "waited": 1}, {"best": None, "waited": 2}],
    "plateau": [None, {}, {"best": 1.0}, {"best": "x", "waited": 0}, {"best": None, "waited": -1},
                {"best": None, "waited": 9}, {"best": 0.5, "waited": 0}, {"best": None, "waited": 0, "more": 1}],
    "scaler": [{}, {"scale": 65536.0}, 7, {"scale": 0.0, "growth_factor": 2.0, "backoff_factor": 0.5,
               "growth_interval": 2000, "_growth_tracker": 0}],
    "processes": [0, -1, "1", None],
    "colour": ["red"],
}  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_a_value_that_cannot_be_is_refused(key: str, value: object) -> None:
    with pytest.raises(CheckpointError) as caught:
        _require({**_values(), key: value})
    assert caught.value.exit_code == 3
    assert caught.value.where == "trainer_state.json"


@pytest.mark.parametrize("key", [key for key in WRONG if key in _values() and not key.startswith(("stage", "skipped"))])
def test_a_missing_key_is_refused(key: str) -> None:
    values = _values()
    del values[key]
    with pytest.raises(CheckpointError, match=key):
        _require(values)


def test_a_run_with_a_loss_scale_needs_one() -> None:
    scaler = {"scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000,
              "_growth_tracker": 3}  # fmt: skip
    assert _require({**_values(), "scaler": scaler}, scaled=True).scaler == scaler
    with pytest.raises(CheckpointError, match="scaler is missing"):
        _require(_values(), scaled=True)


PLATEAU = OptimConfig(schedule="plateau", plateau_patience=2)
STOPPING = DenseTrainConfig(epochs=9, early_stopping={"patience": 3})


def _watched(**changes: Any) -> TrainerState:
    """After five epochs of one stage, with a plateau and early stopping."""
    values = {"epoch": 5, "step": 5 * WINDOWS, "stage_epoch": 5, "stage_step": 5 * WINDOWS, "best": 0.5}
    state = state_from(
        json.loads(json.dumps(dataclasses.asdict(TrainerState(best_epoch=1, **values)))) | changes, "s.json"
    )
    task: Any = _Task()
    require_consistent(state, STOPPING, plan(STOPPING, PLATEAU), WINDOWS, False, task, "s.json")
    return state


def test_what_is_configured_may_have_counted_as_often_as_it_can() -> None:
    stop = {"best": 0.5, "waited": 5}
    assert _watched(reductions=2, plateau={"best": 0.5, "waited": 1}, stopping=stop).reductions == 2
    for wrong in ({"reductions": 3}, {"stopping": {"best": 0.5, "waited": 6}}, {"stage_best": {**stop, "waited": 1}}):
        with pytest.raises(CheckpointError, match=next(iter(wrong))):
            _watched(**wrong)


def test_all_that_a_trainer_counts_is_taken() -> None:
    """Every sequence of six values, an undefined one among them, with a plateau, early stopping and stages."""
    task: Any = _Task()
    for stages in ((), ({"epochs": 2}, {"epochs": 7})):
        train = STOPPING.model_copy(update={"stages": DenseTrainConfig(epochs=9, stages=stages).stages})
        planned = plan(train, PLATEAU)
        for values in itertools.product((0.1, 0.2, None), repeat=6):
            state, history = TrainerState(), History()
            for value in values:
                if state.is_over(train):
                    break
                row = {"epoch": state.epoch + 1, "val_mIoU": value, "stage": state.stage + 1}
                state.epoch, state.step = state.epoch + 1, state.step + WINDOWS
                state.stage_epoch, state.stage_step = state.stage_epoch + 1, state.stage_step + WINDOWS
                state.takes_as_best(row, train, validated=True)
                if stages:
                    state.takes_as_best_of_stage(row, train)
                state.tell(row, planned[state.stage].optim, train)
                if state.stage_is_over(planned[state.stage].epochs, train):
                    state.next_stage()
                history.val.append(row)
                again = state_from(json.loads(json.dumps(dataclasses.asdict(state))), "s.json")
                require_consistent(again, train, planned, WINDOWS, False, task, "s.json")
                require_recorded(again, train, planned, history, Checkpoint(Path("nowhere"), {}, frozenset()))


TRACKERS = {
    "steps": [3, 0, -1, "2", 2.5, None],
    "seconds": [-1.0, None, "x"],
    "loss_sums": [None, {}, {"loss": 1.0}, {"loss": 1.0, "ce": 1.0, "colour": 1.0}, {"ce": "low"}, {"ce": None}, []],
    "classes": [3, 0, None, -1],
    "foreground": [None, [0], [1, 1], "1"],
    "confusion": [{}, {"matrix": [[1]]}, {"matrix": [[0, 0], [0, -4]]}, {"matrix": [[0, 0], [0, 0.5]]},
                  {"matrix": [[0, 0], [0, 2**63]]}, {"matrix": "none"}],
}  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in TRACKERS.items() for value in values])
def test_sums_that_cannot_be_are_refused(key: str, value: object) -> None:
    values = _values()
    values["tracker"][key] = value
    with pytest.raises(CheckpointError, match="tracker"):
        _require(values)


AUROC = {
    "codes": [[-1], [70000], ["a"], [1, 1], [2.5]], "positives": [[-3], [], [1, 2], ["x"]], "scored": [-1, None],
    "more": [1],
}  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in AUROC.items() for value in values])
def test_a_histogram_that_cannot_be_is_refused(key: str, value: object) -> None:
    values = _values()
    auroc = values["tracker"]["binary"]["auroc"]
    auroc |= {"codes": [5], "positives": [3], "negatives": [1], "scored": 1}
    _require(copy.deepcopy(values))
    auroc[key] = value
    with pytest.raises(CheckpointError, match="tracker"):
        _require(values)


def test_a_checkpoint_of_another_model_is_refused() -> None:
    own = {"base": "a", "model": {"vlm": "a", "seg_hidden": 32}, "classes": ("x", "y"), "fingerprint": "f"}
    moved = {"base": "b", "model": {"vlm": "b", "seg_hidden": 32}, "classes": ["x", "y"], "fingerprint": "f"}
    require_same_model(moved, own, "last")
    require_same_model({"fingerprint": "f"}, own, "last")
    described = {"described": {"vlm": "a", "tokenizer": "b"}}
    require_same_model(moved, own | described, "last")
    require_same_model(moved | described, own | described, "last")
    with pytest.raises(CheckpointError, match=r"changed: its tokenizer.*"):
        require_same_model(moved | {"described": {"vlm": "a", "tokenizer": "c"}}, own | described, "last")
    for wrong in ({"model": {"seg_hidden": 64}}, {"classes": ["y", "x"]}):
        with pytest.raises(CheckpointError, match=next(iter(wrong))):
            require_same_model({**moved, **wrong}, own, "last")


def test_an_encoder_described_by_another_version_of_transformers_is_the_same() -> None:
    config = {"hidden_size": 8, "transformers_version": "5.23.0", "backbone": {"depth": 2, "_name_or_path": "here"}}
    older = {"hidden_size": 8, "transformers_version": "5.20.0", "backbone": {"depth": 2}, "id2label": {"0": "a"}}
    own = {"encoder": {"config": config, "mean": [0.5], "std": [0.2]}}
    require_same_model({"encoder": {"config": older, "mean": [0.5], "std": [0.2]}}, own, "last")
    for wrong in (
        {"config": {**older, "hidden_size": 16}, "mean": [0.5], "std": [0.2]},
        {"config": {**older, "backbone": {"depth": 3}}, "mean": [0.5], "std": [0.2]},
        {"config": older, "mean": [0.4], "std": [0.2]},
    ):
        with pytest.raises(CheckpointError, match="encoder"):
            require_same_model({"encoder": wrong}, own, "last")
