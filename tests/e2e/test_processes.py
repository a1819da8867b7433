"""Two processes of which one is stopped or fails: both end in time, and one of them says why, once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tests.e2e.commands import RUNS, finish, start, wait_for
from tests.e2e.launch import launched, torchrun, two

from segtune.core.files import read_json

LASTING = {"train__epochs": 200, "eval__final": False, "train__validate_every": 200, "train__best": "loss"}
FAILING = """
import os, signal
from pathlib import Path
from segtune.cli.main import run
from segtune.data import loader
own = loader._TrainingSamples.__getitem__
def sample(self, key):
    if os.environ["RANK"] == "{rank}" and key[0] == 1:
        {act}
    return own(self, key)
loader._TrainingSamples.__getitem__ = sample
run()
"""
IN_THE_SECOND = """
import os, signal
if os.environ.get("RANK") == "1":
    from pathlib import Path
    from segtune.data import loader
    own = loader.{samples}.__getitem__
    def sample(self, key):
        if {samples!r} == "_ScoredSamples" or key[0] == 1:
            {act}
        return own(self, key)
    loader.{samples}.__getitem__ = sample
"""
"""Read by every Python when it starts: the second process of a run fails at its share of an epoch or a validation."""
KILL, STOP = "os.kill(os.getpid(), signal.SIGKILL)", "os.kill(os.getpid(), signal.SIGTERM)"
KILLED = "another process of this run was killed by signal 9, as happens where memory is short\n"
STOPPED = "another process of this run was stopped by SIGTERM\n  fix: go on from the last checkpoint"
VANISH = "[path.unlink() for path in Path('scenes').rglob(self.name(key) + '.jpg')]"

SAVING_SLOWLY = """
import time
from pathlib import Path
from segtune.cli import launch
from segtune.cli.main import run
from segtune.engine import saving
launch._TELLS_WITHIN = 1.0
own = saving.save_checkpoint
def save(*arguments, **named):
    Path("saving").touch()
    time.sleep(6)
    own(*arguments, **named)
saving.save_checkpoint = save
run()
"""
"""The first of two processes, whose saving takes longer than it may go on after the death of the other one."""


def _ranks(launcher: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes that train, in the order of their ranks."""
    found = [one for one in psutil.Process(launcher.pid).children() if "RANK" in one.environ()]
    return sorted(found, key=lambda one: int(one.environ()["RANK"]))


def _trains(run: Path) -> bool:
    return (run / "metrics.jsonl").is_file() and (run / "metrics.jsonl").stat().st_size > 0


@pytest.mark.parametrize("stopped", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_a_stopped_process_is_given_up(stopped: int, workplace: Path) -> None:
    name = f"stopped-{stopped}"
    settings = [*two(name, **LASTING), "run.ddp_timeout=5", "data.num_workers=1"]
    process = launched(torchrun("-m", "segtune", *settings), workplace)
    wait_for(lambda: _trains(workplace / RUNS / name), process)
    ranks = _ranks(process)
    family = [one for rank in ranks for one in (rank, *rank.children())]
    ranks[stopped].suspend()
    since = time.monotonic()
    while ranks[1 - stopped].is_running() and ranks[1 - stopped].status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() - since < 30
        time.sleep(0.1)
    ranks[stopped].kill()  # torchrun does so as well, after 30 seconds
    done = finish(process)
    assert done.code != 0
    assert done.err.count(f"error: process {stopped} has given no sign of life for ") == 1
    assert done.err.count("error: ") == 1
    assert not psutil.wait_procs(family, timeout=10)[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "act", "code", "told"),
    [
        (1, "os.kill(os.getpid(), signal.SIGKILL)", 1, "error: process 1: process "),
        (1, "raise ValueError('odd')", 3, "this sample cannot be prepared"),
        (0, "raise ValueError('odd')", 3, "this sample cannot be prepared"),
    ],
)
def test_a_data_worker_of_one_process_ends_both(
    rank: int, act: str, code: int, told: str, workplace: Path, tmp_path: Path
) -> None:
    script, name = tmp_path / "failing.py", f"failing-{rank}-{code}"
    script.write_text(FAILING.format(rank=rank, act=act))
    process = launched(torchrun(str(script), *two(name, **LASTING), "data.num_workers=1"), workplace)
    wait_for(lambda: _trains(workplace / RUNS / name), process)
    since = time.monotonic()
    done = finish(process)
    assert time.monotonic() - since < 60
    assert done.code != 0
    assert done.err.count(told) == 1
    assert done.err.count("error: ") == 1
    assert f"exitcode  : {code} " in done.err
    assert done.err.count("Traceback") == 1  # torchrun's own
    assert not [one for one in psutil.process_iter() if _group(one) == process.pid]


@pytest.mark.parametrize(
    ("samples", "act", "code", "told"),
    [
        pytest.param("_TrainingSamples", VANISH, 3, ".jpg: ", id="vanished"),
        pytest.param("_TrainingSamples", KILL, 1, KILLED, id="killed", marks=pytest.mark.slow),
        pytest.param("_ScoredSamples", STOP, 143, STOPPED, id="stopped", marks=pytest.mark.slow),
    ],
)
def test_what_ends_the_second_of_two_that_the_command_has_started_is_told_once(
    samples: str, act: str, code: int, told: str, workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("base", "scenes"):
        shutil.copytree(workplace / name, tmp_path / name)
    (tmp_path / "sitecustomize.py").write_text(IN_THE_SECOND.format(samples=samples, act=act))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    settings = two("small", run__num_processes=2, train__batch_size=4, eval__final=False, data__num_workers=0)
    process = start(settings, tmp_path)
    done = finish(process, 120)
    assert done.code == code, done.err
    assert done.err.count(told) == 1, done.err
    assert done.err.count("error: ") == 1
    assert "bug of segtune" not in done.err
    assert "Traceback" not in done.err
    assert not [one for one in psutil.process_iter() if _group(one) == process.pid]


def _group(process: psutil.Process) -> int:
    try:
        return os.getpgid(process.pid)
    except (OSError, psutil.Error):
        return -1


@pytest.mark.slow
def test_signals_that_are_repeated_do_not_disturb_the_saving_of_two(workplace: Path, tmp_path: Path) -> None:
    """The second process has nothing to save, and a repeated signal must not end it before the first one is done."""
    (script := tmp_path / "slowly.py").write_text(SAVING_SLOWLY)
    run, saving = workplace / RUNS / "repeated", workplace / "saving"
    process = launched([sys.executable, str(script), *two(run.name, **LASTING), "run.num_processes=2"], workplace)
    wait_for(lambda: _trains(run) or saving.exists(), process)
    for _ in range(6):
        os.killpg(process.pid, signal.SIGHUP)
        time.sleep(0.5)
    done = finish(process)
    assert done.code == 128 + signal.SIGHUP, done.err
    assert done.err.count("error: ") == done.err.count("error: stopped by SIGHUP after step ") == 1
    assert read_json(run / "checkpoints" / "last" / "trainer_state.json")["step"] > 0
    assert not [one for one in psutil.process_iter() if _group(one) == process.pid]
