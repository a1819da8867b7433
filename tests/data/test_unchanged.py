"""A run that goes on sees the texts, polygons, masks and pictures it began with, or is refused with what is another."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segtune.core.errors import DataError
from segtune.core.files import read_json, write_json
from segtune.core.rundir import RunDir
from segtune.data.config import DataConfig
from segtune.data.dense.config import DenseDataConfig
from segtune.data.dense.prepare import prepare_dense_splits
from segtune.data.prepare import prepare_splits
from segtune.data.unchanged import digests_of, require_unchanged, write_facts

NAMES = ("a", "b", "c", "d")


def _write(place: Path, split: str, name: str, text: str = "the box", right: int = 6) -> None:
    folder = place / split
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([len(split), ord(name)]).integers(0, 256, (12, 16, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / f"{name}.png")
    shape = {"label": "target", "points": [[2, 2], [right, 2], [right, 8], [2, 8]]}
    content = {"text": [text], "is_sentence": False, "shapes": [shape]}
    (folder / f"{name}.json").write_text(json.dumps(content))


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """Four training pictures and one to validate, each with a question."""
    place = tmp_path / "photos"
    for name in NAMES:
        _write(place, "train", name)
    _write(place, "val", "v")
    return place


def _config(place: Path, **settings: object) -> DataConfig:
    return DataConfig(train=f"reasonseg:{place}@train", val=f"reasonseg:{place}@val", **settings)


def _begun(place: Path, folder: Path) -> RunDir:
    run = RunDir.create(folder / "runs", "one")
    write_facts(run, *prepare_splits(_config(place), 0))
    return run


def _refused(run: RunDir, place: Path) -> str:
    with pytest.raises(DataError) as caught:
        require_unchanged(run, *prepare_splits(_config(place), 0))
    assert caught.value.exit_code == 3
    return str(caught.value)


def _painted(path: Path) -> None:
    pixels = np.asarray(Image.open(path)).copy()
    pixels[5, 5] = 255 - pixels[5, 5]
    Image.fromarray(pixels).save(path)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a text": (lambda place: _write(place, "train", "b", text="the bog"), "1 of 4 changed (b (texts))"),
    "a polygon": (lambda place: _write(place, "train", "c", right=7), "1 of 4 changed (c (masks))"),
    "a picture": (lambda place: _painted(place / "train/a.png"), "1 of 4 changed (a (picture))"),
    "a new one": (lambda place: _write(place, "train", "e"), "4 images, 4 queries -> 5 images, 5 queries: 1 new (e)"),
    "one less": (lambda place: (place / "train/d.json").unlink(), "1 gone (d)"),
    "all texts": (
        lambda place: [_write(place, "train", name, text="a disc") for name in NAMES],
        "4 of 4 changed (a (texts), b (",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_another_is_named(change: str, asked: Path, tmp_path: Path) -> None:
    run = _begun(asked, tmp_path)
    assert require_unchanged(run, *prepare_splits(_config(asked), 0)) == ""
    edit, told = CHANGES[change]
    edit(asked)
    message = _refused(run, asked)
    assert "train: 4 images" in message
    assert told in message
    assert "val:" not in message


def test_a_change_of_the_validation_data_is_told_as_such(asked: Path, tmp_path: Path) -> None:
    run = _begun(asked, tmp_path)
    _write(asked, "val", "v", right=9)
    message = _refused(run, asked)
    assert "val: 1 images, 1 queries, with other contents: 1 of 1 changed (v (masks))" in message
    assert "train:" not in message


def test_what_is_only_written_otherwise_or_lies_elsewhere_is_the_same(asked: Path, tmp_path: Path) -> None:
    run = _begun(asked, tmp_path)
    for path in (asked / "train").glob("*.json"):  # formatted anew, with what nobody reads
        path.write_text(json.dumps({"version": "5", **json.loads(path.read_text())}, indent=4))
        os.utime(path, (1, 1))
    Image.open(asked / "train/a.png").save(asked / "train/a.png", compress_level=1)
    moved = Path(shutil.move(asked, tmp_path / "elsewhere"))
    assert require_unchanged(run, *prepare_splits(_config(moved), 0)) == ""
    assert read_json(run.path / "data.json")["train"]["path"] == str(asked.resolve())


def test_a_run_from_before_says_what_could_not_be_compared(asked: Path, tmp_path: Path) -> None:
    run = _begun(asked, tmp_path)
    facts = read_json(run.path / "data.json")
    for row in facts.values():
        del row["sha256"]
    write_json(run.path / "data.json", facts)
    (run.path / "data_items.json").unlink()
    _write(asked, "train", "b", text="the bog")
    told = require_unchanged(run, *prepare_splits(_config(asked), 0))
    assert told == "train and val: no digest was kept, so contents were not compared"
    _write(asked, "train", "e")
    assert "4 images, 4 queries -> 5 images, 5 queries" in _refused(run, asked)


def test_the_digest_of_the_checkpoint_wins(asked: Path, tmp_path: Path) -> None:
    """Whoever removes or rewrites `data.json` does not get other data in."""
    run, before = _begun(asked, tmp_path), prepare_splits(_config(asked), 0)
    began = digests_of(*before)
    assert began.keys() == {"train", "val"}
    _write(asked, "train", "b", text="the bog")
    after = prepare_splits(_config(asked), 0)
    write_facts(run, *after)
    assert require_unchanged(run, *after) == ""
    with pytest.raises(DataError, match="train: 4 images, 4 queries, with other contents"):
        require_unchanged(run, *after, began=began)
    (run.path / "data.json").unlink()
    with pytest.raises(DataError, match="with other contents"):
        require_unchanged(run, *after, began=began)


def test_masks_are_compared_too(tmp_path: Path) -> None:
    place = tmp_path / "masks"
    for folder in ("images", "masks"):
        (place / "train" / folder).mkdir(parents=True)
    (place / "classes.json").write_text('{"classes": ["background", "red"]}')
    for name in NAMES:
        labels = np.zeros((12, 16), np.uint8)
        labels[:2, :3] = 1
        Image.fromarray(np.full((12, 16, 3), ord(name), np.uint8)).save(place / f"train/images/{name}.png")
        Image.fromarray(labels).save(place / f"train/masks/{name}.png")
    config = DenseDataConfig(train=f"masks:{place}@train")
    run = RunDir.create(tmp_path / "runs", "dense")
    write_facts(run, *prepare_dense_splits(config, 0))
    assert require_unchanged(run, *prepare_dense_splits(config, 0)) == ""
    Image.fromarray(labels[::-1, ::-1].copy()).save(place / "train/masks/c.png")  # as many pixels, elsewhere
    with pytest.raises(DataError, match=r"4 images, with other contents: 1 of 4 changed \(c \(labels\)\)"):
        require_unchanged(run, *prepare_dense_splits(config, 0))


@pytest.mark.parametrize("other", [{"seed": 1}, {"stream_length": 5}, {"queries_per_image": 2}, {"easing_epochs": 3}])
def test_a_stream_is_what_its_parameters_say(other: dict[str, int], tmp_path: Path) -> None:
    def stream(seed: int = 0, **settings: int) -> tuple:
        return prepare_splits(DataConfig(train="stream:attributes@train", **{"stream_length": 4, **settings}), seed)

    run = RunDir.create(tmp_path, "streamed")
    write_facts(run, *stream())
    assert require_unchanged(run, *stream()) == ""
    with pytest.raises(DataError, match="train: "):
        require_unchanged(run, *stream(**other))
