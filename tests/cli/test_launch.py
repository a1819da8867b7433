"""Who is started beside the command that a person has started, with what, and how all of them end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from segtune.cli import launch
from segtune.config import load_recipe
from segtune.core.errors import ConfigError, DataError, Elsewhere, SegtuneError
from segtune.engine.config import TrainConfig

NEVER = "#!/bin/sh\ntrap '' TERM\necho $$ > pid\nwhile :; do sleep 0.1; done\n"
"""A process that does not leave, and not for a SIGTERM either."""


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No launcher has started this process."""
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def _stands_for_python(place: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "python").write_text(script)
    (place / "python").chmod(0o755)
    monkeypatch.chdir(place)
    monkeypatch.setattr(launch.sys, "executable", str(place / "python"))


@pytest.mark.parametrize(
    ("cores", "batch_size", "accumulate", "count"),
    [(1, 4, 1, 1), (2, 4, 1, 2), (2, 3, 1, 1), (2, 3, 2, 2), (3, 4, 1, 2), (64, 6, 1, 6), (4, 1, 6, 3), (4, 1, 1, 1)],
)
def test_auto_is_what_can_share_a_step_and_has_a_core(
    cores: int, batch_size: int, accumulate: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "usable_cores", lambda: cores)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: None)
    train = TrainConfig(batch_size=batch_size, accumulate=accumulate)
    assert launch.wanted_processes("auto", train) == count
    assert launch.wanted_processes(5, train) == 5


def test_gpus_count_where_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "usable_cores", lambda: 64)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    assert launch.wanted_processes("auto", TrainConfig(batch_size=8)) == 2


def test_a_number_that_cannot_share_a_step_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"run.num_processes=2 divides neither train.accumulate=3 nor train.batch"):
        load_recipe("quickstart", ["run.num_processes=2", "train.accumulate=3", "train.batch_size=5"])
    with pytest.raises(ConfigError, match=r"run.num_processes=3 divides neither train.accumulate=1 nor train.batch"):
        load_recipe("shapes", ["run.num_processes=3"])


