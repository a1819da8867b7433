"""`segtune search` with the real trainer: stopped, killed and continued, a point that fails, the recipe it leaves."""

from __future__ import annotations

import csv
import re
import signal
from pathlib import Path

import psutil
import pytest
from tests.e2e.commands import RUNS, Done, finish, segtune, start, training, wait_for

from segtune.cli.main import main
from segtune.core.files import read_json, read_jsonl, write_text
from segtune.core.yaml_files import dump_mapping

pytest.importorskip("optuna")

SETTINGS = [setting for setting in training("-")[2:] if not setting.startswith("run.")]
GRID = {
    "recipe": "quickstart",
    "overrides": [*SETTINGS, "eval.final=false", "eval.before=false"],
    "epochs": 2,
    "metric": "val_loss",
    "axes": {"optim.lr": [5e-3, 1e-3]},
}
COMMAND = ["search", "small.yaml"]


@pytest.fixture(scope="module")
def study(workplace: Path) -> Path:
    write_text(workplace / "small.yaml", dump_mapping(GRID))
    return workplace / RUNS / "searches" / "small"


def stopped(workplace: Path, when: Path, *numbers: signal.Signals) -> Done:
    """Starts the search and signals it when there is such a file; a kill takes the training with it."""
    process = start(COMMAND, workplace)
    wait_for(when.exists, process)
    family = psutil.Process(process.pid).children(recursive=True) if signal.SIGKILL in numbers else []
    for number in numbers:
        process.send_signal(number)
    for one in family:
        one.kill()
    return finish(process)


@pytest.mark.slow
def test_a_search_that_is_stopped_and_killed_ends_with_each_point_once(workplace: Path, study: Path) -> None:
    first, second = (study / "trials" / f"trial-{number:04}" for number in range(2))
    done = stopped(workplace, first / "metrics.jsonl", signal.SIGINT)
    assert done.code == 130, done.err
    assert re.search(r"go on with `\S*segtune search small.yaml`", done.err)
    step = read_json(first / "checkpoints" / "last" / "trainer_state.json")["step"]
    assert 0 < step < 8
    done = stopped(workplace, second / "checkpoints" / "last" / "manifest.json", signal.SIGKILL)
    assert done.code == -signal.SIGKILL
    done = segtune(COMMAND, workplace)
    assert done.code == 0, done.err
    assert "2 points: 2 complete, 0 pruned, 0 running, 0 failed, 0 not begun" in done.out
    for run in (first, second):
        assert [row["step"] for row in read_jsonl(run / "metrics.jsonl")] == list(range(1, 9))
        log = run.with_name(f"{run.name}.log").read_text()
        assert log.count("resuming ") == 1
    # four steps an epoch; on a busy machine the signal may come as late as after the last of the first
    assert f" of 2, step {step}" in (study / "trials" / "trial-0000.log").read_text()
    with (study / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    histories = {run.name: read_json(run / "training_history.json")["val"] for run in (first, second)}
    for row in rows:
        assert float(row["val_loss"]) == min(epoch["val_loss"] for epoch in histories[row["run"]])
    assert float(rows[0]["val_loss"]) <= float(rows[1]["val_loss"])
    best = str(study / "best.yaml")
    assert f"segtune train {best.removeprefix(f'{workplace}/')}" in done.out
    assert main(["train", best, "run.name=best", "train.epochs=1"]) == 0
    assert len(read_json(workplace / RUNS / "best" / "training_history.json")["train"]) == 1


def test_a_point_that_fails_is_told(workplace: Path, study: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_text(workplace / "broken.yaml", dump_mapping({**GRID, "axes": {"data.train": ["nowhere@train"]}}))
    assert main(["search", "broken.yaml"]) == 1
    printed = capfd.readouterr()
    assert "1 of 1 points failed" in printed.err
    assert "--retry-failed" in printed.err
    assert "Traceback" not in printed.err
    told = next(line for line in printed.out.splitlines() if line.startswith("- trial-0000: "))
    assert "nowhere" in told
    log = study.with_name("broken") / "trials" / "trial-0000.log"
    assert told.removeprefix("- trial-0000: ").split(" expected: ")[0] in log.read_text()
