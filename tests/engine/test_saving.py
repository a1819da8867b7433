"""When two processes save together: one of them writes, and neither goes on before it is written."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import time
from pathlib import Path
from types import SimpleNamespace

import torch.distributed as dist

from segtune.core.errors import Elsewhere
from segtune.engine.processes import is_first
from segtune.engine.saving import Saver
from segtune.engine.state import TrainerState

dist.init_process_group("gloo")
settings = SimpleNamespace(train=SimpleNamespace(save_steps=None, save_minutes=0.5 / 60))
saver = Saver(None, None, None, SimpleNamespace(scaler=None), settings, {}, None)

def save(state, kind):
    assert is_first()
    time.sleep(0.5)
    Path("saved").touch()

saver._save = save
time.sleep(0.6)
assert saver.is_due(1)
saver.resumable(TrainerState())
assert Path("saved").exists()
assert not saver.is_due(1)  # in both: otherwise one would make all save after every step

def fail(state, kind):
    raise OSError("the disk is full")

saver._save = fail
try:
    saver.resumable(TrainerState())
except (OSError, Elsewhere) as error:
    assert isinstance(error, OSError) == is_first(), error
    assert "the disk is full" in str(error)
else:
    raise AssertionError("nothing was told")
"""


def test_no_process_goes_on_before_the_first_has_saved(tmp_path: Path) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    script = [sys.executable, "-c", SCRIPT]
    options = {"cwd": tmp_path, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(script, env={**common, "RANK": str(rank)}, **options) for rank in (0, 1)]  # type: ignore[call-overload]
    told = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
