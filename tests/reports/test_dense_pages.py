"""Page, card and comparison of dense runs: complete, self-contained, and names of classes stay text."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.reports.conftest import MakeRun
from tests.reports.dense_factory import (
    CLASSES,
    add_pictures,
    dense_scores,
    write_dense_run,
)

from segtune.cli.main import main
from segtune.core.files import read_json, write_json
from segtune.core.rundir import RunDir
from segtune.reports.card import model_card
from segtune.reports.compare import compare_sections, read_runs, score_values, to_csv, to_json
from segtune.reports.facts import read_run
from segtune.reports.page import write_report
from segtune.reports.tables import markdown

MakeDense = Callable[..., Path]
SCORES = "eval_streets_val_dense.json"
HOSTILE = ("<script>alert(1)</script>", "a|b $x$", '"><img src=x onerror=alert(1)>', "\u5199\u771f")


@pytest.fixture
def make_dense(tmp_path: Path) -> MakeDense:
    return lambda name="first", heads="both", **parts: write_dense_run(tmp_path / name, heads, **parts)


@pytest.fixture
def no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the seconds that drawing takes."""
    monkeypatch.setattr("segtune.reports.page.history_figure", lambda facts: b"\x89PNG stands for the figure")


class _Reader(HTMLParser):
    """Tags, the attributes of pictures, and visible text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.sources: list[str] = []
        self.text = ""
        self.feed((path / "report.html").read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.usefixtures("no_figure")
@pytest.mark.parametrize("heads", ["classes", "binary", "both"])
def test_all_of_a_run_is_on_the_page(heads: str, make_dense: MakeDense) -> None:
    path = make_dense(heads=heads)
    add_pictures(path)
    assert write_report(path) == [path / "training_history.png", path / "report.html"]
    reader, document = _Reader(path), read_json(path / SCORES)
    for name, value in document["metrics"].items():
        assert name in reader.text
        assert f"{value:.3f}" in reader.text
    for words in (
        "Complete: 6 epochs", "the model is above it", "Stages", "1 to 3", "segtune/tiny-cnn", "unet", "120 x 160",
        "inference per image, s", "train.png: <b>torn</b>", "1,234", "40.00%", "street/1",
    ):  # fmt: skip
        assert words in reader.text
    score = "Dice" if heads == "binary" else "mIoU"
    assert f"{score} 0.900" in reader.text
    assert f"Best by {score}" in reader.text
    assert ("Confusion matrix" in reader.text) == (heads != "binary")
    assert ("svg" in reader.tags) == (heads != "binary")
    for word in ("LISA", "gIoU", "queries", "answer:", "published"):
        assert word not in reader.text
    assert len(reader.sources) == 4
    assert all(source.startswith(("data:image/png;", "data:image/jpeg;")) for source in reader.sources)


@pytest.mark.usefixtures("no_figure")
def test_names_of_classes_stay_text(make_dense: MakeDense) -> None:
    path = make_dense(classes=HOSTILE, config={"description": HOSTILE[0]})
    write_report(path)
    reader = _Reader(path)
    assert not reader.tags & {"script", "img src=x"}
    assert reader.text.count(HOSTILE[0]) >= 5  # description, by class, both sides of the matrix, data
    assert HOSTILE[2] in reader.text
    assert all(source.startswith("data:image/png;") for source in reader.sources)
    card = model_card(RunDir(path))
    assert "<script>" not in card.replace("\\<", "")
    rows = [line for line in card.splitlines() if line.startswith("| a\\|b")]
    assert rows
    assert all(row.replace("\\|", "").count("|") == 11 for row in rows)


@pytest.mark.usefixtures("no_figure")
def test_a_run_that_has_just_begun(make_dense: MakeDense) -> None:
    nothing = dict.fromkeys(
        ("training_history.json", "parameters.json", "data.json", "environment.json", SCORES, f"before/{SCORES}")
    )
    path = make_dense(files=nothing)
    assert write_report(path) == [path / "report.html"]
    text = _Reader(path).text
    for words in ("Not complete: 0 of 6", "No scores yet", "No epoch has ended yet", "There is none yet"):
        assert words in text
    assert "?" in model_card(RunDir(path))
    assert compare_sections(read_runs([path]))


@pytest.mark.usefixtures("no_figure")
def test_the_card_has_scores_classes_stages_and_curve(make_dense: MakeDense) -> None:
    path = make_dense()
    card, document = model_card(RunDir(path)), read_json(path / SCORES)
    facts = read_run(path)
    for value in (
        document["protocol"], *(f"{value:.3f}" for value in document["metrics"].values()), *CLASSES,
        *(f"{row['iou']:.3f}" for row in document["by_class"].values()), "## Stages", "## Curve",
        f"epoch {facts.best_epoch}, with `val_mIoU` {facts.epochs[facts.best_epoch]['val_mIoU']:.3f}",
        "most_frequent_class (background)", "| unet",
    ):  # fmt: skip
        assert value in card
    assert "training_history.png" not in card
    write_report(path)
    assert "](training_history.png)" in model_card(RunDir(path))


def test_dense_runs_stand_side_by_side(make_dense: MakeDense) -> None:
    other = {"optim": {"lr": 0.5}, "model": {"encoder": "facebook/dinov2-small", "decoder": "dpt"}}
    paths = [make_dense("a"), make_dense("b", config=other, files={SCORES: dense_scores(skill=1.0)})]
    runs = read_runs(paths)
    text = markdown("", compare_sections(runs))
    scores = [run.scores[0] for run in runs]
    for name in ("mIoU", "foreground_dice"):
        assert re.search(rf"\| {name} +\| {scores[0]['metrics'][name]:.3f} +\| {scores[1]['metrics'][name]:.3f} ", text)
    ious = [f"{document['by_class']['pole']['iou']:.3f}" for document in scores]
    assert re.search(rf"IoU of pole +\| {ious[0]} +\| {ious[1]} ", text)
    for words in ("facebook/dinov2-small", "optim.lr", "`val_mIoU`", "`lr`", "stage 2", "(best)"):
        assert words in text
    assert "LISA" not in text
    assert "cannot be compared" not in text
    assert "published" not in to_json(runs)
    rows = {(row["name"], row["group"], row["key"], row["epoch"]): row["value"]
            for row in csv.DictReader(io.StringIO(to_csv(runs)))}  # fmt: skip
    assert float(rows["b", "scores streets val, dense", "mIoU", ""]) == scores[1]["metrics"]["mIoU"]
    assert float(rows["a", "history", "val_f1_macro", "6"]) == runs[0].val[-1]["val_f1_macro"]
    assert not [key for key in rows if "published" in key[1]]


def test_other_classes_are_called_other_classes(make_dense: MakeDense) -> None:
    paths = [make_dense("a", "classes"), make_dense("b", "classes", classes=("x", "y"))]
    assert "means over classes cannot be compared" in markdown("", compare_sections(read_runs(paths)))


def test_the_two_kinds_are_not_compared(
    make_dense: MakeDense, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [make_dense("a"), make_run("b"), make_run("c")]
    assert main(["compare", *map(str, paths)]) == 2
    told = capsys.readouterr().err
    assert "have no score in common" in told
    assert f"dense: {paths[0]}" in told
    assert f"reasoning: {paths[1]}, {paths[2]}" in told


def test_the_command_writes_pages_of_dense_runs(
    make_dense: MakeDense, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [make_dense("a"), make_dense("b", "classes")]
    assert main(["compare", *map(str, paths), "--out", str(tmp_path / "out"), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [run["best_key"] for run in content["runs"]] == ["val_mIoU", "val_mIoU"]
    text = (tmp_path / "out" / "compare.html").read_text()
    assert "data:image/png;base64," in text
    assert not re.search(r"(src|href)=.?(https?:)?//", text)


def test_a_column_of_scores_has_what_the_file_has() -> None:
    document = dense_scores()
    values = score_values(document)
    for name, value in document["metrics"].items():
        assert values[name] == value
    assert values["IoU of sky"] == document["by_class"]["sky"]["iou"]
    assert values["mIoU without a model: most_frequent_class (background)"] is not None
    assert "mIoU without a model: everything" not in values
    assert values["without_foreground"] == document["counts"]["without_foreground"]


def test_the_pictures_of_a_dense_run_without_ids_or_files_are_told(make_dense: MakeDense) -> None:
    path = make_dense(files={"training_history.json": None})
    folder = add_pictures(path)
    content = read_json(folder / "index.json")
    del content["pictures"][0]["id"]
    (folder / content["pictures"][1]["file"]).unlink()
    content["pictures"][2]["file"] = "../../../config.yaml"
    write_json(folder / "index.json", content)
    write_report(path)
    text = _Reader(path).text
    assert "the picture median-1_street-1.png is missing" in text
    assert "street/2" not in text
