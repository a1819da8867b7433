"""The figure: nine panels at 300 dots per inch, the same for the same history, readable whatever the history."""

from __future__ import annotations

import io
from typing import Any

import matplotlib.axes
import numpy as np
import pytest
from PIL import Image
from tests.reports.conftest import MakeRun, history

from segtune.reports.compare import PROGRESSION
from segtune.reports.facts import read_run
from segtune.reports.figures import DPI, PANELS, SIZE, comparison_figure, history_figure


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[float], list[float], dict[str, Any]]]:
    """Every line that is drawn, with its style."""
    lines: list[tuple[list[float], list[float], dict[str, Any]]] = []
    plot = matplotlib.axes.Axes.plot

    def spy(self: matplotlib.axes.Axes, x: list[float], y: list[float], **style: Any) -> Any:
        lines.append((x, y, {**style, "axes": self}))
        return plot(self, x, y, **style)

    monkeypatch.setattr(matplotlib.axes.Axes, "plot", spy)
    monkeypatch.setattr("segtune.reports.figures.DPI", 30)
    return lines


def test_size_resolution_and_the_same_bytes_again(make_run: MakeRun) -> None:
    facts = read_run(make_run())
    data = history_figure(facts)
    picture = Image.open(io.BytesIO(data))
    assert picture.info["dpi"] == pytest.approx((DPI, DPI), abs=0.1)
    assert picture.size == (round(SIZE[0] * DPI), round(SIZE[1] * DPI))
    assert history_figure(facts) == data


def test_the_panels_of_the_issue() -> None:
    keys = [{curve.key for curve in curves} for _, curves in PANELS]
    wanted = ["loss ce", "bce", "dice", "gIoU cIoU", "accuracy", "f1", "precision", "recall", "auroc"]
    for have, names in zip(keys, wanted, strict=True):
        assert have >= {key for name in names.split() for key in (name, f"val_{name}")}


@pytest.mark.parametrize("panel", range(9))
def test_lines_of_a_panel_are_told_apart_without_colour(panel: int) -> None:
    curves = PANELS[panel][1]
    assert len({curve.marker for curve in curves}) == len(curves)
    assert len({curve.dash for curve in curves}) == len(curves)


def test_nulls_are_gaps_and_a_lonely_value_keeps_its_marker(make_run: MakeRun, drawn: Any) -> None:
    rows = history(40)
    for row in rows["train"]:
        if row["epoch"] in (18, 20):
            row["f1"] = None
    history_figure(read_run(make_run(files={"training_history.json": rows})))
    x, y, style = next(line for line in drawn if sum(np.isnan(line[1])) == 2)
    assert [x[index] for index in np.flatnonzero(np.isnan(y))] == [18, 20]
    assert x.index(19) in style["markevery"]  # no line reaches it
    assert x.index(3) in style["markevery"]  # the best epoch
    assert len(style["markevery"]) < 20


def test_epochs_that_were_not_validated_are_no_gaps(make_run: MakeRun, drawn: Any) -> None:
    history_figure(read_run(make_run(files={"training_history.json": history(9, validate_every=3)})))
    validated = [line for line in drawn if line[0] == [3, 6, 9]]
    assert len(validated) == 11
    assert not np.isnan([line[1] for line in validated]).any()


@pytest.mark.parametrize("epochs", [1, 2])
def test_few_epochs_are_still_to_be_seen(epochs: int, make_run: MakeRun, drawn: Any) -> None:
    history_figure(read_run(make_run(files={"training_history.json": history(epochs)})))
    assert drawn
    for _, _, style in drawn:
        assert style["markevery"] == list(range(epochs))
        low, high = style["axes"].get_xlim()
        assert [tick for tick in style["axes"].get_xticks() if low <= tick <= high] == list(range(1, epochs + 1))


def test_a_history_without_validation_or_values(make_run: MakeRun, drawn: Any) -> None:
    rows = {"train": [{"epoch": 1, "loss": None, "gIoU": 0.5}], "val": [], "benchmarks": {}}
    assert history_figure(read_run(make_run(files={"training_history.json": rows})))
    assert len(drawn) == 1


def test_a_name_is_no_formula(make_run: MakeRun, drawn: Any, recwarn: pytest.WarningsRecorder) -> None:
    assert history_figure(read_run(make_run("$\\frac{$ 写真")))
    assert not recwarn.list


def test_every_run_has_a_line_of_its_own_in_every_panel(make_run: MakeRun, drawn: Any) -> None:
    shorter = make_run("_b $\\frac{$", files={"training_history.json": history(2)})
    runs = [read_run(path) for path in (make_run("a"), shorter)]
    assert Image.open(io.BytesIO(comparison_figure(runs, (*PROGRESSION, "no such key")))).size[0] > 600
    lines = [line for line in drawn if line[2]["linestyle"]]
    keys = [key for key in PROGRESSION if "generate" not in key]  # which these runs do not have
    assert [line[0] for line in lines] == [[1, 2, 3, 4], [1, 2]] * len(keys)
    for name in ("linestyle", "marker", "color"):
        assert len({str(line[2][name]) for line in lines}) == 2, name
    rings = [(line[0], line[1]) for line in drawn if not line[2]["linestyle"]]
    assert rings == [([3], [0.5]), ([2], [0.4])] * len(keys)
    titles = [axes.get_title() for axes in lines[0][2]["axes"].figure.axes]
    assert titles == keys  # no empty panel
    (legend,) = lines[0][2]["axes"].figure.legends
    assert [text.get_text().strip() for text in legend.get_texts()] == ["a", "_b $\\frac{$"]


def test_runs_without_an_epoch_have_no_curves(make_run: MakeRun) -> None:
    assert comparison_figure([read_run(make_run(files={"training_history.json": None}))], PROGRESSION) == b""
