"""Baselines of an evaluation come from the run's own training data, known by their digest, or are missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.photos import SIZE, write_photos

from segtune.config import AnyConfig, load_recipe
from segtune.core.config import dump_yaml
from segtune.core.files import read_json, write_json
from segtune.core.rundir import RunDir
from segtune.data.dense.prepare import prepare_dense_splits
from segtune.data.prepare import prepare_splits
from segtune.data.sources.synthetic.write import write_dataset
from segtune.data.unchanged import write_facts
from segtune.experiment.own_data import dense_data, reasoning_data, run_of


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def _run(config: AnyConfig) -> Path:
    """A run as far as an evaluation looks at it: its configuration, and what it wrote down about its data."""
    run = RunDir.create("runs", "a")
    run.write_text("config.yaml", dump_yaml(config))
    write_facts(run, *(prepare_dense_splits if config.task == "dense" else prepare_splits)(config.data, 0))
    run.release()
    return run.path.absolute()


def _asked() -> Path:
    write_dataset(Path("scenes"), scenes=10, seed=3)
    return _run(load_recipe("quickstart", ["data.val=null", "train.best=loss", "data.synth={scenes: 10, seed: 3}"]))


def _labelled() -> Path:
    write_photos(Path("photos"))
    settings = ["data.train=masks:photos@train", "data.val=null", "train.best=loss"]
    return _run(load_recipe("shapes", [*settings, f"model.image_size={list(SIZE)}"]))


def test_they_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _asked()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    write_dataset(Path("scenes"), scenes=10, seed=4)  # others, under the name that the configuration gives
    found = reasoning_data(str(run))
    assert found.missing == ""
    assert found.data is not None
    assert found.data.spec.location == str(tmp_path / "here/scenes")
    shutil.rmtree(tmp_path / "here/scenes")
    found = reasoning_data(str(run))
    assert found.data is None
    assert found.missing == "synth:scenes@train holds other data than the run was trained on"
    shutil.rmtree("scenes")
    missing = reasoning_data(str(run)).missing
    assert missing == f"the training data of the run are no longer at {tmp_path / 'here/scenes'}"
    assert not Path("scenes").exists(), "drawn afresh"
    write_dataset(Path("scenes"), scenes=10, seed=3)  # the same data, here
    assert reasoning_data(str(run)).data is not None


def test_changed_labels_are_not_those_of_the_run() -> None:
    run = _labelled()
    data = dense_data(str(run)).data
    assert data is not None
    assert len(data.source) == 8
    shutil.copy("photos/train/masks/train1.png", "photos/train/masks/train2.png")
    found = dense_data(str(run))
    assert found.data is None
    assert "holds other data than the run was trained on" in found.missing


def test_a_run_from_before_and_no_run_at_all() -> None:
    run = _labelled()
    facts = read_json(run / "data.json")
    del facts["train"]["sha256"]
    write_json(run / "data.json", facts)
    assert "from before digests were kept" in dense_data(str(run)).missing
    (run / "data.json").write_text("[]")
    assert "from before digests were kept" in dense_data(str(run)).missing
    for found in (dense_data("segtune/tiny"), reasoning_data("segtune/tiny")):
        assert found.data is None
        assert "belongs to no run" in found.missing
    assert (reasoning_data(str(run)).data, reasoning_data(str(run)).missing) == (None, "")


def test_a_stream_has_no_means_and_misses_none() -> None:
    run = _run(load_recipe("tiny-base", ["data.train=stream:attributes@train", "run.export=null"]))
    found = reasoning_data(str(run))
    assert (found.data, found.missing) == (None, "")


def test_the_run_of_a_checkpoint_in_it() -> None:
    run = _labelled()
    for place in ("last", "steps/step-7"):
        checkpoint = run / "checkpoints" / place
        checkpoint.mkdir(parents=True)
        (checkpoint / "manifest.json").touch()
        assert run_of(str(checkpoint)) == run
    assert run_of(f"{run}@last") == run
    assert run_of("segtune/tiny") is None
