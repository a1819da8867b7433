"""Leaderboard and figure of made-up studies: ties, pruned, running and failed trials are shown as what they are."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image
from tests.sweep.making import a_search, a_trial

from segtune.sweep.figure import axes_figure
from segtune.sweep.place import StudyPlace
from segtune.sweep.results import Results, leaderboard, to_csv
from segtune.sweep.trials import Trial

TRIALS = (
    a_trial(0, value=0.5),
    a_trial(1, value=0.7, reported={1: 0.7, 2: 0.6}, settings={"optim.lr": 1e-4, "losses.dice": 2.0}),
    a_trial(2, state="failed", value=None, reported={}, seconds=None, message="out | of\n  memory"),
    a_trial(3, value=0.7, settings={"optim.lr": 1e-4, "losses.dice": 0.5}),
    a_trial(4, state="pruned", value=0.9, reported={1: 0.95, 2: 0.9}),
    a_trial(5, state="running", value=None, reported={1: 0.3}),
    a_trial(6, state="failed", value=None, message="again", point=2, retry_of=2),
)


def results(*trials: Trial, highest: bool = True) -> Results:
    place = StudyPlace(Path("runs/searches/mine"))
    return Results(place, "val_gIoU", highest, ("optim.lr", "losses.dice"), 8, trials or TRIALS)


def test_ranks_share_ties_and_leave_out_what_is_not_complete() -> None:
    ranked = [(rank, trial.number) for rank, trial in results().ranked()]
    assert ranked == [(1, 1), (1, 3), (3, 0), (None, 4), (None, 5), (None, 6)]
    assert results().best is TRIALS[1]


def test_a_pruned_trial_is_never_the_best() -> None:
    assert results(TRIALS[4]).best is None


def test_lowest_first_where_low_is_better() -> None:
    ranked = [(rank, trial.number) for rank, trial in results(highest=False).ranked()]
    assert ranked[:3] == [(1, 0), (2, 1), (2, 3)]


def test_the_leaderboard_says_it_all() -> None:
    text = leaderboard(results())
    assert "8 points: 3 complete, 1 pruned, 1 running, 1 failed, 2 not begun." in text
    assert "2 trials share the best value; best.yaml is the first of them, trial-0001." in text
    rows = {line.split("|")[2].strip(): line for line in text.splitlines() if line.startswith("| ")}
    assert "pruned after epoch 2" in rows["4"]
    assert "0.9000" in rows["4"]
    assert "failed (after trial 2 failed)" in rows["6"]
    assert "2" not in rows
    assert "- trial-0006: again" in text


def test_the_table_of_numbers() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(results()))))
    assert [row["rank"] for row in rows] == ["1", "1", "3", "", "", ""]
    assert [row["epoch"] for row in rows] == ["1", "", "2", "2", "", ""]
    assert rows[0]["optim.lr"] == "0.0001"
    assert rows[0]["run"] == "trial-0001"
    assert rows[5]["message"] == "again"
    assert rows[5]["val_gIoU"] == ""


def test_a_message_cannot_break_the_page() -> None:
    text = leaderboard(results(TRIALS[2]))
    assert r"- trial-0002: out \| of memory" in text


def test_json_for_programs() -> None:
    document = results().to_json()
    assert document["best"] == 1
    assert document["goal"] == "max"
    assert [row["trial"] for row in document["trials"]] == [1, 3, 0, 4, 5, 6]


def test_the_figure(tmp_path: Path) -> None:
    axes = {
        "optim.lr": [1e-4, 1e-3],
        "losses.dice": {"low": 0.5, "high": 3.0},
        "optim.schedule": ["cosine", "a $name with _marks^ that is long"],
        "optim.clip": [0.1, 1, 10],
    }
    search = a_search(tmp_path, axes=axes, sampler="random", metric="val_gIoU")
    extra = {"optim.schedule": "cosine", "optim.clip": 10}
    trials = [a_trial(t.number, **{**vars_of(t), "settings": {**t.settings, **extra}}) for t in TRIALS]
    picture = axes_figure(search, trials, trials[1])
    assert picture == axes_figure(search, trials, trials[1])
    image = Image.open(io.BytesIO(picture)).convert("L")
    assert image.width > 1000
    assert len(np.unique(np.asarray(image))) > 10
    assert axes_figure(search, [], None)[:4] == b"\x89PNG"


def vars_of(trial: Trial) -> dict[str, object]:
    return {"state": trial.state, "value": trial.value, "reported": trial.reported}
