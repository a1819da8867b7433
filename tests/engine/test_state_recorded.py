"""What a checkpoint says of the best epochs is compared with the history and with the weights that names mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from segtune.core.errors import CheckpointError
from segtune.engine.checkpoint import Checkpoint
from segtune.engine.checkpoint_files import FORMAT
from segtune.engine.config import DenseTrainConfig, OptimConfig, TrainConfig
from segtune.engine.stages import plan
from segtune.engine.state import History, TrainerState
from segtune.engine.state_recorded import require_recorded
from segtune.engine.watch import Watch

TRAIN = DenseTrainConfig(epochs=4, stages=({"epochs": 2}, {"epochs": 2}))
SCORES = (0.2, 0.6, 0.4)
NAMES = {"best": 2, "stage-1-best": 2, "stage-2-best": 3, "epoch-0002": 2, "epoch-0003": 3}


def _directory(epoch: int) -> str:
    return f"step-{4 * epoch:08}-weights"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The weights of three epochs."""
    for epoch, score in enumerate(SCORES, start=1):
        place = tmp_path / _directory(epoch)
        place.mkdir()
        (place / "manifest.json").write_text("{}")
        about = {"format": FORMAT, "epoch": epoch, "step": 4 * epoch, "metrics": {"val_mIoU": score}}
        (place / "checkpoint.json").write_text(json.dumps(about))
    return tmp_path


def _history() -> History:
    train = [{"epoch": n, "loss": 1.0, "stage": 1 + n // 3} for n in (1, 2, 3)]
    return History(train, [{"epoch": n, "val_mIoU": score} for n, score in enumerate(SCORES, start=1)])


def _require(
    folder: Path, names: dict[str, int] | None = None, history: History | None = None, train: TrainConfig = TRAIN,
    **changes: Any,
) -> None:  # fmt: skip
    own = {"best": 0.6, "best_epoch": 2, "epoch": 3, "stage": 1, "stage_epoch": 1, "stage_best": Watch(0.4, 0)}
    state = TrainerState(**{**own, **changes})
    told = {name: _directory(epoch) for name, epoch in (NAMES if names is None else names).items()}
    checkpoint = Checkpoint(folder / "step-00000012", {"names": told}, frozenset())
    require_recorded(state, train, plan(train, OptimConfig()), history or _history(), checkpoint)


def test_what_the_run_has_recorded_is_taken(folder: Path) -> None:
    _require(folder)
    _require(folder, {})
    _require(folder, {"best": 9}, History(), best=0.999)  # neither is there any more
    later = History(_history().train[2:], _history().val[2:])  # begun anew after it was removed
    _require(folder, history=later)
    over = {"stage": 2, "stage_epoch": 0, "stage_best": Watch()}
    _require(folder, **over)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"best": 0.999}, "best is 0.999, and val_mIoU of epoch 2 was 0.6"),
        ({"best": -7.5}, "best is -7.5"),
        ({"best": None}, "best is None"),
        ({"best_epoch": 1}, "best is 0.6, and val_mIoU of epoch 1 was 0.2"),
        ({"best_epoch": 1, "best": 0.2}, "epoch 2 was better: 0.6"),
        ({"best_forced": 0.3}, "best_forced is 0.3"),
        ({"stage_best": Watch(0.5, 0)}, "stage_best.best is 0.5"),
    ],
)
def test_a_best_that_never_was_is_refused(changes: dict[str, Any], words: str, folder: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        _require(folder, **changes)
    assert words in caught.value.found
    assert caught.value.where == str(folder / "step-00000012" / "trainer_state.json")
    assert "training_history.json" in caught.value.expected


@pytest.mark.parametrize(
    ("name", "epoch"), [("best", 1), ("best", 3), ("epoch-0002", 3), ("stage-2-best", 1), ("stage-1-best", 3)]
)
def test_a_name_that_means_other_weights_is_refused(name: str, epoch: int, folder: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"names\.{name} is {_directory(epoch)}") as caught:
        _require(folder, {**NAMES, name: epoch})
    assert caught.value.where == str(folder / "step-00000012" / "checkpoint.json")


def test_the_value_of_the_best_weights_is_compared_without_a_history_too(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"names\.best"):
        _require(folder, history=History(), best=0.999)


def test_a_twin_breaks_ties_and_losses_should_fall(folder: Path) -> None:
    train = TrainConfig(epochs=4, best="val_generate_gIoU")
    rows = [{"epoch": n, "val_generate_gIoU": 0.0, "val_gIoU": value} for n, value in enumerate(SCORES, start=1)]
    history = History([], rows)
    own = {"stage": 0, "stage_best": Watch(), "best": 0.0}
    _require(folder, {}, history, train, **own, best_forced=0.6)
    with pytest.raises(CheckpointError, match=r"best_forced is 0\.7"):
        _require(folder, {}, history, train, **own, best_forced=0.7)
    falls = DenseTrainConfig(epochs=4, best="val_loss")
    rows = [{"epoch": n, "val_loss": value} for n, value in enumerate(SCORES, start=1)]
    _require(folder, {}, History([], rows), falls, stage=0, stage_best=Watch(), best=0.2, best_epoch=1)
    with pytest.raises(CheckpointError, match="epoch 1 was better"):
        _require(folder, {}, History([], rows), falls, stage=0, stage_best=Watch())


def test_without_a_value_the_newest_or_first_epoch_stands(folder: Path) -> None:
    rows = History([{"epoch": n, "loss": 1.0} for n in (1, 2, 3)], [])
    one = DenseTrainConfig(epochs=4)
    _require(folder, {}, rows, one, stage=0, stage_best=Watch(), best=None, best_epoch=3)
    undefined = History([], [{"epoch": n, "val_mIoU": None} for n in (1, 2, 3)])
    _require(folder, {}, undefined, one, stage=0, stage_best=Watch(), best=None, best_epoch=1)
