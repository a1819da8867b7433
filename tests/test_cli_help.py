"""The command line answers at once, and every command explains itself."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from segtune.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = (
    "train",
    "evaluate",
    "predict",
    "search",
    "report",
    "compare",
    "data check",
    "data synth",
    "config show",
    "config diff",
    "config schema",
)


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "segtune", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


def _cpu_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_is_fast_and_lists_every_command() -> None:
    seconds = []  # of CPU time: what else the machine does is not the command's
    for _ in range(3):
        start = _cpu_seconds_of_children()
        done = _run("--help")
        seconds.append(_cpu_seconds_of_children() - start)
        assert done.returncode == 0
        assert not done.stderr
    for command in ("train", "evaluate", "predict", "search", "report", "compare", "data", "config"):
        assert f"\n  {command} " in done.stdout
    assert statistics.median(seconds) < 0.5


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert f"segtune {command}" in text
    assert "Example" in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("segtune 0.")


@pytest.mark.parametrize(
    "arguments", [["train", "quickstart", "--nonsense"], ["nonsense"], ["predict", "a"], ["evaluate", "a"]]
)
def test_wrong_usage_is_one_message_and_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    assert not captured.out


@pytest.mark.parametrize("words", [[], ["data"], ["config"]])
def test_a_command_without_a_word_is_its_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("Usage: segtune")
    assert not captured.out


def test_settings_with_dashes_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "quickstart", "--optim.lr=3"]) == 2
    assert "optim.lr=1e-4" in capsys.readouterr().err


def test_train_without_a_recipe_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "optim.lr=3"]) == 2
    assert "one of: " in capsys.readouterr().err


def test_resume_of_what_is_no_run_exits_3_in_a_fresh_process(tmp_path: Path) -> None:
    done = _run("train", "--resume", str(tmp_path))
    assert done.returncode == 3, done.stderr
    assert "not a run directory" in done.stderr
    assert "Traceback" not in done.stderr
