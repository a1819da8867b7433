from __future__ import annotations

from pathlib import Path

import pytest

from segtune.config import load_recipe
from segtune.core.errors import ConfigError
from segtune.core.paths import expanded
from segtune.data.spec import DataSpec

NOBODY = "~no-such-person-here"


def test_a_home_directory_is_meant_by_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/photos") == tmp_path / "photos"
    assert expanded("photos/~") == Path("photos/~")
    run = load_recipe("quickstart", ["run.root=~/runs", "run.export=~/out"]).run
    assert (run.root, run.export) == (str(tmp_path / "runs"), str(tmp_path / "out"))


def test_the_home_of_nobody_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="there is no such home directory"):
        expanded(NOBODY)
    with pytest.raises(ConfigError, match=NOBODY):
        DataSpec.parse(f"reasonseg:{NOBODY}@train")
    with pytest.raises(ConfigError, match=NOBODY):
        DataSpec.parse("reasonseg:photos@train", root=NOBODY)
    with pytest.raises(ConfigError, match=NOBODY):
        load_recipe("quickstart", [f"run.root={NOBODY}"])
