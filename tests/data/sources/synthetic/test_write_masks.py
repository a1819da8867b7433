"""The dataset of index masks on disk: what was drawn is what is read, complete or absent, held apart by split."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segtune.core.errors import ConfigError
from segtune.data.check import check_dataset
from segtune.data.sources.masks import MaskFolder
from segtune.data.sources.synthetic.dense_stream import CLASSES, LabelledScenes, scene_labels
from segtune.data.sources.synthetic.drawn_directory import split_sizes
from segtune.data.sources.synthetic.write import draw_asked_scene, write_dataset
from segtune.data.sources.synthetic.write_masks import draw_split_scene, write_masks

SIZES = {"train": 70, "val": 15, "test": 15}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("drawn") / "shapes"
    counts = write_masks(directory, scenes=100, seed=4)
    assert {split: count["images"] for split, count in counts.items()} == SIZES
    assert all(4 <= count["objects"] / count["images"] <= 5 for count in counts.values())
    return directory


def test_what_was_drawn_is_read(dataset: Path) -> None:
    first = 0
    for split, size in SIZES.items():
        source = MaskFolder(dataset, split)
        assert (len(source), source.bad, source.classes) == (size, (), CLASSES["shapes"])
        for index in range(0, size, 5):
            item, scene = source.item(index), draw_split_scene(4, split, index)
            assert item.id == f"scene_{first + index:05d}"
            np.testing.assert_array_equal(item.labels, scene_labels(scene))
            assert np.abs(item.image.astype(float) - scene.image).mean() < 6
        first += size


def test_the_check_has_nothing_to_say(dataset: Path) -> None:
    for name in (str(dataset), f"synth:{dataset}"):
        report = check_dataset(name)
        assert (report.kind, report.bad, report.warnings) == ("masks", (), ())
        assert [split.images for split in report.splits] == list(SIZES.values())


def test_a_viewer_shows_the_classes_apart(dataset: Path) -> None:
    with Image.open(next((dataset / "train/masks").glob("*.png"))) as mask:
        assert mask.mode == "P"
        colours = np.array(mask.getpalette()[:33]).reshape(11, 3)
    apart = np.abs(colours[:, None] - colours[None]).max(axis=2) + 255 * np.eye(11, dtype=int)
    assert colours[0].tolist() == [0, 0, 0]
    assert apart.min() > 40


def test_no_scene_is_drawn_twice(dataset: Path) -> None:
    pictures = [path.read_bytes() for path in dataset.rglob("*.jpg")]
    assert len(set(pictures)) == len(pictures) == 100
    drawn = {draw_split_scene(4, split, 0).image.tobytes() for split in SIZES}
    drawn |= {draw_asked_scene(4, split, 0)[0].image.tobytes() for split in SIZES}
    drawn |= {LabelledScenes("shapes", 1, 4, split).item(0).image.tobytes() for split in ("train", "val")}
    assert len(drawn) == 8


def test_same_seed_same_bytes(dataset: Path, tmp_path: Path) -> None:
    write_masks(tmp_path / "again", scenes=100, seed=4)
    files = [path for path in dataset.rglob("*") if path.is_file()]
    assert len(files) == 202
    for path in files:
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(dataset)).read_bytes()


def test_a_matching_dataset_is_kept_and_another_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "shapes"
    counts = write_masks(place, scenes=10, seed=1)
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    assert write_masks(place, scenes=10, seed=1) == counts
    assert before == {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    for arguments in ({"scenes": 11, "seed": 1}, {"scenes": 10, "seed": 2}):
        with pytest.raises(ConfigError, match="something else"):
            write_masks(place, **arguments)
    with pytest.raises(ConfigError, match="something else"):
        write_dataset(place, scenes=10, seed=1)
    next((place / "val/masks").glob("*.png")).unlink()
    with pytest.raises(ConfigError, match=r"found: 1 of 2 files val/masks/\*\.png"):
        write_masks(place, scenes=10, seed=1)


def test_what_somebody_else_made_is_left_alone(tmp_path: Path) -> None:
    write_dataset(tmp_path / "asked", scenes=10, seed=1)
    with pytest.raises(ConfigError, match=r"found: kind \(not said\), version"):
        write_masks(tmp_path / "asked", scenes=10, seed=1)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"without synth\.json"):
        write_masks(tmp_path / "photos", scenes=10, seed=1)
    (tmp_path / "photos" / "synth.json").write_text(json.dumps(["mine"]))
    with pytest.raises(ConfigError, match="something else"):
        write_masks(tmp_path / "photos", scenes=10, seed=1)
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(ConfigError, match="found: a file"):
        write_masks(tmp_path / "file", scenes=10, seed=1)
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == (tmp_path / "file").read_bytes() == b"mine"


def test_two_that_draw_the_same_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one is done between the look and the rename."""
    counts = write_masks(tmp_path / "shapes", scenes=10, seed=1)
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        (tmp_path / "elsewhere").rename(target) if self.name.startswith(".") else None
        return rename(self, target)

    rename(tmp_path / "shapes", tmp_path / "elsewhere")
    monkeypatch.setattr(Path, "rename", late)
    assert write_masks(tmp_path / "shapes", scenes=10, seed=1) == counts
    assert [path.name for path in tmp_path.iterdir()] == ["shapes"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("segtune.data.sources.synthetic.write_masks.draw_split_scene", fail)
    with pytest.raises(OSError, match="No space"):
        write_masks(tmp_path / "shapes", scenes=10, seed=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"scenes": 2, "seed": 0}, {"scenes": 10, "seed": -1}])
def test_wrong_arguments_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        write_masks(tmp_path / "shapes", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_large_datasets_hold_out_no_more_than_is_needed() -> None:
    assert split_sizes(4000) == {"train": 3700, "val": 150, "test": 150}