def test_the_others_get_the_command_and_their_number(
    alone: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stands_for_python(tmp_path, '#!/bin/sh\necho "$@" > args.$RANK\nenv > env.$RANK\n', monkeypatch)
    before = dict(os.environ)
    with launch.companions(3, ["train", "own", "run.seed=1"]):
        first = dict(os.environ)
    assert dict(os.environ) == before
    assert (first["RANK"], first["LOCAL_RANK"], first["WORLD_SIZE"]) == ("0", "0", "3")
    for rank in ("1", "2"):
        assert (tmp_path / f"args.{rank}").read_text() == "-m segtune train own run.seed=1\n"
        own = dict(line.split("=", 1) for line in (tmp_path / f"env.{rank}").read_text().splitlines() if "=" in line)
        assert (own["LOCAL_RANK"], own["WORLD_SIZE"], own["LOCAL_WORLD_SIZE"]) == (rank, "3", "3")
        assert (own["MASTER_ADDR"], own["MASTER_PORT"]) == ("127.0.0.1", first["MASTER_PORT"])
        assert own[launch.PARENT] == str(os.getpid())
        assert own["SEGTUNE_PARENT_TIMEOUT"] == "600.0"
        assert int(own["OMP_NUM_THREADS"]) >= 1


def test_nothing_is_started_for_one_or_under_a_launcher(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    with launch.companions(1, ["train"]):
        assert "WORLD_SIZE" not in os.environ
    monkeypatch.setenv("WORLD_SIZE", "2")
    with launch.companions(2, ["train"]):
        assert "MASTER_PORT" not in os.environ


def test_those_that_do_not_leave_are_ended(alone: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stands_for_python(tmp_path, NEVER, monkeypatch)
    monkeypatch.setattr(launch, "_LEAVES_WITHIN", {True: 0.2, False: 0.2})

    def fails() -> None:
        with launch.companions(2, []):
            while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
                time.sleep(0.01)
            raise KeyError("first")

    with pytest.raises(KeyError, match="first"):
        fails()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def _ran(program: str, place: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("WORLD_SIZE", "RANK")}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=60, check=False)


KILLED = "another process of this run was killed by signal 9, as happens where memory is short"
RESUME = "\n  fix: go on from the last checkpoint with `segtune train --resume RUN`"
ENDS = [
    ("kill -9 $$", 1, KILLED + RESUME),
    ("kill -6 $$", 1, "another process of this run was killed by signal 6" + RESUME),
    ("exit 3", 3, ""),  # it has told why
    ("exit 1", 1, ""),
]


@pytest.mark.parametrize("error", ["[a/gloo/transport/tcp/pair.cc:1] writev: Broken pipe", "Connection closed by peer"])
@pytest.mark.parametrize(
    ("end", "code", "told"),
    [*ENDS, ("exit 143", 143, f"another process of this run was stopped by SIGTERM{RESUME}")],
)
def test_a_lost_connection_is_told_by_how_the_other_has_ended(
    end: str, code: int, told: str, error: str, alone: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stands_for_python(tmp_path, f"#!/bin/sh\nsleep 0.3\n{end}\n", monkeypatch)
    with pytest.raises(SegtuneError) as caught, launch.companions(2, []):
        raise RuntimeError(error)
    assert caught.value.exit_code == code
    assert isinstance(caught.value, Elsewhere) if not told else str(caught.value) == told


def test_a_connection_lost_for_no_known_reason(alone: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stands_for_python(tmp_path, "#!/bin/sh\nexit 0\n", monkeypatch)
    monkeypatch.setattr(launch, "_ENDS_WITHIN", 0.5)
    with pytest.raises(SegtuneError, match="has ended or no longer answers"), launch.companions(2, []):
        raise RuntimeError("Connection closed by peer")


@pytest.mark.parametrize("error", [DataError("Connection reset by peer"), ValueError("odd")])
def test_another_failure_of_the_first_stays_what_it_is(
    error: Exception, alone: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stands_for_python(tmp_path, "#!/bin/sh\nexit 1\n", monkeypatch)
    with pytest.raises(type(error)) as caught, launch.companions(2, []):
        raise error
    assert caught.value is error


def test_of_several_that_have_ended_one_that_has_told_counts_first() -> None:
    def other(code: int | None) -> subprocess.Popen[bytes]:
        class Other:
            def poll(self) -> int | None:
                return code

        return Other()  # type: ignore[return-value]

    for codes, code in ((-9, 143, 3), 3), ((143, -9, 0), 1), ((None, 143, 0), 143), ((200, None, 0), 200):
        found = launch._failure_of([other(one) for one in codes])
        assert found is not None
        assert found.exit_code == code
    assert launch._failure_of([other(None), other(0)]) is None


def test_a_connection_that_another_than_the_first_has_lost_is_told_by_the_first(tmp_path: Path) -> None:
    program = """
import os, signal, threading, time
from segtune.cli import launch
from segtune.core.errors import Elsewhere
os.environ.update({launch.PARENT: str(os.getppid()), "WORLD_SIZE": "2", "RANK": "1"})
launch.end_with_parent()
try:
    with launch.companions(2, []):
        raise RuntimeError("Connection closed by peer")
except Elsewhere:
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()  # as the first one ends it
    launch.leave_after_first(0.1)
print("it left by itself")
"""
    done = _ran(program, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (-15, "", "")


@pytest.mark.parametrize(("end", "code", "told"), ENDS)
def test_a_death_that_the_first_does_not_notice_ends_it(end: str, code: int, told: str, tmp_path: Path) -> None:
    (tmp_path / "python").write_text(f"#!/bin/sh\n{end}\n")
    (tmp_path / "python").chmod(0o755)
    program = """
import time
from segtune.cli import launch
launch._TELLS_WITHIN, launch.sys.executable = 0.1, "./python"
with launch.companions(2, []):
    time.sleep(50)
"""
    done = _ran(program, tmp_path)
    assert (done.returncode, done.stderr) == (code, f"error: {told}\n" if told else "")


def test_one_that_is_stopped_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\necho $$ > pid\nkill -STOP $$\n")
    (tmp_path / "python").chmod(0o755)
    program = """
import time
from segtune.cli import launch
launch.sys.executable = "./python"
with launch.companions(2, [], 1):
    time.sleep(50)
"""
    done = _ran(program, tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "error: another process of this run has been stopped (SIGSTOP) for 1 seconds\n  fix: "
    )
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_one_that_stopped_after_a_signal_lets_the_first_save(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\nexit 143\n")
    (tmp_path / "python").chmod(0o755)
    program = """
import time
from segtune.cli import launch
launch._TELLS_WITHIN, launch.sys.executable = 0.1, "./python"
with launch.companions(2, []):
    time.sleep(1)
print("saved")
"""
    done = _ran(program, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "saved\n", "")


def test_none_outlives_the_one_that_has_started_it(tmp_path: Path) -> None:
    other = "from segtune.cli import launch; launch.end_with_parent(); import time; time.sleep(50)"
    program = f"""
import os, subprocess, sys
from segtune.cli import launch
environment = {{**os.environ, launch.PARENT: str(os.getpid())}}
print(subprocess.Popen([sys.executable, "-c", {other!r}], env=environment, stdout=subprocess.DEVNULL).pid)
"""
    done = _ran(program, tmp_path)
    pid, end = int(done.stdout), time.monotonic() + 30
    while time.monotonic() < end:
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rpartition(") ")[2][0] == "Z":
            return
        time.sleep(0.05)
    os.kill(pid, 9)
    pytest.fail("it goes on")


SECOND = """
import os, time
from segtune.cli import launch
os.environ.update(WORLD_SIZE="3", RANK="{rank}")
launch.end_with_parent()
time.sleep(20)
"""
FIRST = """
import os, subprocess, sys
from pathlib import Path
from segtune.cli import launch
environment = {{**os.environ, launch.PARENT: str(os.getpid()), "SEGTUNE_PARENT_TIMEOUT": "1"}}
other = subprocess.Popen([sys.executable, "-c", {second!r}], env=environment)
Path("pids").write_text(f"{{os.getpid()}} {{other.pid}} ")
print(other.wait())
"""


def _two_of_which_the_first_waits(rank: int, place: Path) -> tuple[subprocess.Popen[str], int]:
    """The first process and the number of another one, whose rank is given."""
    program = FIRST.format(second=SECOND.format(rank=rank))
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": place}
    first = subprocess.Popen([sys.executable, "-c", program], **options)
    end = time.monotonic() + 30
    while not (place / "pids").is_file() or not (place / "pids").read_text().endswith(" "):
        assert time.monotonic() < end
        time.sleep(0.05)
    return first, int((place / "pids").read_text().split()[1])


@pytest.mark.parametrize("rank", [1, 2])
def test_a_first_process_that_is_stopped_is_given_up_by_the_others(rank: int, tmp_path: Path) -> None:
    first, other = _two_of_which_the_first_waits(rank, tmp_path)
    os.kill(first.pid, signal.SIGSTOP)
    end = time.monotonic() + 30
    while not Path(f"/proc/{other}/stat").read_text().rpartition(") ")[2].startswith("Z"):
        assert time.monotonic() < end, "it goes on"
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGCONT)
    out, err = first.communicate(timeout=10)
    assert out == "1\n"
    told = "error: the first process of this run has been stopped (SIGSTOP) for 1 seconds\n  fix: go on"
    assert err.startswith(told) if rank == 1 else err == ""


def test_a_stop_of_all_processes_counts_for_none(tmp_path: Path) -> None:
    first, other = _two_of_which_the_first_waits(1, tmp_path)
    time.sleep(1)
    for pid in (other, first.pid):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(2)
    for pid in (first.pid, other):
        os.kill(pid, signal.SIGCONT)
    time.sleep(1)
    os.kill(other, signal.SIGTERM)
    assert first.communicate(timeout=10) == ("-15\n", "")
