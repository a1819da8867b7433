"""Which data a run used is told with their folder."""

from __future__ import annotations

from tests.reports.conftest import MakeRun

from segtune.core.files import write_json
from segtune.core.rundir import RunDir
from segtune.reports.card import model_card
from segtune.reports.columns import about
from segtune.reports.documents import data_name
from segtune.reports.facts import read_run

ROW = {"data": "reasonseg:.@train", "kind": "reasonseg", "path": "/home/photos", "split": "train", "sha256": "ab" * 32}


def test_a_dataset_is_named_with_its_folder() -> None:
    assert data_name(ROW, "reasonseg:.@train") == "reasonseg:/home/photos@train"
    assert data_name({**ROW, "split": ""}) == "reasonseg:/home/photos"
    assert data_name({"data": "stream:shapes@train", "kind": "stream", "path": None}) == "stream:shapes@train"
    assert data_name({"data": "synth:scenes@train"}, "other") == "synth:scenes@train"  # a run from before
    assert data_name(None, "synth:scenes@train") == "synth:scenes@train"
    assert data_name([], None) is None


def test_report_and_card_name_the_data_that_were_used(make_run: MakeRun) -> None:
    model = {"base": "segtune/tiny", "vlm": None, "mask_model": None, "mask_features": "encoder"}
    train = {"epochs": 4, "best": "val_gIoU", "best_goal": None, "batch_size": 2}
    run = RunDir.open(make_run("a", config={"model": model, "train": train}))
    write_json(run.path / "data.json", {"train": ROW, "val": {**ROW, "split": "val"}})
    told = about(read_run(run.path))
    assert told["training data"] == "reasonseg:/home/photos@train"
    assert told["validation data"] == "reasonseg:/home/photos@val"
    card = model_card(run)
    assert "train `reasonseg:/home/photos@train` (sha256 `abababababab`)" in card
    assert "validation `reasonseg:/home/photos@val`" in card
