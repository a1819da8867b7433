"""Run directories as training writes them, made by hand: small, and hostile where that is wanted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from segtune.core.files import write_json, write_text
from segtune.core.yaml_files import dump_mapping

KEYS = ("loss", "ce", "bce", "dice", "gIoU", "cIoU", "accuracy", "precision", "recall", "f1", "auroc")
MakeRun = Callable[..., Path]


def scores(mode: str, g_iou: float, **changes: Any) -> dict[str, Any]:
    """A scores file."""
    part = {"queries": 5, "gIoU": g_iou, "cIoU": g_iou / 2, "ci95": {"gIoU": [0.1, 0.9], "cIoU": [0.0, 0.5]}}
    document = {
        "protocol": "segtune-1", "data": "scenes", "split": "val", "mode": mode,
        "counts": {"images": 4, "queries": 10, "not_emitted": 0},
        "metrics": {"gIoU": g_iou, "cIoU": g_iou / 2, "P@0.5": 0.25, "auroc": None},
        "by": {"short": part, "long": part, "kind:<i>colour</i>": part},
        "ci95": {"gIoU": [g_iou - 0.05, g_iou + 0.05], "cIoU": None},
        "baselines": {"nothing": {"gIoU": 0.0, "cIoU": 0.0}, "mean_mask": {"gIoU": 0.123, "cIoU": 0.1}},
        "deviations": [],
    }  # fmt: skip
    return document | changes


def history(epochs: int, *, validate_every: int = 1) -> dict[str, Any]:
    """A history whose third epoch is the best."""
    value = {e: 0.5 - 0.1 * abs(e - 3) for e in range(1, epochs + 1)}
    train = [{"epoch": e, **dict.fromkeys(KEYS, value[e]), "epoch_time": 2.0, "memory_kind": "x"} for e in value]
    chosen = [e for e in value if e % validate_every == 0]
    val = [{"epoch": e, **{f"val_{key}": value[e] for key in KEYS}} for e in chosen]
    return {"train": train, "val": val, "benchmarks": {"peak_memory_gb": 1.5, "avg_inference_time_s": 0.25}}


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Makes a run directory; parts that are None are left out."""

    def make(name: str = "first", **parts: Any) -> Path:
        path = tmp_path / name
        config = {
            "recipe": "quickstart", "description": "d", "run": {"name": None, "seed": 7},
            "data": {"train": "synth:scenes@train", "val": "synth:scenes@val"},
            "model": {"base": "segtune/tiny", "vlm": None, "mask_model": None},
            "optim": {"lr": 1e-4}, "train": {"epochs": 4, "best": "val_gIoU", "best_goal": None},
        } | parts.pop("config", {})  # fmt: skip
        write_text(path / "config.yaml", dump_mapping(config))
        files = {
            "training_history.json": history(4),
            "parameters.json": {"total": 3000, "trainable": 1000, "frozen": 2000, "bytes": 12000, "components": {
                "llm": {"total": 3000, "trainable": 1000, "frozen": 2000, "bytes": 12000}}},
            "data.json": {"train": {"data": "a", "images": 9, "queries": 30, "bad": ["x.json: <b>torn</b>"]}},
            "environment.json": {"time": "2026-01-01", "cpu": "C", "packages": {"torch": "2"}, "devices": []},
            "eval_scenes_val_generate.json": scores("generate", 0.3),
            "eval_scenes_val_forced.json": scores("forced", 0.4),
        }  # fmt: skip
        for file, value in (files | parts.pop("files", {})).items():
            if value is not None:
                write_json(path / file, value)
        assert not parts
        return path

    return make


@pytest.fixture
def hostile_run(make_run: MakeRun) -> Path:
    """A run whose names, words and files try to be more than text."""
    bad = "<script>alert(1)</script>"
    path = make_run("a|b <i>$x$", config={"description": bad, "recipe": bad})
    folder = path / "predictions" / "scenes_val_generate"
    folder.mkdir(parents=True)
    Image.new("RGB", (30, 12), "red").save(folder / "best-1_a.png")
    Image.new("RGB", (30, 12), "red").save(path / "outside.png")
    row = {"rank": "best", "id": "a#0", "iou": 0.5, "query": f'"><img src=x onerror=alert(1)>{bad}', "answer": bad}
    rows = [row | {"file": file} for file in ("best-1_a.png", "../../outside.png")]
    rows.append(row | {"rank": "worst", "file": "gone.png", "iou": 0.125})
    write_json(folder / "index.json", {"pictures": rows})
    return path
