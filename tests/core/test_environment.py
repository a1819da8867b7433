from __future__ import annotations

import json
import subprocess
import sys

import pytest

from segtune.core.environment import process_rank


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
