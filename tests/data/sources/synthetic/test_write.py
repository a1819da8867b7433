"""The dataset on disk: exact layout, targets that paint back, complete or absent, held apart by split."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from segtune.config import load_recipe
from segtune.core.errors import ConfigError
from segtune.data.sources.synthetic.keywords import KEY_WORDS, words_of
from segtune.data.sources.synthetic.write import draw_asked_scene, write_dataset

KEYS = {"text", "is_sentence", "kind", "shapes"}
SHAPE_KEYS = {"label", "labels", "shape_type", "image_name", "points", "group_id", "group_ids", "flags"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("synth") / "scenes"
    write_dataset(directory, scenes=300, seed=4)
    return directory


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded dataset as the recipe `quickstart` draws it."""
    settings = load_recipe("quickstart").data.synth
    directory = tmp_path_factory.mktemp("shipped") / "scenes"
    write_dataset(directory, scenes=settings.scenes, seed=settings.seed)
    return directory


def paint(shapes: list[dict], size: tuple[int, int]) -> np.ndarray:
    """The reference rule: one by one, largest painted area first, outline and fill."""

    def draw(canvas: np.ndarray, shape: dict, value: int) -> np.ndarray:
        points = np.array([shape["points"]], dtype=np.int32)
        cv2.polylines(canvas, points, True, value, 1)
        cv2.fillPoly(canvas, points, value)
        return canvas

    def area(shape: dict) -> int:
        return int(draw(np.zeros(size, np.uint8), shape, 1).sum())

    target = np.zeros(size, np.uint8)
    for shape in sorted(shapes, key=area, reverse=True):
        draw(target, shape, 255 if "ignore" in shape["label"] else 1)
    return target


def test_files_have_exactly_the_layout(dataset: Path) -> None:
    made = json.loads((dataset / "synth.json").read_text())
    for split, count in made["counts"].items():
        paths = sorted((dataset / split).glob("*.json"))
        assert len(paths) == count["files"] == len(list((dataset / split).glob("*.jpg")))
        assert {path.suffix for path in (dataset / split).iterdir()} == {".json", ".jpg"}
        queries = 0
        for path in paths:
            content = json.loads(path.read_text(encoding="utf-8"))
            assert set(content) == KEYS
            assert isinstance(content["is_sentence"], bool)
            assert len(content["text"]) == len(set(content["text"])) >= 1
            assert all(isinstance(text, str) for text in content["text"])
            queries += len(content["text"])
            for shape in content["shapes"]:
                assert set(shape) == SHAPE_KEYS
                assert shape["labels"] == [shape["label"]]
                assert shape["label"] in ("target", "ignore")
                assert shape["image_name"] == f"{path.stem}.jpg"
                assert len(shape["points"]) >= 3
                assert np.isfinite(shape["points"]).all()
        assert queries == count["queries"]
        low, high = (10, 10) if split == "train" else (4, 5)
        assert low <= queries / count["scenes"] <= high


def test_targets_paint_back_to_the_visible_masks(dataset: Path) -> None:
    ignored = with_ignore = total = 0
    for index in range(45):
        scene, asked, _ = draw_asked_scene(4, "val", index)
        stem = f"scene_{210 + index:05d}"
        by_text = {query.text: query for query in asked}
        for path in sorted((dataset / "val").glob(f"{stem}_*.json")):
            content = json.loads(path.read_text(encoding="utf-8"))
            pixels = np.array(Image.open(path.with_suffix(".jpg"))).astype(float)
            assert pixels.shape == scene.image.shape
            assert np.abs(pixels - scene.image).mean() < 6
            queries = [by_text.pop(text) for text in content["text"]]
            assert {(q.index, q.kind, q.is_sentence) for q in queries} == {
                (queries[0].index, content["kind"], content["is_sentence"])
            }
            target = paint(content["shapes"], pixels.shape[:2])
            mask = scene.objects[queries[0].index].mask
            counted = target != 255
            union = ((target == 1) | mask) & counted
            assert ((target == 1) & mask).sum() / union.sum() >= 0.93
            assert (mask & counted).sum() > 0.5 * mask.sum()
            total += 1
            with_ignore += bool((~counted).any())
            ignored += (~counted).mean()
        assert not by_text, "a question was lost"
    assert 0.05 < with_ignore / total < 0.3
    assert ignored / total < 0.01


def test_files_of_a_scene_share_their_pixels(dataset: Path) -> None:
    for split in ("train", "val", "test"):
        pixels, texts = defaultdict(set), defaultdict(list)
        for path in (dataset / split).glob("*.jpg"):
            pixels[path.stem[:-2]].add(path.read_bytes())
            texts[path.stem[:-2]] += json.loads(path.with_suffix(".json").read_text())["text"]
        assert all(len(one) == 1 for one in pixels.values())
        assert len(set.union(*pixels.values())) == len(pixels)
        assert all(len(set(one)) == len(one) for one in texts.values())


def test_splits_share_neither_scenes_nor_texts_and_train_teaches_the_words(shipped: Path) -> None:
    pixels, texts, words = {}, {}, {}
    for split in ("train", "val", "test"):
        pixels[split] = {path.read_bytes() for path in (shipped / split).glob("*.jpg")}
        contents = [json.loads(path.read_text()) for path in (shipped / split).glob("*.json")]
        texts[split] = {text for content in contents for text in content["text"]}
        words[split] = Counter(word for text in texts[split] for word in words_of(text))
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not pixels[a] & pixels[b]
        assert not texts[a] & texts[b]
    for split in ("val", "test"):
        assert all(words["train"][word] >= 3 for word in words[split] if word in KEY_WORDS)


def test_same_seed_same_bytes(dataset: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "again", scenes=300, seed=4)
    for path in sorted(dataset.rglob("*.j*")):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(dataset)).read_bytes()


def test_a_matching_dataset_is_kept_and_another_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "scenes"
    counts = write_dataset(place, scenes=10, seed=1)
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    assert write_dataset(place, scenes=10, seed=1) == counts
    assert before == {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    for arguments in ({"scenes": 11, "seed": 1}, {"scenes": 10, "seed": 2}):
        with pytest.raises(ConfigError, match="something else"):
            write_dataset(place, **arguments)
    next((place / "train").glob("*.jpg")).unlink()
    with pytest.raises(ConfigError, match=r"of \d+ files train/"):
        write_dataset(place, scenes=10, seed=1)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"without synth\.json"):
        write_dataset(tmp_path / "photos", scenes=10, seed=1)
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"mine"


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("segtune.data.sources.synthetic.write._jpeg", fail)
    with pytest.raises(OSError, match="No space"):
        write_dataset(tmp_path / "scenes", scenes=10, seed=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"scenes": 2, "seed": 0},
        {"scenes": 10, "seed": -1},
        {"scenes": 10, "seed": 0, "splits": {"train": 0.5, "val": 0.2}},
        {"scenes": 10, "seed": 0, "splits": {"train": 0.5, "dev": 0.5}},
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(ConfigError):
        write_dataset(tmp_path / "scenes", **wrong)
    assert list(tmp_path.iterdir()) == []
