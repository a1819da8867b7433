"""Reading a run: what is there is read, what is not is empty, what is damaged is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.reports.conftest import MakeRun, history

from segtune.core.errors import CheckpointError
from segtune.core.files import write_json
from segtune.engine.config import FORCED_TWINS, LOSSES
from segtune.reports import facts
from segtune.reports.facts import read_run


def test_the_best_epoch_is_the_one_whose_checkpoint_was_kept(make_run: MakeRun) -> None:
    path = make_run()
    assert read_run(path).best_epoch == 3  # no checkpoint: by the rule that chose it
    write_json(path / "checkpoints" / "best" / "checkpoint.json", {"epoch": 2})
    assert read_run(path).best_epoch == 2


@pytest.mark.parametrize(
    ("train", "epoch"),
    [
        ({"best": "val_loss"}, 1),
        ({"best": "val_gIoU"}, 3),
        ({"best": "val_gIoU", "best_goal": "min"}, 1),
        ({"best": "val_nonsense"}, None),
        ({"best": "val_iou"}, 2),  # a loss, though its name ends as those of scores do
        ({"best": "val_generalized_iou"}, 4),
    ],
)
def test_without_checkpoints_the_rule_of_the_recipe_decides(
    train: dict[str, str], epoch: int | None, make_run: MakeRun
) -> None:
    rows = history(4)
    for row, value in zip(rows["val"], (0.5, 0.2, 0.6, 0.9), strict=True):
        row |= {"val_iou": value, "val_generalized_iou": value}
    run = make_run(files={"training_history.json": rows}, config={"train": {"epochs": 4, **train}})
    assert read_run(run).best_epoch == epoch
    assert facts._LOSSES == LOSSES


def test_of_epochs_equal_in_generate_mode_the_better_with_the_answer_given_was_kept(make_run: MakeRun) -> None:
    rows = history(4)
    forced = [0.2, 0.6, 0.6, 0.1]
    for row, value in zip(rows["val"], forced, strict=False):
        row |= {"val_generate_gIoU": 0.0, "val_gIoU": value}
    run = make_run(files={"training_history.json": rows}, config={"train": {"epochs": 4, "best": "val_generate_gIoU"}})
    assert read_run(run).best_epoch == rows["val"][1]["epoch"]
    assert facts._FORCED_TWINS == FORCED_TWINS


def test_of_equal_epochs_the_first_was_kept(make_run: MakeRun) -> None:
    rows = history(4)
    for row in rows["val"]:
        row["val_gIoU"] = 0.5
    assert read_run(make_run(files={"training_history.json": rows})).best_epoch == 1


def test_a_run_that_has_just_begun(make_run: MakeRun) -> None:
    nothing = dict.fromkeys(
        ("training_history.json", "parameters.json", "data.json", "environment.json",
         "eval_scenes_val_generate.json", "eval_scenes_val_forced.json")
    )  # fmt: skip
    facts = read_run(make_run(files=nothing))
    assert (facts.train, facts.scores, facts.best_epoch, facts.parameters) == ([], [], None, {})


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("training_history.json", {"train": [{"loss": 1}]}),
        ("training_history.json", {"train": {}}),
        ("training_history.json", [1]),
        ("eval_scenes_val_forced.json", {"mode": "forced"}),
        ("parameters.json", [1]),
    ],
)
def test_damage_is_told_with_the_file(file: str, content: object, make_run: MakeRun) -> None:
    with pytest.raises(CheckpointError, match=file) as error:
        read_run(make_run(files={file: content}))
    assert error.value.expected


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a run directory"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("stop", "stopped"),
    [
        (None, False),
        ({"metric": None, "patience": 1, "min_gain": 0.0}, True),  # val_gIoU falls after the third epoch
        ({"metric": None, "patience": 2, "min_gain": 0.0}, False),
        ({"metric": None, "patience": 2, "min_gain": 0.15}, False),  # two small gains are one large one
        ({"metric": None, "patience": 3, "min_gain": 0.25}, True),
        ({"metric": "val_loss", "patience": 3, "min_gain": 0.0}, True),  # it should fall and rises at first
        ({"metric": "recall", "patience": 1, "min_gain": 0.0}, True),
        ({"metric": "val_f1", "patience": 1, "min_gain": 0.0}, True),  # undefined in the end, which is no gain
        ({"metric": "val_emission_rate", "patience": 1, "min_gain": 0.0}, False),  # no epoch has it
    ],
)
def test_whether_a_run_was_stopped_early_is_told_by_its_history(stop: object, stopped: bool, make_run: MakeRun) -> None:
    rows = history(4)
    rows["val"][3]["val_f1"] = None
    train = {"epochs": 9, "best": "val_gIoU", "best_goal": None, "early_stopping": stop}
    assert read_run(make_run(config={"train": train}, files={"training_history.json": rows})).stopped_early == stopped
