"""Run directories of dense segmentation: their scores and histories come from the real scorer and the real tracker.

The predictions are random logits, the nearer to the truth the better the model is meant to be.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from segtune.core.files import write_json, write_text
from segtune.core.records import IGNORE
from segtune.core.rundir import RunDir
from segtune.core.types import DenseBatch, DenseOutput
from segtune.core.yaml_files import dump_mapping
from segtune.engine.dense_tracker import DenseTracker
from segtune.losses.config import BINARY_TERMS, CLASS_TERMS
from segtune.metrics.dense_protocol import DenseScorer
from segtune.ops.labels import binary_table

CLASSES = ("background", "road", "sky", "pole")
FOREGROUND = (1, 3)
HEADS = {"classes": (True, False), "binary": (False, True), "both": (True, True)}
SIZE = (24, 32)


def labels_of(rng: np.random.Generator, classes: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """uint8 `[h, w]`: blocks of classes, the last class the rarest, and a strip that is ignored."""
    share = np.arange(classes, 0, -1, dtype=float)
    coarse = rng.choice(classes, (size[0] // 4, size[1] // 4), p=share / share.sum()).astype(np.uint8)
    labels = coarse.repeat(4, 0).repeat(4, 1)
    labels[:1] = IGNORE
    return labels


def logits_of(rng: np.random.Generator, labels: np.ndarray, classes: int, skill: float) -> np.ndarray:
    """float32 `[C, h, w]`: noise, and `skill` more for the true class."""
    right = (np.arange(classes)[:, None, None] == labels).astype(np.float32)
    return (rng.standard_normal((classes, *labels.shape)) + skill * right).astype(np.float32)


def binary_logits_of(rng: np.random.Generator, labels: np.ndarray, skill: float) -> np.ndarray:
    """float32 `[h, w]`: noise, and `skill` towards the right side."""
    target = binary_table(FOREGROUND)[labels] == 1
    return (rng.standard_normal(labels.shape) + skill * (target - 0.5)).astype(np.float32)


def dense_scores(
    heads: str = "both", *, skill: float = 2.0, images: int = 6, seed: int = 0, classes: Sequence[str] = CLASSES,
    split: str = "val", **options: Any,
) -> dict[str, Any]:  # fmt: skip
    """A scores file of the real scorer."""
    multiclass, binary = HEADS[heads]
    scorer = DenseScorer(classes, FOREGROUND if binary else None, multiclass=multiclass)
    rng = np.random.default_rng(seed)
    for index in range(images):
        labels = labels_of(rng, len(classes))
        predicted = logits_of(rng, labels, len(classes), skill).argmax(0)
        logits = binary_logits_of(rng, labels, skill)
        scorer.add(f"street/{index}", labels, predicted_classes=predicted if multiclass else None,
                   binary_logits=logits if binary else None)  # fmt: skip
    frequent = {"frequent_class": 0} if multiclass else {}
    document = scorer.result(data="streets", split=split, **{**frequent, **options})
    return json.loads(json.dumps(document))


def _row(rng: np.random.Generator, heads: str, skill: float, prefix: str, optional: Sequence[str]) -> dict[str, Any]:
    """One epoch as the tracker counts it; losses that fall as the skill rises."""
    multiclass, binary = HEADS[heads]
    tracker = DenseTracker(classes=len(CLASSES) if multiclass else 0, foreground=FOREGROUND if binary else None)
    labels = np.stack([labels_of(rng, len(CLASSES)) for _ in range(2)])
    classes = np.stack([logits_of(rng, one, len(CLASSES), skill) for one in labels])
    masks = np.stack([binary_logits_of(rng, one, skill) for one in labels])
    output = DenseOutput(torch.from_numpy(classes) if multiclass else None, torch.from_numpy(masks) if binary else None)
    tracker.observe(output, DenseBatch(torch.zeros(2, 3, 1, 1), torch.from_numpy(labels), ()))
    terms = (*(CLASS_TERMS if multiclass else ()), *(BINARY_TERMS if binary else ()), *optional)
    losses = {name: float(np.exp(-skill / 2) * (1 + 0.2 * i)) for i, name in enumerate(terms)}
    tracker.step({"loss": sum(losses.values()), **losses}, 0.5)
    return tracker.compute(prefix)


def dense_history(
    heads: str = "both", epochs: int = 6, *, stages: Sequence[int] = (3, 2, 1), optional: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """A history whose stages have so many epochs each; without stages its rows do not know of any."""
    rng = np.random.default_rng(seed)
    of = [number for number, count in enumerate(stages, start=1) for _ in range(count)]
    train, val = [], []
    for epoch in range(1, epochs + 1):
        skill = 3 * (1 - np.exp(-3 * epoch / epochs))
        stage = of[min(epoch, len(of)) - 1] if of else 1
        row = {"epoch": epoch, **_row(rng, heads, skill, "", optional), "lr": 1e-3 * (1, 0.3, 0.05)[stage - 1]}
        row |= {"iter_per_sec": 4.0 / stage, "avg_iter_time": 0.25 * stage, "epoch_time": 10.0 * stage}
        row |= {"peak_memory_gb": 0.5 * stage, "memory_kind": "resident"}
        train.append(row | ({"stage": stage} if of else {}))
        val.append({"epoch": epoch, **_row(rng, heads, 0.9 * skill, "val_", optional)})
    benchmarks = {"peak_memory_gb": 1.5, "memory_kind": "resident", "avg_inference_time_s": 0.125}
    return json.loads(json.dumps({"train": train, "val": val, "benchmarks": benchmarks}))


def dense_config(heads: str = "both", **changes: Any) -> dict[str, Any]:
    multiclass, binary = HEADS[heads]
    return {
        "task": "dense", "recipe": "streets", "description": "d", "run": {"name": None, "seed": 7},
        "data": {"train": "masks:streets@train", "val": "masks:streets@val"},
        "model": {"encoder": "segtune/tiny-cnn", "decoder": "unet", "image_size": [120, 160],
                  "multiclass": multiclass, "binary_classes": [CLASSES[i] for i in FOREGROUND] if binary else []},
        "optim": {"lr": 1e-3},
        "train": {"epochs": 6, "batch_size": 8, "best_goal": None,
                  "best": "val_mIoU" if multiclass else "val_foreground_dice"},
    } | changes  # fmt: skip


def split_facts(split: str, classes: Sequence[str] = CLASSES) -> dict[str, Any]:
    """As `PreparedDense.to_dict` writes them."""
    counts = {name: {"pixels": 1000 * (len(classes) - i), "images": 9 - i} for i, name in enumerate(classes)}
    return {
        "data": f"masks:streets@{split}", "images": 9, "ids_sha256": "0" * 64, "classes": list(classes),
        "counts": {"images": 9, "classes": counts, "ignored_pixels": 1234}, "bad": [f"{split}.png: <b>torn</b>"],
    }  # fmt: skip


def write_dense_run(
    path: Path, heads: str = "both", *, config: dict[str, Any] | None = None, files: dict[str, Any] | None = None,
    classes: Sequence[str] = CLASSES,
) -> Path:  # fmt: skip
    """Writes a run directory; files that are None are left out."""
    write_text(path / "config.yaml", dump_mapping(dense_config(heads, **(config or {}))))
    parameters = {"total": 3000, "trainable": 1000, "frozen": 2000, "bytes": 12000}
    contents = {
        "training_history.json": dense_history(heads),
        "parameters.json": {**parameters, "components": {"encoder": parameters}},
        "data.json": {split: split_facts(split, classes) for split in ("train", "val")},
        "environment.json": {"time": "2026-01-01", "cpu": "C", "packages": {"torch": "2"}, "devices": []},
        "eval_streets_val_dense.json": dense_scores(heads, classes=classes),
        "before/eval_streets_val_dense.json": dense_scores(heads, skill=0.1, seed=1, classes=classes),
        "checkpoints/stage-1-best/checkpoint.json": {"epoch": 2},
    } | (files or {})
    for file, value in contents.items():
        if value is not None:
            write_json(path / file, value)
    return path


def add_pictures(path: Path, mode: str = "dense") -> Path:
    """Puts three pictures into a run, as an evaluation does; returns their folder."""
    folder = RunDir(path).predictions("streets", "val", mode).with_suffix("")
    folder.mkdir(parents=True)
    rows = []
    for index, rank in enumerate(("best", "median", "worst")):
        Image.new("RGB", (30, 12), "red").save(folder / f"{rank}-1_street-{index}.png")
        rows.append(
            {"file": f"{rank}-1_street-{index}.png", "rank": rank, "id": f"street/{index}", "iou": 0.9 - index / 4,
             "query": "", "answer": ""}
        )  # fmt: skip
    write_json(folder / "index.json", {"pictures": rows})
    return folder
