from __future__ import annotations

import os
from pathlib import Path

import pytest

from segtune.config import load_recipe
from segtune.core.errors import CheckpointError, ConfigError, DataError
from segtune.core.paths import expanded, require_utf8_path
from segtune.core.rundir import RunDir
from segtune.data.check import check_dataset
from segtune.data.spec import DataSpec
from segtune.engine.dense_loading import absolute_paths
from segtune.engine.loading import settle_base
from segtune.models.config import ModelConfig
from segtune.models.dense.config import DenseModelConfig

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


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory lies below a folder whose name is not UTF-8, as a foreign ZIP leaves it."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/d\xff"))
    try:
        (folder / "photos" / "train").mkdir(parents=True)
    except OSError:
        pytest.skip("this file system takes no such name")
    (folder / "photos" / "train" / "a.json").write_text("{}")
    monkeypatch.chdir(folder)
    return folder


def test_data_below_a_folder_that_is_not_utf8_are_refused(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = "the whole path of the dataset holds half of a character.*\n.*\n.*U\\+DCFF"
    for name in ("photos", "reasonseg:photos@train", "synth:new"):
        with pytest.raises(DataError, match=told):
            DataSpec.parse(name)
    with pytest.raises(DataError, match="whole path of the data root"):
        DataSpec.parse("stream:attributes", root=".")
    monkeypatch.chdir("photos")
    with pytest.raises(DataError, match=told):
        check_dataset(".")
    (odd.parent / "link").symlink_to(odd / "photos")
    with pytest.raises(DataError, match=told):
        check_dataset(odd.parent / "link")
    assert DataSpec.parse("stream:attributes").kind == "stream"


def test_runs_and_models_below_such_a_folder_are_refused(odd: Path) -> None:
    with pytest.raises(ConfigError, match="whole path of the run"):
        RunDir.create("runs", "first")
    assert not Path("runs").exists()
    with pytest.raises(ConfigError, match="whole path of the run"):
        RunDir.create(odd.parent / "runs", "\udcff")
    with pytest.raises(CheckpointError, match="whole path of the base"):
        settle_base(ModelConfig(base="photos"), None, 0, Path())
    assert settle_base(ModelConfig(base="segtune/tiny"), None, 0, Path()).base == "segtune/tiny"
    with pytest.raises(CheckpointError, match=r"whole path of model\.start"):
        absolute_paths(DenseModelConfig(start="photos@last"))


def test_other_paths_pass(tmp_path: Path) -> None:
    for path in (tmp_path / "föto", "nothing\0", "~"):
        require_utf8_path(path, str(path), what="it", error=ConfigError)
