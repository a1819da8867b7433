"""The figure: nine panels at 300 dots per inch, the same for the same history, readable whatever the history."""

from __future__ import annotations

import io
from typing import Any

import matplotlib.axes
import numpy as np
import pytest
from PIL import Image
from tests.reports.conftest import MakeRun, history

from segtune.reports.facts import read_run
from segtune.reports.figures import DPI, PANELS, SIZE, history_figure


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
