"""`segtune search`: its options, its list of points and its messages."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tests.sweep.making import grid_file

from segtune.cli.main import main


def test_dry_run_lists_every_point_and_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)  # a grid is listed without it, and cannot be run
    assert main(["search", str(grid_file(tmp_path)), "--dry-run"]) == 2
    printed = capsys.readouterr()
    assert "a search needs Optuna" in printed.err
    lines = printed.out.splitlines()
    assert lines[0] == "mine: 4 points by grid, recipe quickstart, metric val_generate_gIoU"
    assert [line.split(maxsplit=1) for line in lines[1:]] == [
        ["1", "optim.lr=0.0001 losses.dice=0.5"],
        ["2", "optim.lr=0.0001 losses.dice=2.0"],
        ["3", "optim.lr=0.001 losses.dice=0.5"],
        ["4", "optim.lr=0.001 losses.dice=2.0"],
    ]
    assert not (tmp_path / "searches").exists()


def test_dry_run_of_a_random_search_lists_the_points_that_it_would_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    axes = {"optim.lr": {"low": 1e-5, "high": 1e-2, "log": True}, "train.batch_size": {"low": 1, "high": 4}}
    path = grid_file(tmp_path, axes=axes, sampler="random")
    assert main(["search", str(path), "--dry-run", "--trials", "3", "--json"]) == 0
    points = json.loads(capsys.readouterr().out)["points"]
    assert len(points) == 3
    assert all(isinstance(point["train.batch_size"], int) for point in points)
    assert main(["search", str(path), "--dry-run", "--trials", "3"]) == 0
    assert f"optim.lr={points[2]['optim.lr']}" in capsys.readouterr().out


def test_dry_run_of_tpe_says_what_it_draws_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    axes = {"optim.lr": {"low": 1e-5, "high": 1e-2, "log": True}, "losses.dice": [1, 2]}
    assert main(["search", str(grid_file(tmp_path, axes=axes, sampler="tpe")), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "20 points by tpe" in out
    assert '  optim.lr: {"low": 1e-05, "high": 0.01, "log": true}' in out


def test_without_optuna_its_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["search", str(grid_file(tmp_path))]) == 2
    assert "fix: pip install 'segtune[search]'" in capsys.readouterr().err
    assert not (tmp_path / "searches").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["quickstart", "optim.lrr=3"], "optim.lrr: no such key; did you mean optim.lr?"),
        (["quickstart", "--workers", "2"], "--workers and --gpus-per-trial belong to --ray"),
        (["quickstart", "--trials", "2"], "a grid runs every point"),
        (["quickstart", "--trials", "0"], "--trials"),
        (["nonsense"], "no such grid file"),
        ([], "GRID"),
    ],
)
def test_wrong_usage_exits_2(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", *arguments, "--dry-run"]) == 2
    message = capsys.readouterr().err
    assert told in message
    assert "Traceback" not in message


def test_an_unknown_axis_names_the_nearest_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(grid_file(tmp_path, axes={"optim.lrr": [1, 2]})), "--dry-run"]) == 2
    message = capsys.readouterr().err
    assert "axes: not every point can be run; nothing was started" in message
    assert "optim.lrr: no such key; did you mean optim.lr?" in message


def test_a_launcher_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert main(["search", "quickstart", "--dry-run"]) == 2
    assert "not launched by torchrun" in capsys.readouterr().err
