"""A command outlives the reader of its output, and prints what its terminal cannot show."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, sys, time
from segtune.core import streams
streams.steady()
for number in range(200):
    print("line", number, "x" * 1000, flush=True)
    time.sleep(0.002)
{more}
open(sys.argv[1], "w").write("done")
"""


def _run(shell: str, tmp_path: Path, more: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the script by a shell, as `$SCRIPT` with what follows in `shell`."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(more=more))
    command = shell.replace("$SCRIPT", f"{sys.executable} {script} {tmp_path / 'end'}")
    environment = {**os.environ, **variables}
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, env=environment)


@pytest.mark.parametrize(
    ("shell", "told"),
    [
        ("$SCRIPT | head -1", "warning: standard output is closed (nobody reads it); the command goes on without it\n"),
        ("$SCRIPT 2>&1 | head -1", ""),
        ("$SCRIPT >&-", ""),
        ("$SCRIPT >&- 2>&-", ""),
        ("$SCRIPT > /dev/full", "(No space left on device)"),
    ],
)
def test_a_command_outlives_the_reader_of_its_output(shell: str, told: str, tmp_path: Path) -> None:
    done = _run(shell, tmp_path, "os.write(2, b'')")
    assert (tmp_path / "end").read_text() == "done"
    assert done.returncode == 0
    assert told in done.stderr
    assert done.stderr.count("warning") == bool(told)
    assert "Traceback" not in done.stderr


def test_rich_goes_on_as_well(tmp_path: Path) -> None:
    more = "from segtune.core.log import console\nconsole().print('x')\nconsole(stderr=True).print('y')"
    done = _run("$SCRIPT | head -1", tmp_path, more)
    assert (tmp_path / "end").read_text() == "done"
    assert done.stderr.endswith("y\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_letter_can_be_printed(encoding: str, tmp_path: Path) -> None:
    more = "print('caf\\u00e9 \\u732b \\udce9', flush=True); sys.stderr.write('\\u732b\\n')"
    done = _run("$SCRIPT > /dev/null", tmp_path, more, PYTHONIOENCODING=encoding)
    assert (tmp_path / "end").exists(), done.stderr
    assert done.stderr == ("猫\n" if encoding == "utf-8" else "\\u732b\n")


def test_output_that_is_lost_for_want_of_space_fails_the_command(tmp_path: Path) -> None:
    command = f"{sys.executable} -m segtune config show quickstart > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.endswith("error: standard output could not be written: No space left on device\n")
