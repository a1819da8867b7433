"""Where scores go: those of other data whose folder has the same name are not replaced."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from tests.factory import tiny_loaded

from segtune.core.files import read_json, write_json
from segtune.core.rundir import RunDir
from segtune.data.config import DataConfig
from segtune.data.prepare import prepare
from segtune.engine.config import EvalConfig
from segtune.engine.scoring import folder_of_scores, score

OURS, THEIRS = "a" * 64, "b" * 64


def _write_questions(place: Path, count: int) -> None:
    place.mkdir(parents=True)
    corners = [[4, 4], [20, 4], [20, 20], [4, 20]]
    for index in range(count):
        Image.new("RGB", (32, 24), (200, 30 * index, 0)).save(place / f"x{index}.png")
        shape = {"label": "target", "shape_type": "polygon", "points": corners}
        write_json(place / f"x{index}.json", {"text": ["the red one"], "is_sentence": False, "shapes": [shape]})


def _scores(place: Path, **content: object) -> Path:
    path = RunDir(place).scores("photos", "val", "forced")
    write_json(path, content)
    return path


def test_scores_of_the_same_data_are_replaced(tmp_path: Path) -> None:
    assert folder_of_scores(tmp_path / "new", "photos", "val", ["forced"], OURS) == tmp_path / "new"
    _scores(tmp_path, data_sha256=OURS)
    assert folder_of_scores(tmp_path, "photos", "val", ["generate", "forced"], OURS) == tmp_path


@pytest.mark.parametrize("content", [{}, {"data_sha256": None}, {"data_sha256": ""}])
def test_scores_from_before_digests_were_kept_are_replaced(tmp_path: Path, content: dict[str, object]) -> None:
    _scores(tmp_path, **content)
    assert folder_of_scores(tmp_path, "photos", "val", ["forced"], OURS) == tmp_path


def test_damaged_scores_are_replaced(tmp_path: Path) -> None:
    _scores(tmp_path).write_text("{")
    assert folder_of_scores(tmp_path, "photos", "val", ["forced"], OURS) == tmp_path


def test_scores_of_other_data_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = _scores(tmp_path, data_sha256=THEIRS)
    place = folder_of_scores(tmp_path, "photos", "val", ["generate", "forced"], OURS)
    assert place == tmp_path / "evaluations" / OURS[:12]
    assert place.is_dir()
    assert str(path) in caplog.text
    assert read_json(path) == {"data_sha256": THEIRS}


def test_two_datasets_of_one_name_are_both_kept(tmp_path: Path) -> None:
    loaded = tiny_loaded()
    settings = EvalConfig(batch_size=2, overlays=0, max_new_tokens=2)
    documents = []
    for owner, count in (("mine", 1), ("yours", 2)):
        _write_questions(tmp_path / owner / "photos" / "val", count)
        data = prepare(f"reasonseg:{tmp_path / owner / 'photos'}@val", DataConfig(train="synth:unused@train"))
        documents += score(loaded, data, tmp_path / "scores", settings, ["forced"])
    files = [tmp_path / "scores" / "eval_photos_val_forced.json"]
    files += (tmp_path / "scores" / "evaluations").glob("*/eval_photos_val_forced.json")
    assert [read_json(file) for file in files] == documents
    assert documents[0]["data_sha256"] != documents[1]["data_sha256"]
