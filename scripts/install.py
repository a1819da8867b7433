"""Makes or refreshes `.venv`: torch first (the CPU build where there is no NVIDIA GPU), then segtune, both pinned.

Run by `make train`, `make test` and `make test-slow` through `scripts/setup.sh`. A stamp in `.venv` holds what was
installed from which files, so that a second run has nothing to do. Needs nothing but the standard library.

Environment: `TORCH` replaces what is given to pip for torch (`TORCH="torch==2.13.0 --index-url ..."`);
`SEGTUNE_NEEDED_BYTES` replaces the free space that is asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
NEEDED_BYTES = 3_000_000_000  # measured: 1.7 GB installed, and what pip unpacks on the way
NEEDED_BYTES_GPU = 10_000_000_000  # the CUDA libraries
EXTRAS = {"train": "", "test": "[dev,search]", "slow": "[dev,search,quant]"}
"""What is installed for each kind, least first: each has all that those before it have."""


class SetupError(Exception):
    """Something the reader has to mend; the text says how."""


def main(kind: str, root: Path) -> int:
    """Installs what is missing.

    Args:
        kind: `train` (the package), `test` (and what its tests need: the extras `dev` and `search`) or `slow` (and the
            extra `quant`).
        root: The checkout.

    Returns:
        The exit code: 0 ready, 1 failed.
    """
    try:
        if not is_current(kind, root):
            install(kind, root)
        remove_torchvision(root)
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the next call goes on from here", file=sys.stderr)
        return 130
    return 0


def is_current(kind: str, root: Path) -> bool:
    """Whether the stamp says that all that `kind` needs is installed from the files as they are."""
    try:
        stamp = json.loads(_stamp(root).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    kinds = list(EXTRAS)
    enough = stamp.get("kind") in kinds[kinds.index(kind) :]
    return enough and stamp.get("key") == _key(root) and _python(root).exists()


def install(kind: str, root: Path) -> None:
    """Makes the environment and installs into it; raises SetupError with what to do."""
    gpu = has_gpu()
    check_space(root, NEEDED_BYTES_GPU if gpu else NEEDED_BYTES)
    make_venv(root)
    print(f"installing into {_venv(root)} (once; some minutes)", flush=True)
    install_torch(root, gpu=gpu)
    code, problem = run_pip(root, ["-c", "constraints.txt", "-e", f".{EXTRAS[kind]}"])
    if code:
        raise SetupError(explain(problem, root))
    _stamp(root).write_text(json.dumps({"kind": kind, "key": _key(root)}), encoding="utf-8")


def has_gpu() -> bool:
    """Whether `nvidia-smi` lists a GPU."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listed.returncode == 0 and "GPU" in listed.stdout


def check_space(root: Path, needed: int) -> None:
    """Refuses to start what cannot end: raises SetupError where less than `needed` bytes are free."""
    needed = int(os.environ.get("SEGTUNE_NEEDED_BYTES", needed))
    free = shutil.disk_usage(root).free
    if _python(root).exists():
        needed //= 3  # most of it is there
    if free < needed:
        raise SetupError(
            f"not enough free disk space: installing needs about {needed / 1e9:.1f} GB in {root}, "
            f"{free / 1e9:.1f} GB are free.\n  fix: free some (`pip cache purge` often gives gigabytes), "
            "or clone onto a larger disk"
        )


def make_venv(root: Path) -> None:
    """Makes `.venv` with this Python, unless there is a working one."""
    venv, python = _venv(root), _python(root)
    if python.exists():
        version = subprocess.run(
            [python, "-c", "import sys, pip; print(sys.version_info >= (3, 11))"],
            capture_output=True,
            text=True,
            check=False,
        )
        if version.stdout.strip() == "True":
            return
    if venv.exists() and not (venv / "pyvenv.cfg").exists() and any(venv.iterdir()):
        raise SetupError(f"{venv} is not a virtual environment.\n  fix: move it away, then call this again")
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", venv], stderr=subprocess.PIPE, text=True, check=False
    )
    if made.returncode:
        raise SetupError(explain(made.stderr, root))


