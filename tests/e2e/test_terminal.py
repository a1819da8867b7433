"""The progress display on a terminal of ordinary width: redrawn in place, with losses, rate and time left."""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.commands import RUNS, SEGTUNE, TIMEOUT, environment, training

from segtune.core.files import read_json

SCRIPT = """
import time
from segtune.engine.progress import TrainingProgress
with TrainingProgress(40) as progress:
    for step in range(1, 41):
        progress.step(1 + step // 21, {"loss": 9.5, "ce": 7.5, "bce": 0.7, "dice": 0.9, "gIoU": 0.25}, 1.5)
        time.sleep(0.02)
        if step == 20:
            progress.line("epoch 1/2  loss 9.5000")
"""


def _on_a_terminal(script: str) -> str:
    """What a script writes to a terminal of 80 columns."""
    own, others = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "LINES": "24", "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-c", script], stdout=others, stderr=others, env=environment)
    os.close(others)
    chunks = []
    try:
        while chunk := os.read(own, 65536):
            chunks.append(chunk)
    except OSError:  # how Linux says that the other end is closed
        pass
    finally:
        os.close(own)
    assert process.wait(timeout=30) == 0
    return b"".join(chunks).decode()


def test_the_bar_is_redrawn_in_place() -> None:
    written = _on_a_terminal(SCRIPT)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    assert written.count("\x1b[1A") >= 3  # up again, over the line before
    assert written.count("\n") <= written.count("\x1b[1A") + 4
    last = [line for line in re.split(r"[\r\n]+", plain) if line.strip()][-2:]
    assert re.fullmatch(r"epoch 2 ━+ 40/40 [\d.]+ it/s 00:00 left", last[0].strip())
    assert last[1] == "loss 9.500  ce 7.500  bce 0.700  dice 0.900  gIoU 0.250  1.50 GB"
    assert plain.count("epoch 1/2  loss 9.5000") == 1
    assert max(len(line) for line in re.split(r"[\r\n]+", plain)) <= 80


@pytest.mark.slow
def test_training_outlives_the_reader_of_its_output(workplace: Path) -> None:
    command = shlex.join([str(SEGTUNE), *training("unread", train__epochs=2, eval__final=False)])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | head -1"], cwd=workplace, env=environment(), timeout=TIMEOUT,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"run directory: {RUNS}/unread\n"
    assert done.stderr.count("warning: standard output is closed (nobody reads it)") == 1
    assert "Traceback" not in done.stderr
    assert len(read_json(workplace / RUNS / "unread" / "training_history.json")["train"]) == 2
