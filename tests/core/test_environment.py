from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from segtune.core.environment import blames_torchvision, command_prefix, process_rank

ROOT = Path(__file__).resolve().parents[2]


def test_describes_the_machine_without_torch() -> None:
    code = (
        "import json, sys; from segtune.core.environment import describe; "
        "print(json.dumps(describe())); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["python"] == ".".join(str(part) for part in sys.version_info[:3])
    assert found["packages"]["torch"]
    assert found["packages"]["torchvision"] is None
    assert found["cores"] >= 1
    assert found["devices"] is None


def test_a_process_has_a_number_only_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert process_rank() == 0
    monkeypatch.setenv("RANK", "1")  # left behind in a shell: nothing was launched, so nothing may fall silent
    assert process_rank() == 0
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert process_rank() == 1


# --- commands that a message offers are those that work in this shell


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script `segtune` in a folder of its own, as in a fresh clone; nothing of that name is on the PATH."""
    script = tmp_path / "clone" / ".venv" / "bin" / "segtune"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\necho called\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(script)])
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(script.parents[2])
    return script


def _runs(prefix: str) -> bool:
    done = subprocess.run(["/bin/sh", "-c", prefix], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout == "called\n"


def test_a_script_that_the_shell_does_not_find_is_named_by_its_path(
    installation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command_prefix() == ".venv/bin/segtune"
    assert _runs(command_prefix())
    for folder in (installation.parent, installation.parents[3]):
        monkeypatch.chdir(folder)
        assert _runs(command_prefix())
    monkeypatch.chdir("/")
    shutil.move(installation.parents[2], installation.parents[3] / "a clone")
    moved = installation.parents[3] / "a clone" / ".venv" / "bin" / "segtune"
    monkeypatch.setattr(sys, "argv", [str(moved)])
    assert _runs(command_prefix())


def test_a_script_that_the_shell_finds_has_its_name_alone(installation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{installation.parent}:/usr/bin:/bin")
    assert command_prefix() == "segtune"
    other = installation.parents[2] / "other"
    other.mkdir()
    shutil.copy(installation, other)  # another installation, found first
    monkeypatch.setenv("PATH", f"{other}:{installation.parent}")
    assert command_prefix() == ".venv/bin/segtune"


def test_without_a_script_it_is_the_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["-c"])
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command_prefix() == f"{sys.executable} -m segtune"


def test_what_a_command_offers_next_runs_as_it_is_printed(tmp_path: Path) -> None:
    """With nothing of the environment on the PATH, as after `make`; with it activated as the README says."""
    scripts = Path(sysconfig.get_path("scripts"))
    if not (scripts / "segtune").is_file() or not (scripts / "activate").is_file():
        pytest.skip("segtune is not installed into a virtual environment")
    clean = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "src"), "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}

    def shell(line: str) -> str:
        command = ["/bin/bash", "-c", line]
        done = subprocess.run(
            command, cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    printed = shell(f"{shlex.quote(str(scripts / 'segtune'))} data synth scenes --scenes 10")
    offered = printed.partition("try next:\n")[2]
    assert offered.split()[0].endswith(f"{os.sep}segtune")
    assert "scenes" in shell(offered)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```", readme, re.M | re.S) for line in block.splitlines()]
    first = next(index for index, line in enumerate(lines) if line.startswith("segtune "))
    assert lines[first - 1].startswith("source .venv/bin/activate ")
    shell(f"source {shlex.quote(str(scripts / 'activate'))} && segtune --version")


def test_a_torchvision_that_is_not_there_is_not_to_blame(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ImportError("this processor needs the torchvision library")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not blames_torchvision(error)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert blames_torchvision(error)
    assert not blames_torchvision(ImportError("something else"))