def install_torch(root: Path, *, gpu: bool) -> None:
    """Installs the pinned torch; raises SetupError when no build of it is found."""
    version = re.search(r"^torch==(\S+)$", (root / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    if version is None:
        raise SetupError("constraints.txt does not pin torch")
    plain = f"torch=={version[1]}"
    if os.environ.get("TORCH"):
        attempts = [shlex.split(os.environ["TORCH"])]
    elif gpu or not sys.platform.startswith("linux"):
        attempts = [[plain]]
    else:
        # most mirrors lack the CPU build, which only the project's own index has; pip passes over it when unreachable
        attempts = [[f"{plain}+cpu"], [f"{plain}+cpu", "--extra-index-url", CPU_INDEX, "--retries", "1"]]
    problem = ""
    for attempt in attempts:
        code, problem = run_pip(root, ["-c", "constraints.txt", *attempt])
        if not code:
            return
        if not _not_found(problem):
            raise SetupError(explain(problem, root))
    raise SetupError(
        f"no build of {plain} was found for Python {sys.version_info[0]}.{sys.version_info[1]}.\n"
        f"  found: {_last_error(problem)}\n"
        f"  fix: let this machine reach {CPU_INDEX} or a mirror of it (PIP_EXTRA_INDEX_URL=...), "
        f"or take the CUDA build from PyPI, about 5 GB: make train TORCH={plain}"
    )


def run_pip(root: Path, arguments: list[str]) -> tuple[int, str]:
    """Runs `pip install` in the environment; its progress goes to standard output.

    Returns:
        The exit code and what pip wrote to standard error.
    """
    command = [str(_python(root)), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", *arguments]
    done = subprocess.run(command, cwd=root, stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stderr or ""


def remove_torchvision(root: Path) -> None:
    """Takes torchvision out of the environment: beside a CPU-only torch it breaks the import of transformers."""
    if not list(_venv(root).glob("lib/python*/site-packages/torchvision-*")):
        return
    command = [str(_python(root)), "-m", "pip", "uninstall", "--yes", "--quiet", "torchvision"]
    if subprocess.run(command, cwd=root, check=False).returncode:
        raise SetupError(
            "torchvision is installed in .venv and breaks the import of transformers.\n"
            "  fix: .venv/bin/python -m pip uninstall torchvision"
        )
    print("torchvision removed from .venv: segtune does without it, and it breaks the import of transformers")


def explain(problem: str, root: Path) -> str:
    """What pip or venv wrote, as one message with what to do."""
    if "No space left on device" in problem:
        free = shutil.disk_usage(root).free / 1e9
        return (
            f"the disk is full ({free:.1f} GB free in {root}; pip also unpacks into the temporary folder).\n"
            "  fix: free some space, or give pip another folder: TMPDIR=/some/large/folder make train"
        )
    if _not_found(problem) or "Connection" in problem:
        return (
            f"a package could not be fetched: {_last_error(problem)}\n"
            "  fix: check the network, or point pip at a mirror: PIP_INDEX_URL=https://... make train"
        )
    return f"the installation failed.\n{problem.strip()[-2000:]}"


def _not_found(problem: str) -> bool:
    return "No matching distribution" in problem or "Could not find a version" in problem


def _last_error(problem: str) -> str:
    lines = [line for line in problem.splitlines() if line.startswith("ERROR")]
    return lines[-1].removeprefix("ERROR: ") if lines else problem.strip()[-200:]


def _venv(root: Path) -> Path:
    return root / ".venv"


def _python(root: Path) -> Path:
    return _venv(root) / "bin" / "python"


def _stamp(root: Path) -> Path:
    return _venv(root) / ".segtune-stamp.json"


def _key(root: Path) -> str:
    digest = hashlib.sha256(str(root).encode())  # an editable installation names the folder
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in EXTRAS:
        sys.exit(f"usage: install.py {'|'.join(EXTRAS)}")
    sys.exit(main(sys.argv[1], Path(__file__).resolve().parent.parent))
