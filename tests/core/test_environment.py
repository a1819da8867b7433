from __future__ import annotations

import json
import subprocess
import sys


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
