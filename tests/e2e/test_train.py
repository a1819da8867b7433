"""A first run by the real command: what it prints, what it leaves, and whether its advice works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from tests.e2e.commands import SCENES, segtune
from tests.e2e.conftest import Trained

from segtune.core.files import read_json, read_jsonl

FILES = (
    "README.md", "before/eval_scenes_val_forced.json", "before/eval_scenes_val_generate.json",
    "checkpoints/best/manifest.json", "checkpoints/last/manifest.json", "config.yaml", "data.json",
    "environment.json", "eval_scenes_val_forced.json", "eval_scenes_val_generate.json", "metrics.jsonl",
    "metrics_epoch_1.json", "metrics_epoch_2.json", "metrics_epoch_3.json", "parameters.json",
    "predictions/scenes_val_forced.jsonl", "predictions/scenes_val_generate.jsonl", "report.html",
    "training_history.json", "training_history.png",
)  # fmt: skip
TRAIN_KEYS = {
    "epoch", "loss", "ce", "bce", "dice", "cIoU", "gIoU", "generalized_iou", "complete_iou", "no_box", "P@0.5",
    "P@0.7", "P@0.9", "accuracy", "precision", "recall", "f1", "auroc", "lr", "iter_per_sec",
    "avg_iter_time", "epoch_time", "peak_memory_gb", "memory_kind", "skipped_steps",
}  # fmt: skip
VAL_KEYS = {
    "epoch", "val_loss", "val_ce", "val_bce", "val_dice", "val_cIoU", "val_gIoU", "val_generalized_iou",
    "val_complete_iou", "val_no_box", "val_P@0.5", "val_P@0.7", "val_P@0.9", "val_accuracy", "val_precision",
    "val_recall", "val_f1", "val_auroc", "val_generate_gIoU", "val_generate_cIoU", "val_emission_rate",
    "val_avg_inference_time_s",
}  # fmt: skip


def test_the_run_directory_is_complete(trained: Trained) -> None:
    missing = [name for name in FILES if not (trained.run / name).is_file()]
    assert not missing
    leftovers = [path.name for path in trained.run.rglob(".*") if path.name != ".lock"]
    assert not leftovers
    for mode in ("forced", "generate"):
        folder = trained.run / "predictions" / f"scenes_val_{mode}"
        listed = {row["file"] for row in read_json(folder / "index.json")["pictures"]}
        assert listed == {path.name for path in folder.glob("*.png")}
        assert len(listed) == 8  # every query: there are fewer than pictures wanted


def test_what_the_files_say(trained: Trained, workplace: Path) -> None:
    config = yaml.safe_load((trained.run / "config.yaml").read_text())
    assert config["recipe"] == "quickstart"
    assert config["train"]["epochs"] == 3
    assert config["model"]["base"] == str(workplace / "base")  # absolute: the run works from any directory
    parameters = read_json(trained.run / "parameters.json")
    assert 0 < parameters["trainable"] < parameters["total"]
    queries = sum(len(read_json(path)["text"]) for path in (workplace / "scenes" / "train").glob("*.json"))
    facts = read_json(trained.run / "data.json")["train"]
    assert len(facts.pop("ids_sha256")) == len(facts.pop("sha256")) == 64
    assert len(facts.pop("pictures")) == 8
    assert facts == {
        "data": "synth:scenes@train", "kind": "synth", "path": str((workplace / "scenes").resolve()), "split": "train",
        "root": None, "images": 8, "queries": queries, "skipped_queries": 0, "bad": [],
    }  # fmt: skip
    assert len(read_json(trained.run / "data_items.json")["train"]["items"]) == 8
    assert read_json(trained.run / "environment.json")["packages"]["torch"]


def test_history_and_metrics(trained: Trained) -> None:
    history = read_json(trained.run / "training_history.json")
    assert [set(row) for row in history["train"]] == [TRAIN_KEYS] * 3
    assert [set(row) for row in history["val"]] == [VAL_KEYS] * 3
    assert [row["epoch"] for row in history["val"]] == [1, 2, 3]
    assert history["train"][-1]["loss"] < history["train"][0]["loss"]
    assert {"peak_memory_gb", "avg_inference_time_s"} <= set(history["benchmarks"])
    times = [row["val_avg_inference_time_s"] for row in history["val"]]
    assert all(0 < seconds < 10 for seconds in times)
    assert times[-1] == history["benchmarks"]["avg_inference_time_s"]
    assert [row["step"] for row in read_jsonl(trained.run / "metrics.jsonl")] == list(range(1, 13))
    best = read_json(trained.run / "checkpoints" / "best" / "checkpoint.json")
    top = max(row["val_generate_gIoU"] for row in history["val"])
    assert best["metrics"]["val_generate_gIoU"] == top


def test_plain_lines_where_there_is_no_terminal(trained: Trained) -> None:
    assert not trained.done.err  # nothing of transformers' own, no warning, no bar
    assert "\x1b" not in trained.done.out
    assert "\r" not in trained.done.out
    assert re.search(r"^epoch 3  step 12/12  loss [\d.]+  ce .*gIoU [\d.]+  [\d.]+ GB  [\d.]+ it/s  0:00 left$",
                     trained.done.out, re.MULTILINE)  # fmt: skip
    for epoch in (1, 2, 3):
        assert f"\nepoch {epoch}/3  loss " in trained.done.out
    assert trained.done.out.startswith("run directory: runs/a\n")


def test_the_end_shows_scores_before_and_after(trained: Trained) -> None:
    rows = {}
    for line in trained.done.out.splitlines():
        if match := re.match(r"(before|after), (forced|generate)\s+([\d.]+)", line):
            rows[match[1], match[2]] = float(match[3])
    assert set(rows) == {(when, mode) for when in ("before", "after") for mode in ("forced", "generate")}
    for (when, mode), shown in rows.items():
        place = trained.run / "before" if when == "before" else trained.run
        document = read_json(place / f"eval_scenes_val_{mode}.json")
        assert shown == pytest.approx(document["metrics"]["gIoU"], abs=6e-4)
    assert "without a model (gIoU): everything" in trained.done.out


def test_each_command_to_try_next_works(trained: Trained, workplace: Path) -> None:
    tail = trained.done.out.partition("\nrun directory: runs/a\ntry next:\n")[2]
    commands = [shlex.split(line, comments=True) for line in tail.splitlines()]
    assert [[Path(command[0]).name, command[1]] for command in commands] == [
        ["segtune", "predict"], ["segtune", "evaluate"], ["segtune", "data"]
    ]  # fmt: skip
    for command in commands:
        arguments = [SCENES if word == "DIR" else word for word in command[1:]]
        done = segtune(arguments, workplace)
        assert done.code == 0, done.err
        assert done.out
    stem = Path(commands[0][3]).stem
    assert (workplace / "predictions" / f"{stem}_mask.png").is_file()
    assert (workplace / "scores" / "eval_scenes_val_generate.json").is_file()
    assert len(list((workplace / "scores" / "predictions" / "scenes_val_forced").glob("*.png"))) == 8


def test_the_report_of_a_run_is_that_of_the_command(trained: Trained, workplace: Path) -> None:
    written = (trained.run / "report.html").read_text()
    done = segtune(["report", "runs/a"], workplace)
    assert done.code == 0, done.err
    assert done.out.splitlines() == ["runs/a/training_history.png", "runs/a/report.html"]
    assert (trained.run / "report.html").read_text() == written
    assert written.count("data:image/jpeg") == 2 * 3 * 2  # modes, ranks, of each two


def test_the_model_card(trained: Trained) -> None:
    card = (trained.run / "README.md").read_text()
    generate = read_json(trained.run / "eval_scenes_val_generate.json")["metrics"]["gIoU"]
    assert f"| scenes | val | generate | 8 | {generate:.3f} |" in card
    assert "?" not in card
    assert "](training_history.png)" in card
    assert read_json(trained.run / "parameters.json")["total"] == int(
        re.search(r"parameters: ([\d,]+) in all", card)[1].replace(",", "")  # type: ignore[index]
    )
