"""What a run was made with: machine, Python, package versions and commit, told without importing anything heavy."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from segtune.core.os_errors import text_of

PACKAGES = (
    "segtune",
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "safetensors",
    "tokenizers",
    "numpy",
    "pillow",
    "opencv-python-headless",
    "pydantic",
    "bitsandbytes",
    "torchvision",
)
_VARIABLES = (
    "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES",
    # they hold PyTorch to older instructions, which round otherwise
    "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS",
)  # fmt: skip


def process_rank() -> int:
    """The number that a launcher (torchrun, accelerate) has given this process, from 0; 0 where it started no other."""
    return int(os.environ.get("RANK", "0")) if int(os.environ.get("WORLD_SIZE", "1")) > 1 else 0


def command_prefix() -> str:
    """How this program is called from the current folder in this shell, for commands that a message offers.

    Returns:
        `segtune` where the shell finds this very installation by that name; else the path of its script, from the
        current folder where it lies below it (`.venv/bin/segtune`); `PYTHON -m segtune` where there is no script.
    """
    beside = Path(sysconfig.get_path("scripts")) / "segtune"
    started = Path(sys.argv[0])
    script = started if started.name == "segtune" and started.is_file() else beside
    found = shutil.which("segtune")
    with contextlib.suppress(OSError):
        if found is not None and os.path.samefile(found, script):
            return "segtune"
    if not script.is_file():
        return f"{shlex.quote(sys.executable)} -m segtune"
    near = os.path.relpath(script)
    if near.startswith(os.pardir):
        return shlex.quote(os.path.abspath(script))
    return shlex.quote(near if os.sep in near else os.path.join(os.curdir, near))


def blames_torchvision(error: BaseException) -> bool:
    """Whether an error comes from a torchvision that is installed; without one, a message may still ask for it."""
    return "torchvision" in text_of(error) and importlib.util.find_spec("torchvision") is not None


def describe() -> dict[str, Any]:
    """Describes this process and its machine.

    Returns:
        Plain JSON data: `time` (UTC, ISO 8601), `python`, `executable`, `platform`, `cpu`, `cores` (those this process
        may use), `memory_bytes`, `variables` (settings of threads and instructions that are set), `instructions` (those
        that PyTorch uses on the CPU, `AVX512` for example; as `devices`), `packages` (version, or null when missing),
        `commit` (of the source tree, null for an installed package; `-dirty` when changed) and `devices`
        (names of accelerators, only where torch is already imported; else null).
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": _memory(),
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "instructions": _instructions(),
        "packages": {name: _version(name) for name in PACKAGES},
        "commit": _commit(Path(__file__).resolve().parents[3]),
        "devices": _devices(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def _commit(root: Path) -> str | None:
    """The commit of the source tree at `root`; null when it only lies inside somebody else's repository."""
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        """What a git command prints in `root`."""
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _instructions() -> str | None:
    torch = sys.modules.get("torch")
    return None if torch is None else str(torch.backends.cpu.get_cpu_capability())


def _devices() -> list[str] | None:
    torch = sys.modules.get("torch")  # not imported here: that alone takes seconds
    if torch is None:
        return None
    if torch.cuda.is_available():
        return [str(torch.cuda.get_device_name(index)) for index in range(torch.cuda.device_count())]
    return []
