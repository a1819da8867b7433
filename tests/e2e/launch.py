"""Starting two processes on this machine as people start them, with the arguments of a small run."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.commands import environment, finish, training

PYTHON = Path(sys.executable)
FLOAT64 = Path(__file__).resolve().parents[1] / "float64.py"
"""The command `segtune` in double precision, for what is compared with another way to compute the same."""


def two(name: str, **changes: object) -> list[str]:
    """Arguments of a run whose steps do not depend on how its batches are dealt out: without dropout.

    In each of two epochs there is a step of four images and one of two, in which the second process has nothing to do;
    five validation images cannot be halved. (An image of the train split has ten samples.)
    """
    fixed: dict[str, object] = {
        "data__max_train_samples": 60, "data__val": "synth:scenes@train", "data__max_val_samples": 50,
        "data__max_shared_fraction": 1,
        "model__lora__dropout": 0, "train__epochs": 2,
        "optim__lr": 1e-3, "eval__before": False, "eval__batch_size": 2, "train__validate_generate": False,
        "train__best": "val_gIoU", "eval__max_new_tokens": 2, "eval__overlays": 2,
    }  # fmt: skip
    return training(name, **{**fixed, **changes})


def torchrun(*program: str) -> list[str]:
    """The command line of torchrun for two processes."""
    return [
        str(PYTHON.parent / "torchrun"), "--nproc-per-node", "2", "--master-port", str(_free_port()), *program,
    ]  # fmt: skip


def accelerate(*program: str, cpu: bool = False) -> list[str]:
    """The command line of `accelerate launch` for two processes."""
    kind = "--cpu" if cpu else "--multi_gpu"
    return [
        str(PYTHON.parent / "accelerate"), "launch", kind, "--num_processes", "2", "--num_machines", "1",
        "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", str(_free_port()), *program,
    ]  # fmt: skip


def launched(command: Sequence[str], cwd: Path) -> subprocess.Popen[str]:
    """Starts a launcher as the head of a process group of its own, as a shell does."""
    # elsewhere in the tests it asks for a CPU; here nothing may be needed but the launcher's own variables
    given = {key: value for key, value in environment().items() if key != "ACCELERATE_USE_CPU"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
    return subprocess.Popen(command, cwd=cwd, env=given, text=True, **options)  # type: ignore[call-overload, no-any-return]


def succeeded(command: Sequence[str], cwd: Path) -> str:
    """Runs a launcher to its end; what it printed to standard output."""
    done = finish(launched(command, cwd))
    assert done.code == 0, done.err
    return done.out


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
