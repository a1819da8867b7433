"""`training_history.png`, nine panels of a run's history, and the curves of several runs; readable without colour."""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from segtune.reports.documents import interval, is_number, scored_classes, title
from segtune.reports.facts import RunFacts
from segtune.reports.panels import BY_CLASS, LOSS_AND_CE, PANELS, RATE, SPEED_AND_MEMORY, Curve, panels_of

__all__ = ["DPI", "PANELS", "SIZE", "comparison_figure", "history_figure"]

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

DPI = 300
SIZE = (13.0, 10.5)  # inches
_MARKERS = 14  # on one line; more run into each other
_BARS, _NAME = 20, 18  # bars of one panel, and the letters of a name beside one
_COMPARED_DPI = 110  # a page shows it on a screen
_COLUMNS, _PANEL = 2, (6.0, 3.2)  # panels in a row of the compared curves, and the inches of each
_DASHES, _SHAPES = ("-", "--", "-.", ":"), ("o", "s", "^", "D", "x", "v", "P")
_SHADES = ("#1f4e9c", "#d9660a", "#5b8fd6", "#8a3d00", "k")


def history_figure(facts: RunFacts) -> bytes:
    """Draws the history of a run.

    A value that is null is a gap in its line; a value between two gaps keeps its marker. The dotted upright line marks
    the best epoch, thin ones mark where a stage begins. The same history gives the same bytes.

    Args:
        facts: A run with at least one epoch.

    Returns:
        A PNG of 300 dots per inch.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells everybody that it builds its list of fonts
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (heading, curves) in zip(figure.subplots(3, 3).flat, panels_of(facts), strict=True):
        if heading == BY_CLASS:
            _class_bars(axes, facts)
        else:
            _panel(axes, heading, curves, facts)
    best = "" if facts.best_epoch is None else f"dotted: best epoch {facts.best_epoch}, by {facts.best_key}"
    stages = "thin upright lines: where a stage begins" if len(facts.stages) > 1 else ""
    told = "; ".join(part for part in (best, stages) if part)
    # a dollar sign in the name of a run is no formula
    figure.suptitle(f"{facts.name}   ({told})" if told else facts.name, fontsize=12, parse_math=False)
    return _png(figure, DPI)


def comparison_figure(runs: Sequence[RunFacts], keys: Sequence[str]) -> bytes:
    """Draws the curves of several runs into one panel a key; a run has the same dash, marker and shade in all of them.

    Args:
        runs: Each under a name of its own.
        keys: Of the history; one that no run has gets no panel.

    Returns:
        A PNG; nothing where there is nothing to draw.
    """
    panels = [key for key in keys if any(is_number(row.get(key)) for run in runs for row in (*run.train, *run.val))]
    if not panels:
        return b""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # as above
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = math.ceil(len(panels) / _COLUMNS)
    size = (_COLUMNS * _PANEL[0], rows * _PANEL[1] + 0.3 * len(runs))
    figure = Figure(figsize=size, dpi=_COMPARED_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    places = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
    lines: dict[int, Line2D] = {}
    for axes, key in zip(places, panels, strict=False):
        lines = {**_compared(axes, key, runs), **lines}
    for axes in places[len(panels) :]:
        axes.remove()
    # the blank lets a name begin with an underscore, by which matplotlib leaves a line out
    named = [(line, f" {runs[index].name}") for index, line in sorted(lines.items())]
    legend = figure.legend(*zip(*named, strict=True), loc="outside upper left", fontsize=8, handlelength=4)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return _png(figure, _COMPARED_DPI)


def _compared(axes: Axes, key: str, runs: Sequence[RunFacts]) -> dict[int, Line2D]:
    """One panel; the lines of the runs that have the key, by the place of the run. A ring marks its best epoch."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(key, fontsize=10)
    axes.set_xlabel("epoch", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, color="0.9", linewidth=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    lines = {}
    for index, run in enumerate(runs):
        curve = _of_run(index, key)
        if not _draw(axes, curve, run):
            continue
        lines[index] = axes.get_lines()[-1]
        best: Any = run.epochs.get(run.best_epoch or 0, {}).get(key)
        if run.best_epoch is not None and is_number(best):
            axes.plot(
                [run.best_epoch], [best], linestyle="", marker="o", markersize=11, markerfacecolor="none",
                color=curve.color,
            )  # fmt: skip
    return lines


def _of_run(index: int, key: str) -> Curve:
    """How the line of a run is told apart from those of the others."""
    parts = (options[index % len(options)] for options in (_DASHES, _SHAPES, _SHADES))
    return Curve(key, "", *parts)


def _png(figure: Figure, dpi: int) -> bytes:
    """The figure as a file, without the name and version of what drew it."""
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters of a name that the font lacks
        figure.savefig(picture, format="png", dpi=dpi, metadata={"Software": None})
    return picture.getvalue()


def _panel(axes: Axes, heading: str, curves: Sequence[Curve], facts: RunFacts) -> None:
    axes.set_title(heading, fontsize=10)
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, color="0.9", linewidth=0.6)
    right_keys, right_label = _right(heading, facts)
    right = axes.twinx() if right_keys else None
    drawn = [_draw(right if right is not None and curve.key in right_keys else axes, curve, facts) for curve in curves]
    _epochs(axes, facts)
    if not any(drawn):
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", va="center", fontsize=9, color="0.4")
        return
    if facts.best_epoch is not None:
        axes.axvline(facts.best_epoch, color="0.35", linestyle=(0, (1, 2)), linewidth=1.2, zorder=1)
    _stage_marks(axes, facts, named=heading == RATE)
    if heading == RATE:
        _rate_axis(axes, facts)  # one line, which needs no legend
        return
    _legend(axes, right)
    if right is not None:
        right.tick_params(labelsize=8)
        right.set_ylabel(right_label, fontsize=8)


