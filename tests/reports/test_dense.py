"""Reports of dense runs: every number comes from the scorer's or the tracker's documents, whatever the classes are."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix
from tests.reports.conftest import MakeRun
from tests.reports.dense_factory import (
    CLASSES,
    dense_history,
    dense_scores,
    labels_of,
    logits_of,
    write_dense_run,
)

from segtune.cli.main import main
from segtune.core.errors import CheckpointError, ConfigError
from segtune.core.files import read_json
from segtune.core.records import IGNORE
from segtune.core.rundir import RunDir
from segtune.losses.config import BINARY_TERMS, CLASS_TERMS, OPTIONAL_DENSE_TERMS
from segtune.metrics.dense_protocol import PROTOCOL
from segtune.reports import facts as facts_module
from segtune.reports.dense import (
    LARGEST_MATRIX,
    class_table,
    confusion_blocks,
    confusion_table,
    confusions_table,
    score_table,
)
from segtune.reports.documents import DENSE_PROTOCOL, verdict
from segtune.reports.facts import read_run
from segtune.reports.summary import closing_lines, evaluation_lines
from segtune.reports.tables import Section, Shade, Table, html_sections, shown

MakeDense = Callable[..., Path]
SCORES = "eval_streets_val_dense.json"


@pytest.fixture
def make_dense(tmp_path: Path) -> MakeDense:
    return lambda name="first", heads="both", **parts: write_dense_run(tmp_path / name, heads, **parts)


def _texts(table: Table) -> list[list[str]]:
    return [[shown(cell) for cell in row] for row in table.rows]


# what a run is


def test_a_run_says_what_it_learns(make_dense: MakeDense, make_run: MakeRun) -> None:
    assert read_run(make_dense()).task == "dense"
    assert read_run(make_run("a")).task == "reasoning"
    assert read_run(make_run("b", config={"task": "reasoning"})).task == "reasoning"
    with pytest.raises(ConfigError, match="depth"):
        read_run(make_run("c", config={"task": "depth"}))


def test_names_that_reports_may_not_import_are_those_of_the_engine() -> None:
    assert PROTOCOL.startswith(DENSE_PROTOCOL)
    losses = {*facts_module._LOSSES, *facts_module._DENSE_LOSSES}
    assert {*CLASS_TERMS, *BINARY_TERMS, *OPTIONAL_DENSE_TERMS} <= losses
    assert {*facts_module._DENSE_LOSSES} <= {*BINARY_TERMS, *OPTIONAL_DENSE_TERMS}


def test_stages_and_the_best_epoch_of_each(make_dense: MakeDense) -> None:
    facts = read_run(make_dense())
    assert [(stage.number, stage.first, stage.last) for stage in facts.stages] == [(1, 1, 3), (2, 4, 5), (3, 6, 6)]
    assert facts.stages[0].best_epoch == 2  # as its checkpoint says
    second = {row["epoch"]: row["val_mIoU"] for row in facts.val if row["epoch"] in (4, 5)}
    assert facts.stages[1].best_epoch == max(second, key=second.__getitem__)
    assert read_run(make_dense("b", files={"training_history.json": dense_history(stages=())})).stages == ()


@pytest.mark.parametrize(
    ("best", "goal"), [("val_binary_bce", min), ("val_dice", min), ("val_foreground_dice", max), ("val_f1_macro", max)]
)
def test_the_best_epoch_goes_by_the_rule_of_the_key(best: str, goal: Callable, make_dense: MakeDense) -> None:
    config = {"train": {"epochs": 6, "best": best, "best_goal": None}}
    facts = read_run(make_dense(config=config))
    values = {row["epoch"]: row[best] for row in facts.val}
    assert facts.best_epoch == goal(values, key=values.__getitem__)


@pytest.mark.parametrize(
    "damage",
    [
        {"confusion": [[1, 2]]}, {"confusion": [[1], [2]]}, {"confusion": 1}, {"by_class": []},
        {"classes": ["other"] * 4}, {"protocol": "segtune-1"},
    ],
)  # fmt: skip
def test_scores_that_contradict_themselves_are_told_by_name(damage: dict, make_dense: MakeDense) -> None:
    path = make_dense(files={SCORES: dense_scores() | damage})
    with pytest.raises(CheckpointError, match=SCORES):
        read_run(path)


def test_scores_of_answers_are_no_scores_of_a_dense_run(make_dense: MakeDense) -> None:
    path = make_dense(files={SCORES: {"data": "a", "split": "b", "mode": "c", "counts": {}, "metrics": {}, "by": {}}})
    with pytest.raises(CheckpointError, match="by_class"):
        read_run(path)


# tables


def test_the_confusion_matrix_is_that_of_sklearn_in_percent() -> None:
    document = dense_scores("classes", images=3, seed=5)
    rng, truth, found = np.random.default_rng(5), [], []
    for _ in range(3):
        labels = labels_of(rng, len(CLASSES))
        predicted = logits_of(rng, labels, len(CLASSES), 2.0).argmax(0)
        rng.standard_normal(labels.shape)  # the factory draws a binary mask as well
        truth.append(labels[labels != IGNORE])
        found.append(predicted[labels != IGNORE])
    wanted = confusion_matrix(np.concatenate(truth), np.concatenate(found), normalize="true") * 100
    table = confusion_table(document)
    assert table.columns == ("truth \\ predicted", *CLASSES, "pixels")
    for row, expected in zip(table.rows, wanted, strict=True):
        assert [float(shown(cell)) for cell in row[1:-1]] == pytest.approx(expected, abs=0.0501)
    cells = [[cell for cell in row if isinstance(cell, Shade)] for row in table.rows]
    assert [[cell.strong for cell in row].index(True) for row in cells] == [0, 1, 2, 3]
    total = sum(int(shown(row[-1]).replace(",", "")) for row in table.rows)
    assert total == document["counts"]["pixels"] - document["counts"]["ignored_pixels"]


def test_the_errors_that_cost_most_come_first() -> None:
    document = dense_scores()
    names, matrix = document["classes"], np.array(document["confusion"])
    rows = _texts(confusions_table(document))
    wrong = matrix - np.diag(np.diag(matrix))
    truth, found = np.unravel_index(wrong.argmax(), wrong.shape)
    assert rows[0][:3] == [names[truth], names[found], f"{wrong.max():,}"]
    assert rows[0][3] == f"{wrong.max() / matrix[truth].sum():.1%}"
    assert rows[0][4] == f"{wrong.max() / wrong.sum():.1%}"
    assert len(rows) == min(10, np.count_nonzero(wrong))


def test_every_metric_has_its_row_with_interval_start_and_baselines() -> None:
    document, before = dense_scores(), dense_scores(skill=0.1, seed=1)
    table = score_table(document, before)
    assert [row[0] for row in table.rows] == list(document["metrics"])
    rows = {row[0]: row[1:] for row in table.rows}
    low, high = document["ci95"]["mIoU"]
    constant = document["baselines"]["most_frequent_class"]["mIoU"]
    assert rows["mIoU"][:4] == (
        document["metrics"]["mIoU"], f"{low:.3f} to {high:.3f}", before["metrics"]["mIoU"], constant
    )  # fmt: skip
    assert table.columns[4] == "without a model: most_frequent_class (background)"
    assert rows["foreground_dice"][-2:] == tuple(
        document["baselines"][name]["foreground_dice"] for name in ("everything", "nothing")
    )
    assert len(score_table(document).columns) == len(table.columns) - 1


def test_a_class_that_is_nowhere_has_dashes_and_an_empty_bar() -> None:
    document = dense_scores("classes", classes=(*CLASSES[:1], "road", "sky"), images=1)
    document["by_class"]["sky"] |= dict.fromkeys(("iou", "dice", "precision", "recall", "boundary_iou"))
    document["by_class"]["sky"] |= {"ci95": {"iou": None}, "truth": 0, "images": 0}
    document["confusion"] = [[5, 1, 0], [0, 7, 0], [0, 0, 0]]
    assert _texts(class_table(document))[2][1:4] == ["-", "\u00b7" * 10, "-"]
    assert _texts(confusion_table(document))[2][1:] == ["-", "-", "-", "0"]
    page = html_sections([Section("", (class_table(document), confusion_table(document)))])
    assert page.count('aria-label="no value"') == 1


@pytest.mark.parametrize("classes", [LARGEST_MATRIX, LARGEST_MATRIX + 1])
def test_a_large_matrix_is_no_table_but_its_errors_are_named(classes: int) -> None:
    document = dense_scores("classes", classes=[f"class {index}" for index in range(classes)], images=1)
    tables = [block for block in confusion_blocks(document) if isinstance(block, Table)]
    assert [len(table.columns) for table in tables] == ([6] if classes > LARGEST_MATRIX else [classes + 2, 6])
    assert len(class_table(document).rows) == classes
    document["confusion"] = np.diag(np.diag(document["confusion"])).tolist()
    assert confusion_blocks(document)[-1] == "No pixel is wrong."


@pytest.mark.parametrize(("skill", "words"), [(4.0, "above it"), (-4.0, "below it")])
def test_the_verdict_compares_the_interval_with_the_best_baseline(skill: float, words: str) -> None:
    assert verdict(dense_scores(skill=skill), "mIoU").endswith(f"the model is {words}.")
    assert "`everything`" in verdict(dense_scores(skill=skill), "foreground_dice")
    assert "nothing to compare" in verdict(dense_scores("classes", frequent_class=None), "mIoU")


# lines of text


@pytest.mark.parametrize("heads", ["classes", "binary", "both"])
def test_an_evaluation_in_lines_holds_every_metric_class_and_baseline(heads: str) -> None:
    document = dense_scores(heads, skipped=3, deviations=["first_4_images"])
    lines = evaluation_lines(document)
    text = "\n".join(lines)
    assert lines[0].startswith("streets val, dense: 6 images, 4,608 pixels")
    assert "3 skipped" in lines[0]
    assert "first 4 images" in lines[0]
    for name, value in document["metrics"].items():
        assert re.search(rf"^  {name} +{value:.3f}", text, re.MULTILINE)
    for name, (low, high) in ((n, limits) for n, limits in document["ci95"].items() if limits):
        assert re.search(rf"^  {name} .*\[{low:.3f}, {high:.3f}\]", text, re.MULTILINE)
    for name, row in document["by_class"].items():
        assert f"{name} {row['iou']:.3f}" in text
    for name in document["baselines"]:
        assert f"baseline {name}" in text
    assert max(map(len, lines[1:])) <= 110


def test_a_metric_without_a_value_says_why() -> None:
    document = dense_scores("binary", images=1)
    document["metrics"]["foreground_auroc"] = None
    document["undefined"] = {"foreground_auroc": "all pixels belong to one class"}
    assert "  foreground_auroc                -  (all pixels belong to one class)" in evaluation_lines(document)


def test_many_classes_are_told_by_the_lowest() -> None:
    names = [f"c{index}" for index in range(50)]
    document = dense_scores("classes", classes=names, images=2)
    lines = evaluation_lines(document)
    told = " ".join(lines).split("(the lowest 40 of 50) ")[1]
    lowest = min(names, key=lambda name: (document["by_class"][name]["iou"] is None, document["by_class"][name]["iou"]))
    assert told.startswith(f"{lowest} ")


def test_the_last_words_of_a_training(make_dense: MakeDense) -> None:
    path = make_dense()
    text = "\n".join(closing_lines(RunDir(path)))
    before, after = (read_json(place / SCORES)["metrics"] for place in (path / "before", path))
    for name in ("mIoU", "accuracy", "f1_macro", "foreground_dice", "foreground_iou", "foreground_image_dice"):
        assert re.search(rf"^  {name} +{before[name]:.3f}  {after[name]:.3f}  \[", text, re.MULTILINE)
    assert "before  after" in text
    alone = make_dense("b", "binary", files={f"before/{SCORES}": None})
    text = "\n".join(closing_lines(RunDir(alone)))
    assert "before" not in text
    assert "IoU by class" not in text
    assert closing_lines(RunDir(make_dense("c", files={SCORES: None}))) == []


def test_an_evaluation_of_answers_prints_as_before(make_run: MakeRun) -> None:
    document = read_json(make_run() / "eval_scenes_val_generate.json")
    assert evaluation_lines(document) == [
        "scenes val, generate: 10 queries about 4 images",
        "  gIoU 0.300  [0.250, 0.350]  short 0.300  long 0.300  <i>colour</i> 0.300",
        "  cIoU 0.150  short 0.150  long 0.150  <i>colour</i> 0.150",
        "  baseline nothing: gIoU 0.000  cIoU 0.000",
        "  baseline mean_mask: gIoU 0.123  cIoU 0.100",
    ]


def test_the_command_prints_what_the_reports_say(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    document = dense_scores()
    monkeypatch.setattr("segtune.experiment.evaluate", lambda *args, **options: [document])
    assert main(["evaluate", "runs/x", "--data", "masks:streets@val"]) == 0
    assert capsys.readouterr().out.splitlines() == evaluation_lines(document)
