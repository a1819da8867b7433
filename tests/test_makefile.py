"""What `make train` and `make test` say on a machine that is not ready, and that they install only once."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
OLD = '#!/bin/sh\n[ "$1" = -V ] && { echo "Python 3.8.10"; exit 0; }\nexit 1\n'
NO_VENV = '#!/bin/sh\ncase "$2" in *version_info*) exit 0;; esac\nexit 1\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "a clone"
    root.mkdir()
    shutil.copytree(ROOT / "scripts", root / "scripts")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, root)
    return root


def _setup(checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    bash = shutil.which("bash")
    assert bash
    command = [bash, "scripts/setup.sh", "train"]
    return subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def _fake_python(tmp_path: Path, script: str) -> str:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "python3").write_text(script)
    (folder / "python3").chmod(0o755)
    return str(folder)


def test_an_old_python_is_one_clear_message(checkout: Path, tmp_path: Path) -> None:
    done = _setup(checkout, PATH=_fake_python(tmp_path, OLD))
    assert done.returncode == 2
    assert "needs Python 3.11 or newer; found: python3 (Python 3.8.10)" in done.stderr
    assert "make train PYTHON=" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_no_python_at_all(checkout: Path, tmp_path: Path) -> None:
    done = _setup(checkout, PATH=str(tmp_path))
    assert done.returncode == 2
    assert "found: none" in done.stderr


def test_a_python_without_venv_says_what_to_install(checkout: Path, tmp_path: Path) -> None:
    done = _setup(checkout, PATH=_fake_python(tmp_path, NO_VENV))
    assert done.returncode == 2
    assert "python3-venv" in done.stderr


def test_the_named_python_wins_and_a_full_disk_is_one_message(checkout: Path, tmp_path: Path) -> None:
    path = f"{_fake_python(tmp_path, OLD)}:{os.environ['PATH']}"
    done = _setup(checkout, PATH=path, PYTHON=sys.executable, SEGTUNE_NEEDED_BYTES=str(10**18))
    assert done.returncode == 1
    assert "not enough free disk space" in done.stderr
    assert "fix:" in done.stderr
    assert not (checkout / ".venv").exists()


@pytest.fixture
def installer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("segtune_install", ROOT / "scripts" / "install.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.delenv("TORCH", raising=False)
    monkeypatch.delenv("SEGTUNE_NEEDED_BYTES", raising=False)
    monkeypatch.setattr(module, "has_gpu", lambda: False)
    monkeypatch.setattr(module, "check_space", lambda root, needed: None)
    return module


class _Pip:
    """Stands for pip: records what is asked and fails where told to."""

    def __init__(self, *failures: str) -> None:
        self.failures, self.calls = list(failures), []

    def __call__(self, root: Path, arguments: list[str]) -> tuple[int, str]:
        self.calls.append(arguments[2:])
        problem = self.failures.pop(0) if self.failures else ""
        return (1 if problem else 0), problem


def _fake_venv(root: Path) -> None:
    (root / ".venv" / "bin").mkdir(parents=True, exist_ok=True)
    (root / ".venv" / "bin" / "python").touch()


@pytest.fixture
def pip(installer: ModuleType, monkeypatch: pytest.MonkeyPatch) -> _Pip:
    fake = _Pip()
    monkeypatch.setattr(installer, "run_pip", fake)
    monkeypatch.setattr(installer, "make_venv", _fake_venv)
    return fake


NOT_FOUND = "ERROR: Could not find a version that satisfies the requirement torch==2.13.0+cpu\n"


def test_a_second_run_does_not_reinstall(installer: ModuleType, pip: _Pip, checkout: Path) -> None:
    assert installer.main("train", checkout) == 0
    assert [call[-1] for call in pip.calls] == ["torch==2.13.0+cpu", "."]
    assert installer.main("train", checkout) == 0
    assert len(pip.calls) == 2
    assert installer.main("test", checkout) == 0
    assert pip.calls[-1] == ["-e", ".[dev,search]"]
    count = len(pip.calls)
    assert installer.main("train", checkout) == 0  # tests need all that training needs
    assert len(pip.calls) == count
    assert installer.main("slow", checkout) == 0
    assert pip.calls[-1] == ["-e", ".[dev,search,quant]"]
    count = len(pip.calls)
    assert installer.main("test", checkout) == 0  # the slow tests need all that the fast ones need
    assert len(pip.calls) == count
    with (checkout / "constraints.txt").open("a") as file:
        file.write("# changed\n")
    assert installer.main("train", checkout) == 0
    assert len(pip.calls) == count + 2


def test_a_failed_installation_is_tried_again(
    installer: ModuleType, pip: _Pip, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pip.failures = ["", "OSError: [Errno 28] No space left on device"]
    assert installer.main("train", checkout) == 1
    assert "the disk is full" in capsys.readouterr().err
    assert installer.main("train", checkout) == 0
    assert len(pip.calls) == 4


def test_the_cpu_index_is_the_second_try(installer: ModuleType, pip: _Pip, checkout: Path) -> None:
    pip.failures = [NOT_FOUND]
    assert installer.main("train", checkout) == 0
    assert pip.calls[0] == ["torch==2.13.0+cpu"]
    assert pip.calls[1][:3] == ["torch==2.13.0+cpu", "--extra-index-url", "https://download.pytorch.org/whl/cpu"]


def test_no_torch_anywhere_is_explained(
    installer: ModuleType, pip: _Pip, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pip.failures = [NOT_FOUND, NOT_FOUND]
    assert installer.main("train", checkout) == 1
    message = capsys.readouterr().err
    assert "no build of torch==2.13.0 was found" in message
    assert "make train TORCH=torch==2.13.0" in message


def test_a_gpu_takes_the_plain_build_and_a_user_any(
    installer: ModuleType, pip: _Pip, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installer, "has_gpu", lambda: True)
    installer.install_torch(checkout, gpu=True)
    monkeypatch.setenv("TORCH", "torch==2.13.0 --index-url https://example.org/cu126")
    installer.install_torch(checkout, gpu=True)
    assert pip.calls == [["torch==2.13.0"], ["torch==2.13.0", "--index-url", "https://example.org/cu126"]]


def test_a_foreign_folder_is_never_cleared(installer: ModuleType, checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "thesis.txt").write_text("precious")
    with pytest.raises(installer.SetupError, match="not a virtual environment"):
        installer.make_venv(checkout)
    assert (checkout / ".venv" / "thesis.txt").exists()