def _right(heading: str, facts: RunFacts) -> tuple[tuple[str, ...], str]:
    """The keys that have an axis of their own on the right, and what stands beside it."""
    if heading == SPEED_AND_MEMORY:
        return ("peak_memory_gb",), "GB"
    return (("ce", "val_ce"), "CE") if heading == LOSS_AND_CE and _ce_has_other_size(facts) else ((), "")


def _epochs(axes: Axes, facts: RunFacts) -> None:
    """The axis of epochs: whole numbers, and as long in every panel."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch", fontsize=8)
    epochs = [row["epoch"] for row in facts.train] or [1]
    margin = max(0.5, 0.03 * (epochs[-1] - epochs[0]))
    axes.set_xlim(epochs[0] - margin, epochs[-1] + margin)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))


def _legend(axes: Axes, right: Axes | None) -> None:
    """Names the lines of a panel; a tall legend, or one of two axes, gets room of its own above the lines."""
    lines = [line for place in (axes, right) if place is not None for line in place.get_lines()]
    named = [line for line in lines if not str(line.get_label()).startswith("_")]
    tall = len(named) > 2 or right is not None
    if tall:
        room = 0.3 if len(named) <= 5 else 0.4
        for place in (axes, right) if right is not None else (axes,):
            low, high = place.get_ylim()
            place.set_ylim(low, high + room * (high - low))
    # on the upper of two axes, or the lines of the other would cross it
    legend = (right or axes).legend(handles=named, fontsize=7, framealpha=0.8, handlelength=3.5, ncols=2 if tall else 1)
    if tall:
        legend.set_loc("upper left")


def _stage_marks(axes: Axes, facts: RunFacts, *, named: bool) -> None:
    """Thin lines between the last epoch of a stage and the first one of the next."""
    for stage in facts.stages[1:]:
        axes.axvline(stage.first - 0.5, color="0.45", linewidth=0.8, zorder=1)
        if named:
            axes.annotate(
                f"stage {stage.number}", (stage.first - 0.5, 1), xycoords=("data", "axes fraction"), xytext=(3, -4),
                textcoords="offset points", rotation=90, ha="left", va="top", fontsize=7, color="0.25",
            )  # fmt: skip


def _rate_axis(axes: Axes, facts: RunFacts) -> None:
    """Rates that differ by more than a factor of ten can be read on a logarithmic axis alone."""
    rates = [row["lr"] for row in facts.train if is_number(row.get("lr"))]
    if min(rates) > 0 and max(rates) > 10 * min(rates):
        axes.set_yscale("log")
    else:
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        axes.yaxis.get_offset_text().set_fontsize(8)


def _class_bars(axes: Axes, facts: RunFacts) -> None:
    """The IoU of each class with its interval, of the first scores there are; of many classes the lowest ones."""
    document = next((one for one in facts.scores if scored_classes(one)), None)
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, axis="x", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    if document is None:
        axes.set_title(BY_CLASS, fontsize=10)
        axes.text(0.5, 0.5, "no scores yet", transform=axes.transAxes, ha="center", va="center", color="0.4")
        return
    rows = scored_classes(document)
    shown = [name for name in rows if is_number(rows[name].get("iou"))]
    if len(shown) > _BARS:
        shown = sorted(shown, key=lambda name: rows[name]["iou"])[:_BARS]
    lowest = f", the lowest {len(shown)} of {len(rows)}" if len(shown) == _BARS < len(rows) else ""
    axes.set_title(f"{BY_CLASS}{lowest}: {title(document)}", fontsize=10, parse_math=False)
    values = [rows[name]["iou"] for name in shown]
    limits = [interval(rows[name], "iou") or (value, value) for name, value in zip(shown, values, strict=True)]
    errors = [[max(0.0, v - low) for v, (low, _) in zip(values, limits, strict=True)],
              [max(0.0, high - v) for v, (_, high) in zip(values, limits, strict=True)]]  # fmt: skip
    axes.barh(
        range(len(shown)), values, xerr=errors, color="#5b8fd6", height=0.7, capsize=2,
        error_kw={"linewidth": 1, "ecolor": "0.15"},
    )  # fmt: skip
    axes.set_yticks(range(len(shown)), [_short(name) for name in shown], fontsize=7)
    axes.set_xlim(0, 1)
    axes.invert_yaxis()


def _short(name: str) -> str:
    """A name of a class that fits beside its bar; a dollar sign in it is no formula."""
    name = name if len(name) <= _NAME else f"{name[: _NAME - 1]}\u2026"
    return name.replace("$", r"\$")


def _ce_has_other_size(facts: RunFacts) -> bool:
    """Whether one axis would press the CE or the total into a flat line."""
    rows = [*facts.train, *facts.val]
    top = {
        key: max((row[name] for row in rows for name in (key, f"val_{key}") if is_number(row.get(name))), default=0)
        for key in ("loss", "ce")
    }
    return min(top.values()) > 0 and not 1 / 3 <= top["ce"] / top["loss"] <= 3


def _draw(axes: Axes, curve: Curve, facts: RunFacts) -> bool:
    """One line; False where the run has no such value. Epochs that were not validated are no gaps."""
    rows = facts.val if curve.key.startswith("val_") else facts.train
    points = [(row["epoch"], row[curve.key]) for row in rows if curve.key in row]
    values = [float(value) if is_number(value) else math.nan for _, value in points]
    if all(math.isnan(value) for value in values):
        return False
    axes.plot(
        [epoch for epoch, _ in points], values, label=curve.label, color=curve.color, linestyle=curve.dash,
        linewidth=1.4, marker=curve.marker, markersize=4.5, markevery=_marked(values, points, facts.best_epoch),
        markerfacecolor="white" if curve.key.startswith("val_") else curve.color,
    )  # fmt: skip
    return True


def _marked(values: list[float], points: list[tuple[int, object]], best: int | None) -> list[int]:
    """Which points of a line get a marker: some, the best epoch, and each that no line would show."""
    stride = max(1, math.ceil(len(values) / _MARKERS))
    around = [math.nan, *values, math.nan]
    return [
        index
        for index, (epoch, _) in enumerate(points)
        if index % stride == 0 or epoch == best or (math.isnan(around[index]) and math.isnan(around[index + 2]))
    ]
