"""Damaged annotations are refused by name, told, or read as what they now say; never otherwise, and never a crash."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests import mutations
from tests.mutations import (
    FOREIGN,
    Layout,
    Mutation,
    Reading,
    by_outcome,
    byte_mutations,
    edited,
    encoding_mutations,
    flipped,
    json_mutations,
    run,
)

from segtune.core.errors import DataError
from segtune.core.records import IGNORE
from segtune.data.bad_items import one_line
from segtune.data.sources import reasonseg
from segtune.data.sources.coco import CocoInstances
from segtune.data.sources.masks import MaskFolder
from segtune.data.sources.reasonseg import ReasonSeg
from segtune.ops.masks import PolygonShape, paint_target
from segtune.ops.polygons import fill_polygons

HEIGHT, WIDTH = 30, 40
SQUARE, TRIANGLE = [[4, 5], [20, 5], [20, 22], [4, 22]], [[25, 3], [38, 4], [30, 28]]


def _picture(path: Path, colour: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), colour, np.uint8)).save(path)


def _json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


# Questions: `a.json` says all that LabelMe and ReasonSeg say, `b.json` lies beside it and must stay as it is.


def _write_questions(folder: Path) -> None:
    shapes = [
        {"label": "target", "points": SQUARE, "shape_type": "polygon", "group_id": None, "flags": {}},
        {"label": "ignore", "points": TRIANGLE, "shape_type": "polygon", "group_id": None, "flags": {}},
    ]
    _picture(folder / "a.png", 1)
    _json(
        folder / "a.json",
        {
            "version": "5.4.1", "text": [FOREIGN, "the box, left"], "is_sentence": False,
            "kind": "place", "shapes": shapes, "imagePath": "a.png", "imageData": None, "imageHeight": HEIGHT,
            "imageWidth": WIDTH,
        },
    )  # fmt: skip
    _picture(folder / "b.png", 2)
    _json(
        folder / "b.json",
        {"text": "the other", "is_sentence": True, "shapes": [{"label": "target", "points": TRIANGLE}]},
    )


def _read_questions(folder: Path) -> Reading:
    source = ReasonSeg(folder)
    items: dict[str, Any] = {}
    for index in range(len(source)):
        for record, example in zip(
            [r for r in source.group_records(index) for _ in r.queries], source.group(index).examples, strict=True
        ):
            query = example.query
            said = (query.text, query.is_sentence, query.kind, example.target.tobytes())
            items.setdefault(record.id, []).append(said)
    refused = {item.path: item.reason for item in source.bad}
    return Reading(items, refused, source.notes)


def _plain_questions(folder: Path) -> dict[str, Any]:
    items = {}
    for path in sorted(folder.glob("*.json")):
        value = json.loads(path.read_bytes().decode("utf-8"))
        texts = [value["text"]] if isinstance(value["text"], str) else value["text"]
        long = value.get("is_sentence", any(len(text.split()) > 8 for text in texts))
        shapes = [PolygonShape(shape["label"], np.array(shape["points"], float)) for shape in value["shapes"]]
        target = paint_target(shapes, (HEIGHT, WIDTH)).tobytes()
        items[path.stem] = [(text, long, value.get("kind", ""), target) for text in texts]
    return items


def _each_shape(**changes: Any) -> Mutation:
    def change(value: Any) -> None:
        for shape in value["shapes"]:
            shape.update(changes)

    return edited(f"every shape has {changes}", change, warned=True)


def _scaled(value: Any, x: float, y: float) -> None:
    for shape in value["shapes"]:
        shape["points"] = [[a * x, b * y] for a, b in shape["points"]]


def _question_mutations(rng: random.Random, files: Mapping[str, bytes]) -> Iterator[tuple[str, Mutation]]:
    raw = files["a.json"]
    yield from (("a.json", mutation) for mutation in byte_mutations(rng, len(raw), flips=40, cuts=6))
    yield from (("a.json", mutation) for mutation in encoding_mutations())
    yield from (("a.json", mutation) for mutation in json_mutations(rng, raw, 20))
    for kind in ("line", "linestrip", "point", "points", "mask", "rectangle", "circle", "blob", 7):
        yield "a.json", _each_shape(shape_type=kind)
    for first, second in (("car", "road"), ("target", "car")):
        yield (
            "a.json",
            edited(
                f"labels {first} and {second}",
                lambda v, n=(first, second): (
                    [s.update(label=label) for s, label in zip(v["shapes"], n, strict=True)] and None
                ),
                warned=True,
            ),
        )
    yield "a.json", _each_shape(label="flag")
    yield "a.json", edited("one other label", lambda v: v["shapes"][0].update(label="box"), warned=True)
    yield "a.json", edited("in shares", lambda v: _scaled(v, 1 / WIDTH, 1 / HEIGHT), warned=True)
    yield "a.json", edited("twice as large", lambda v: _scaled(v, 2, 2))
    yield "a.json", edited("half the size stated", lambda v: v.update(imageHeight=15, imageWidth=20), warned=True)
    yield "a.json", edited("turned", lambda v: v.update(imageHeight=WIDTH, imageWidth=HEIGHT), warned=True)
    yield "a.json", edited("a COCO file", lambda v: {"images": [], "annotations": [], "categories": []}, warned=True)
    yield "a.json", edited("Label Studio's", lambda v: [{"data": {}, "annotations": []}], warned=True)
    yield "a.json", edited("without shapes", lambda v: v.update(shapes=[]))
    yield "a.json", edited("a corner moved", lambda v: v["shapes"][0]["points"][0].__setitem__(0, 9))


QUESTIONS = Layout(
    "questions",
    _write_questions,
    _read_questions,
    _plain_questions,
    _question_mutations,
    lambda file: ("a.json", "a.png"),
)


# COCO instances: two pictures, polygons, a run-length mask and a crowd of one file.


def _write_coco(folder: Path) -> None:
    for index, name in enumerate("ab"):
        _picture(folder / "train" / f"{name}.png", index + 1)
    size = {"height": HEIGHT, "width": WIDTH}
    flat = [float(n) for point in SQUARE for n in point]
    runs = {"size": [HEIGHT, WIDTH], "counts": [95, 10, 20, 10, HEIGHT * WIDTH - 135]}
    _json(
        folder / "train" / "_annotations.coco.json",
        {
            "images": [{"id": 1, "file_name": "a.png", **size}, {"id": 2, "file_name": "b.png", **size}],
            "categories": [{"id": 1, "name": FOREIGN}, {"id": 4, "name": "tree"}],
            "annotations": [
                {
                    "id": 1,
                    "image_id": 1,
                    "category_id": 1,
                    "segmentation": [flat],
                    "iscrowd": 0,
                    "bbox": [4, 5, 16, 17],
                },
                {"id": 2, "image_id": 1, "category_id": 4, "segmentation": runs, "iscrowd": 0, "area": 20},
                {"id": 3, "image_id": 2, "category_id": 4, "segmentation": [[25, 3, 38, 4, 30, 28]]},
            ],
        },
    )


def _read_coco(folder: Path) -> Reading:
    return _read_dense(CocoInstances(folder, "train"))


def _read_dense(source: CocoInstances | MaskFolder) -> Reading:
    refused = {item.path: item.reason for item in source.bad}
    items: dict[str, Any] = {"classes": source.classes}
    for index in range(len(source)):
        try:
            items[source.item_id(index)] = source.item(index).labels.tobytes()
        except DataError as error:
            refused[Path(error.where).relative_to(source.directory).as_posix()] = one_line(error)
    return Reading(items, refused, source.notes)


def _plain_coco(folder: Path) -> dict[str, Any]:
    value = json.loads((folder / "train" / "_annotations.coco.json").read_bytes().decode("utf-8"))
    categories = sorted(value["categories"], key=lambda category: category["id"])
    labels = {category["id"]: index for index, category in enumerate(categories, start=1)}
    items: dict[str, Any] = {"classes": ("background", *(category["name"] for category in categories))}
    for image in value["images"]:
        masks = []
        for one in value["annotations"]:
            if one["image_id"] != image["id"]:
                continue
            shape = one["segmentation"]
            if isinstance(shape, dict):
                inside = np.repeat(np.arange(len(shape["counts"])) % 2 == 1, shape["counts"])
                mask = inside.reshape(WIDTH, HEIGHT).T
            else:
                mask = fill_polygons([np.array(flat, float).reshape(-1, 2) for flat in shape], (HEIGHT, WIDTH))
            masks.append((mask, IGNORE if one.get("iscrowd") else labels[one["category_id"]]))
        canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
        order = sorted(enumerate(masks), key=lambda m: (m[1][1] == IGNORE, int(m[1][0].sum()), m[0]), reverse=True)
        for _, (mask, label) in order:
            canvas[mask] = label
        items[image["file_name"].rpartition(".")[0]] = canvas.tobytes()
    return items


def _coco_mutations(rng: random.Random, files: Mapping[str, bytes]) -> Iterator[tuple[str, Mutation]]:
    file = "train/_annotations.coco.json"
    raw = files[file]
    yield from ((file, mutation) for mutation in byte_mutations(rng, len(raw), flips=40, cuts=6))
    yield from ((file, mutation) for mutation in encoding_mutations())
    yield from ((file, mutation) for mutation in json_mutations(rng, raw, 20))

    def first(**changes: Any) -> Mutation:
        return edited(f"the first annotation has {changes}", lambda v: v["annotations"][0].update(changes), warned=True)

    for odd in ("1", 2, [], 0.5, 1):
        yield file, first(iscrowd=odd)
    yield file, first(segmentation=[[0.1, 0.1, 0.5, 0.1, 0.5, 0.6]], iscrowd=0)
    yield file, first(segmentation=[[4, 5, 20, 5, 20, 22, 4, 22], [1, 1, 2, 2]])
    yield file, first(segmentation=[])
    yield file, edited("one name twice", lambda v: v["categories"][0].update(name="tree"), warned=True)
    yield file, edited("an unused name twice", lambda v: v["categories"].append({"id": 0, "name": "tree"}), warned=True)
    yield file, edited("other size", lambda v: v["images"][0].update(height=60, width=80), warned=True)
    yield file, edited("turned", lambda v: v["images"][0].update(height=WIDTH, width=HEIGHT), warned=True)
    yield file, edited("ids as texts", lambda v: [image.update(id=str(image["id"])) for image in v["images"]] and None)
    yield file, edited("sizes as floats", lambda v: v["images"][0].update(height=30.0, width=40.0))
    yield file, edited("a name changed", lambda v: v["categories"][1].update(name="bush"))
    yield file, edited("pictures exchanged", lambda v: [i.update(id=3 - i["id"]) for i in v["images"]] and None)
    yield file, edited("panoptic", lambda v: v["annotations"][0].update(segments_info=[]), warned=True)


_COCO_NAMES = ("_annotations.coco.json", "train/")
COCO = Layout(
    "coco",
    _write_coco,
    _read_coco,
    _plain_coco,
    _coco_mutations,
    lambda file: _COCO_NAMES,
    lambda file: ("classes", *"ab"),
)


# Index masks and their classes.json.


def _write_masks(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for index, name in enumerate("ab"):
        _picture(folder / "images" / f"{name}.png", index + 1)
        (folder / "masks").mkdir(exist_ok=True)
        values = rng.choice(np.array([0, 1, 2, 255], np.uint8), (HEIGHT, WIDTH))
        Image.fromarray(values).save(folder / "masks" / f"{name}.png")
    _json(
        folder / "classes.json",
        {"classes": ["background", FOREIGN, "tree"], "ignore_index": 255, "about": {"by": "us"}},
    )


def _read_masks(folder: Path) -> Reading:
    return _read_dense(MaskFolder(folder))


def _plain_masks(folder: Path) -> dict[str, Any]:
    value = json.loads((folder / "classes.json").read_bytes().decode("utf-8"))
    items: dict[str, Any] = {"classes": tuple(value["classes"])}
    for path in sorted((folder / "masks").glob("*.png")):
        values = np.array(Image.open(path))
        items[path.stem] = np.where(values == value["ignore_index"], IGNORE, values).astype(np.uint8).tobytes()
    return items


def _mask_mutations(rng: random.Random, files: Mapping[str, bytes]) -> Iterator[tuple[str, Mutation]]:
    raw = files["classes.json"]
    yield from (("classes.json", mutation) for mutation in byte_mutations(rng, len(raw), flips=20, cuts=4))
    yield from (("classes.json", mutation) for mutation in encoding_mutations())
    yield from (("classes.json", mutation) for mutation in json_mutations(rng, raw, 8))
    mask = files["masks/a.png"]
    for one in byte_mutations(rng, len(mask), flips=60, cuts=8):
        yield "masks/a.png", Mutation(one.name, one.apply, wrong=True)
    for place in range(len(mask) - 40, len(mask) - 12):  # where Pillow has all pixels and looks no further
        yield "masks/a.png", Mutation(f"byte {place}", lambda r, p=place: flipped(r, p, 3), wrong=True)
    yield "masks/a.png", Mutation("the picture in its place", lambda r: files["images/a.png"], wrong=True)
    yield "masks/a.png", Mutation("the other mask", lambda r: files["masks/b.png"])


_MASK_NAMES = ("classes.json", "masks/a.png", "masks/b.png", "images/a.png")
MASKS = Layout(
    "masks", _write_masks, _read_masks, _plain_masks, _mask_mutations,
    lambda file: _MASK_NAMES if file == "classes.json" else (file, "images/a.png"),
    lambda file: ("classes", *"ab") if file == "classes.json" else ("a",), lambda file: "mask",
)  # fmt: skip

LAYOUTS = (QUESTIONS, COCO, MASKS)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_nothing_is_misread_in_silence(tmp_path, layout):
    found, failures = run(layout, tmp_path / "data")
    outcomes = by_outcome(found)
    assert not failures, "\n".join(failures)
    assert outcomes.total() >= 140
    assert outcomes["refused"] >= 60
    assert outcomes["honest"] >= 2
    assert outcomes["same"] >= 2


def test_the_verdict_finds_a_misreading(tmp_path, monkeypatch):
    """A reader that believes any size and any coordinates is found out."""
    monkeypatch.setattr(reasonseg, "require_size", lambda *args: None)
    monkeypatch.setattr(reasonseg, "require_pixels", lambda *args: None)
    _, failures = run(QUESTIONS, tmp_path / "data")
    said = "\n".join(failures)
    assert "a.json: in shares: read in silence" in said
    assert "a.json: half the size stated: read as before without a word" in said
    monkeypatch.setattr(reasonseg, "read_annotation", lambda *args: {}["gone"])
    layout = Layout("one", _write_questions, _read_questions, _plain_questions, _question_mutations)
    with pytest.raises(KeyError):
        run(layout, tmp_path / "other")


def test_the_verdict_names_crashes_and_others_that_changed(tmp_path):
    before = Reading({"a": 1, "b": 2})
    cases: list[tuple[Any, str]] = [
        (Reading({"b": 2}, {"a.json": "why"}), "refused"),
        (Reading({"b": 3}, {"a.json": "why"}), "others changed: ['b']"),
        (Reading({"a": 1, "b": 2}, {"b.json": "why"}), "refused without the file: ['b.json']"),
        (Reading({"a": 5, "b": 2}, {}, ("odd (a.json)",)), "told"),
        (Reading({"a": 5, "b": 2}), "honest"),
        (Reading({"a": 6, "b": 2}), "misread"),
        (before, "same"),
    ]
    outcomes: Counter[str] = Counter()
    for reading, expected in cases:
        layout = Layout("x", lambda d: None, lambda d, r=reading: r, lambda d: {"a": 5, "b": 2}, lambda r, f: iter(()))
        outcome = mutations.verdict(layout, tmp_path, "a.json", Mutation("m", bytes), before)
        assert expected in outcome
        outcomes[outcome] += 1
    crashing = Layout("x", lambda d: None, lambda d: 1 / 0, lambda d: {}, lambda r, f: iter(()))  # type: ignore[arg-type, return-value]
    assert "crash: ZeroDivisionError" in mutations.verdict(crashing, tmp_path, "a.json", Mutation("m", bytes), before)
