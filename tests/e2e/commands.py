"""Running the real command, and the settings of runs that take a second or two."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

SEGTUNE = Path(sys.executable).parent / "segtune"
BASE, SCENES, RUNS = "base", "scenes", "runs"
TIMEOUT = 240.0


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


def environment() -> dict[str, str]:
    """One thread, no accelerator (its sums are not exact), no hub, and the installed command found by its name."""
    path = f"{SEGTUNE.parent}{os.pathsep}{os.environ['PATH']}"
    changes = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "PATH": path}
    return {**os.environ, **changes}


def start(arguments: Sequence[str], cwd: Path) -> subprocess.Popen[str]:
    """Starts `segtune ARGUMENTS` in a directory, as the head of a process group of its own, as a shell does."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
    return subprocess.Popen([str(SEGTUNE), *arguments], cwd=cwd, env=environment(), text=True, **options)  # type: ignore[call-overload, no-any-return]


def finish(process: subprocess.Popen[str], timeout: float = TIMEOUT) -> Done:
    """Waits for a started command, so many seconds."""
    out, err = process.communicate(timeout=timeout)
    return Done(process.returncode, out, err)


def segtune(arguments: Sequence[str], cwd: Path, timeout: float = TIMEOUT) -> Done:
    """Runs `segtune ARGUMENTS` in a directory, for so many seconds at most."""
    return finish(start(arguments, cwd), timeout)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Waits until something is so while a command runs; fails where it ends or takes too long before."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert process.poll() is None, f"ended with {process.returncode}: {process.communicate()}"
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)


def training(name: str, **changes: object) -> list[str]:
    """The arguments of the small run: three epochs of four steps, enough to say `<SEG>` and paint something.

    Without the BCE so short a training would learn that empty masks are cheap, and tests of masks would test nothing.

    Args:
        name: Of the run.
        changes: Settings, `__` for the dot.
    """
    settings: dict[str, object] = {
        "data.train": f"synth:{SCENES}@train", "data.val": f"synth:{SCENES}@val", "data.queries_per_image": 2,
        "data.synth": "{scenes: 12, seed: 3}",
        "model.base": BASE, "train.epochs": 3, "train.batch_size": 2, "train.log_every": 1, "optim.lr": 5e-3,
        "model.train.llm": "lora", "model.train.embeddings": "frozen", "train.validate_every": 1, "losses.ce": 1.0,
        "optim.rates": "{mask_decoder: 2e-4}", "optim.warmup_steps": 2,
        "losses.bce": 0, "losses.dice": 4, "run.name": name, "run.root": RUNS,
    }  # fmt: skip
    settings |= {key.replace("__", "."): value for key, value in changes.items()}
    return ["train", "quickstart", *(f"{key}={value}" for key, value in settings.items())]
