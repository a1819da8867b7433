"""Scores in the documented form, and predictions that anybody can score again to the same numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.e2e.commands import SCENES, segtune
from tests.e2e.conftest import Trained

from segtune.cli.main import main
from segtune.core.files import read_json, read_jsonl

TOP = {
    "protocol", "data", "split", "mode", "counts", "metrics", "by", "ci95", "baselines", "deviations", "undefined",
    "data_sha256",
}  # fmt: skip
COUNTS = {"images", "queries", "empty_targets", "no_mask", "not_emitted", "skipped"}
METRICS = {"gIoU", "cIoU", "P@0.5", "P@0.7", "P@0.9", "accuracy", "precision", "recall", "f1", "auroc"}


def decoded(rle: dict[str, Any]) -> np.ndarray:
    """A COCO run-length mask, read after the published format and not by the package."""
    counts: list[int] = []
    position, text = 0, rle["counts"]
    while position < len(text):
        value, shift, more = 0, 0, True
        while more:
            code = ord(text[position]) - 48
            value |= (code & 0x1F) << shift
            more = bool(code & 0x20)
            position, shift = position + 1, shift + 5
            if not more and code & 0x10:
                value |= -1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
    flat = np.concatenate([np.full(count, index % 2, bool) for index, count in enumerate(counts)])
    return flat.reshape(rle["size"], order="F")


def painted(annotation: Path) -> np.ndarray:
    """The target of an annotation file: largest polygon first, outline and fill, 255 for what is ignored."""
    content = json.loads(annotation.read_text())
    width, height = Image.open(annotation.with_suffix(".jpg")).size
    target = np.zeros((height, width), np.uint8)
    layers = []
    for shape in content["shapes"]:
        layer = np.zeros((height, width), np.uint8)
        points = [np.array(shape["points"]).astype(np.int32)]
        cv2.polylines(layer, points, True, 1, 1)
        cv2.fillPoly(layer, points, 1)
        layers.append((int(layer.sum()), layer, 255 if "ignore" in shape["label"].lower() else 1))
    for _, layer, value in sorted(layers, key=lambda item: item[0], reverse=True):
        target[layer == 1] = value
    return target


def rescored(predictions: Path, split: Path) -> tuple[int, float, float]:
    """Queries, gIoU and cIoU of a predictions file, read from the protocol alone."""
    lines = [json.loads(line) for line in predictions.read_text().splitlines()]
    ious, intersections, unions = [], 0, 0
    for line in lines:
        record = line["id"].rpartition("#")[0]
        target = painted(split / f"{record}.json")
        predicted = np.zeros(target.shape, bool)
        for rle in line["masks"]:
            predicted |= decoded(rle)
        counted = target != 255
        intersection = int((predicted & (target == 1) & counted).sum())
        union = int(((predicted | (target == 1)) & counted).sum())
        ious.append(1.0 if union == 0 else intersection / union)
        intersections, unions = intersections + intersection, unions + union
    return len(lines), float(np.mean(ious)), intersections / unions


@pytest.fixture(scope="module")
def evaluated(trained: Trained, workplace: Path) -> Path:
    """The folder of one evaluation in both modes, by the real command."""
    out = workplace / "evaluated"
    done = segtune(["evaluate", "runs/a", "--data", f"{SCENES}@test", "--out", "evaluated", "--json"], workplace)
    assert done.code == 0, done.err
    files = [read_json(out / f"eval_scenes_test_{mode}.json") for mode in ("generate", "forced")]
    assert json.loads(done.out) == files
    assert "evaluated" in done.err
    return out


@pytest.mark.parametrize("mode", ["generate", "forced"])
def test_scores_have_the_documented_form(mode: str, evaluated: Path) -> None:
    document = read_json(evaluated / f"eval_scenes_test_{mode}.json")
    assert set(document) == TOP
    assert document["protocol"] == "segtune-1"
    assert (document["data"], document["split"], document["mode"]) == ("scenes", "test", mode)
    assert set(document["counts"]) == COUNTS
    assert document["counts"]["images"] == 2
    assert document["counts"]["queries"] == 9
    assert set(document["metrics"]) == METRICS | ({"emission_rate"} if mode == "generate" else set())
    assert {"short", "long"} <= set(document["by"])
    assert document["by"]["short"]["queries"] + document["by"]["long"]["queries"] == 9
    low, high = document["ci95"]["gIoU"]
    assert low <= document["metrics"]["gIoU"] <= high
    assert set(document["baselines"]) == {"everything", "nothing", "mean_mask", "mean_mask_same_words"}
    assert document["deviations"] == []


@pytest.mark.parametrize("mode", ["generate", "forced"])
def test_predictions_score_the_same_elsewhere(mode: str, evaluated: Path, workplace: Path) -> None:
    document = read_json(evaluated / f"eval_scenes_test_{mode}.json")
    predictions = evaluated / "predictions" / f"scenes_test_{mode}.jsonl"
    queries, g_iou, c_iou = rescored(predictions, workplace / SCENES / "test")
    assert queries == document["counts"]["queries"]
    assert g_iou == pytest.approx(document["metrics"]["gIoU"], abs=1e-12)
    assert c_iou == pytest.approx(document["metrics"]["cIoU"], abs=1e-12)
    assert 0 < g_iou < 1
    for line in read_jsonl(predictions):
        assert set(line) == {"id", "masks", "text", "emitted"}  # the tiny base never learned to estimate `scores`


def test_a_run_is_scored_again_to_the_same_numbers(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", str(trained.run), "--data", f"{SCENES}@val", "--mode", "generate", "--batch-size", "1"]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    assert "scenes val, generate: 8 queries about 2 images" in capsys.readouterr().out
    again, first = (read_json(place / "eval_scenes_val_generate.json") for place in (tmp_path, trained.run))
    assert again["baselines"] == first["baselines"]
    assert again["metrics"]["gIoU"] == pytest.approx(first["metrics"]["gIoU"], abs=1e-4)


def test_a_part_is_labelled_and_never_takes_the_place_of_the_whole(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (trained.run / "eval_scenes_val_forced.json").read_bytes()
    arguments = ["evaluate", f"{trained.run}@last", "--data", f"{SCENES}@val", "--mode", "forced"]
    assert main([*arguments, "--limit", "1", "--first-query-only", "--overlays", "5", "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert document["deviations"] == ["first_query_only", "first_1_images"]
    assert document["counts"]["images"] == 1
    place = trained.run / "evaluations" / "last-first-1-images-first-query-only"
    assert read_json(place / "eval_scenes_val_forced.json") == document
    lines = read_jsonl(place / "predictions" / "scenes_val_forced.jsonl")
    assert all(line["id"].endswith("#0") for line in lines)
    assert len(lines) == document["counts"]["queries"]
    assert len(list((place / "predictions" / "scenes_val_forced").glob("*.png"))) == len(lines) < 5
    assert (trained.run / "eval_scenes_val_forced.json").read_bytes() == whole


def test_a_linked_dataset_is_scored_where_a_root_is_named(
    trained: Trained, workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/val").symlink_to(workplace / SCENES / "val")
    arguments = ["evaluate", str(trained.run), "--data", f"reasonseg:{tmp_path}/photos@val", "--mode", "forced"]
    arguments += ["--limit", "1", "--out", str(tmp_path / "scores")]
    assert main(arguments) == 3
    advised = capsys.readouterr().err.partition("--root ")[2].split()[0]
    assert main([*arguments, "--root", advised]) == 0
    assert read_json(tmp_path / "scores/eval_photos_val_forced.json")["counts"]["images"] == 1
    assert main([*arguments, "--root", advised, "--max-pixels", "99"]) == 3
    assert "expected at most 99 pixels" in capsys.readouterr().err
