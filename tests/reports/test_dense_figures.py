"""The nine panels of a dense run: which ones, what is drawn in them, and marks for stages and the best epoch."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.axes
import pytest
from PIL import Image
from tests.reports.dense_factory import CLASSES, dense_history, dense_scores, write_dense_run

from segtune.engine.config import BINARY_METRICS, CLASS_METRICS
from segtune.losses.config import BINARY_TERMS, CLASS_TERMS
from segtune.reports.compare import DENSE_PROGRESSION
from segtune.reports.facts import RunFacts, read_run
from segtune.reports.figures import DPI, SIZE, comparison_figure, history_figure
from segtune.reports.panels import BY_CLASS, PANELS, RATE, panels_of

SCORES = "eval_streets_val_dense.json"


class Drawn:
    """What is drawn, by the title of its panel."""

    def __init__(self) -> None:
        self.lines: dict[str, list[tuple[list, list]]] = {}
        self.marks: dict[str, list[float]] = {}
        self.bars: dict[str, Sequence[float]] = {}
        self.notes: list[str] = []
        self.scales: dict[str, str] = {}
        self.names: list[str] = []


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    axes_class, seen = matplotlib.axes.Axes, Drawn()
    plot, axvline, barh, annotate, set_yscale = (
        getattr(axes_class, name) for name in ("plot", "axvline", "barh", "annotate", "set_yscale")
    )

    def spy_plot(self: Any, x: list, y: list, **style: Any) -> Any:
        seen.lines.setdefault(self.get_title(), []).append((x, y))
        return plot(self, x, y, **style)

    def spy_mark(self: Any, x: float, **style: Any) -> Any:
        seen.marks.setdefault(self.get_title(), []).append(x)
        return axvline(self, x, **style)

    def spy_bars(self: Any, y: Any, width: Any, **style: Any) -> Any:
        seen.bars[self.get_title()] = list(width)
        return barh(self, y, width, **style)

    def spy_note(self: Any, text: str, *args: Any, **style: Any) -> Any:
        seen.notes.append(text)
        return annotate(self, text, *args, **style)

    def spy_scale(self: Any, value: str, **options: Any) -> Any:
        seen.scales[self.get_title()] = value
        return set_yscale(self, value, **options)

    for name, spy in (
        ("plot", spy_plot), ("axvline", spy_mark), ("barh", spy_bars), ("annotate", spy_note),
        ("set_yscale", spy_scale),
    ):  # fmt: skip
        monkeypatch.setattr(axes_class, name, spy)
    # what is handed to matplotlib is looked at here; painting it takes a second a figure
    monkeypatch.setattr("segtune.reports.figures._png", lambda figure, dpi: b"PNG")
    return seen


def _facts(path: Path, heads: str = "both", **parts: Any) -> RunFacts:
    return read_run(write_dense_run(path / heads, heads, **parts))


@pytest.mark.parametrize("optional", [(), ("focal", "binary_focal")])
@pytest.mark.parametrize("heads", ["classes", "binary", "both"])
def test_nine_panels_by_the_heads_that_are_there(heads: str, optional: tuple[str, ...], tmp_path: Path) -> None:
    files = {"training_history.json": dense_history(heads, 3, optional=optional)}
    facts = _facts(tmp_path, heads, files=files)
    panels = panels_of(facts)
    assert len(panels) == 9
    assert len({title for title, _ in panels}) == 9
    keys = {curve.key for _, curves in panels for curve in curves}
    history = {key for row in (*facts.train, *facts.val) for key in row}
    assert keys <= history  # no panel waits for what never comes
    wanted = {"loss", "lr"}
    wanted |= {*CLASS_TERMS, *CLASS_METRICS} - {"f1_micro"} if heads != "binary" else set()
    wanted |= {*BINARY_TERMS} if heads != "classes" else set()
    wanted |= {*BINARY_METRICS} if heads == "binary" else set()
    wanted |= {"foreground_dice", "foreground_iou"} if heads == "both" else set()
    wanted |= {"focal"} if optional and heads != "binary" else set()
    wanted |= {"binary_focal"} if optional and heads != "classes" else set()
    assert wanted <= keys
    assert (BY_CLASS in dict(panels)) == (heads == "classes")
    for _, curves in panels:
        assert len({curve.marker for curve in curves}) == len({str(curve.dash) for curve in curves}) == len(curves)
    if heads != "binary":  # which is why one panel stands for both
        assert all(row["f1_micro"] == pytest.approx(row["accuracy"]) for row in facts.train)


def test_reasoning_runs_keep_their_panels(make_run: Any) -> None:
    assert panels_of(read_run(make_run())) is PANELS


@pytest.mark.parametrize("heads", ["classes", "binary", "both"])
def test_the_values_of_the_history_are_drawn_with_marks_of_stages(heads: str, tmp_path: Path, drawn: Drawn) -> None:
    facts = _facts(tmp_path, heads)
    history_figure(facts)
    assert drawn.lines["Total loss"] == [
        ([1, 2, 3, 4, 5, 6], [row[key] for row in rows])
        for key, rows in (("loss", facts.train), ("val_loss", facts.val))
    ]
    curves = {title for title in drawn.marks if title}
    assert len(curves) == (8 if heads == "classes" else 9)
    for title in curves:
        assert drawn.marks[title] == [facts.best_epoch, 3.5, 5.5]
    assert drawn.notes == ["stage 2", "stage 3"]
    assert drawn.scales == {RATE: "log"}  # 1 to 0.05
    assert bool(drawn.bars) == (heads == "classes")


def test_a_run_in_one_piece_has_no_marks_of_stages(tmp_path: Path, drawn: Drawn) -> None:
    facts = _facts(tmp_path, files={"training_history.json": dense_history(epochs=3, stages=())})
    history_figure(facts)
    assert all(marks == [facts.best_epoch] for marks in drawn.marks.values())
    assert not drawn.notes
    assert drawn.scales == {}


def test_bars_are_the_scores_by_class_and_of_many_the_lowest(tmp_path: Path, drawn: Drawn) -> None:
    facts = _facts(tmp_path, "classes")
    history_figure(facts)
    ious = [row["iou"] for row in facts.scores[0]["by_class"].values()]
    assert list(drawn.bars.values()) == [ious]
    many = dense_scores("classes", classes=[f"c{index}" for index in range(30)], images=2)
    history_figure(_facts(tmp_path / "many", "classes", files={SCORES: many}))
    ious = sorted(row["iou"] for row in many["by_class"].values() if row["iou"] is not None)
    assert drawn.bars["IoU by class, the lowest 20 of 30: streets val, dense"] == ious[:20]


@pytest.mark.parametrize(
    "history",
    [
        {"train": [{"epoch": 1, "loss": None, "mIoU": 0.5, "lr": 0.0}], "val": []},
        {"train": [{"epoch": 1, "loss": 1.0}], "val": []},
        {"train": [{"epoch": 1, "foreground_dice": None, "lr": None, "stage": 1}], "val": []},
    ],
)
def test_little_history_is_enough(history: dict[str, Any], tmp_path: Path, drawn: Drawn) -> None:
    nothing = {SCORES: None, f"before/{SCORES}": None}
    assert history_figure(_facts(tmp_path, files={"training_history.json": history, **nothing}))
    assert not drawn.bars


def test_size_resolution_and_names_that_are_no_formulas(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    names = ["$\\frac{$", "\u5199\u771f", "a_b^c", "<b>"]
    files = {SCORES: dense_scores("classes", classes=names)}
    picture = Image.open(io.BytesIO(history_figure(_facts(tmp_path, "classes", files=files))))
    assert picture.info["dpi"] == pytest.approx((DPI, DPI), abs=0.1)
    assert picture.size == (round(SIZE[0] * DPI), round(SIZE[1] * DPI))
    assert not recwarn.list


def test_the_same_run_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segtune.reports.figures.DPI", 30)
    facts = _facts(tmp_path, "classes")
    assert history_figure(facts) == history_figure(facts)


def test_curves_of_dense_runs(tmp_path: Path, drawn: Drawn) -> None:
    runs = [_facts(tmp_path / "a"), _facts(tmp_path / "b", "classes")]
    assert comparison_figure(runs, DENSE_PROGRESSION)
    assert set(drawn.lines) == set(DENSE_PROGRESSION)
    assert len(drawn.lines["val_mIoU"]) == 4  # two lines and the rings on them
    assert len(drawn.lines["val_foreground_dice"]) == 2
    assert len(CLASSES) == len(runs[0].scores[0]["by_class"])
