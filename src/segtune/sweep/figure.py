"""`axes.png`: each axis of a search against its metric, readable without colour."""

from __future__ import annotations

import io
import logging
import math
import statistics
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from segtune.sweep.config import Range, SearchConfig, label
from segtune.sweep.place import run_name
from segtune.sweep.trials import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI = 150
PANEL = (4.6, 3.6)  # inches
_COLUMNS = 3
_LETTERS = 14  # of a value below its axis


def axes_figure(search: SearchConfig, trials: Sequence[Trial], best: Trial | None) -> bytes:
    """Draws one panel an axis.

    A filled circle is a complete trial, a hollow triangle a pruned one (its last value), a cross on the lower edge a
    failed one; a ring is the best. A short bar is the median of the complete trials with one listed value.

    Args:
        search: Its axes and metric.
        trials: Those that count.
        best: The ring.

    Returns:
        A PNG of 150 dots per inch; the same trials give the same bytes.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells everybody that it builds its list of fonts
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(search.axes))
    rows = math.ceil(len(search.axes) / columns)
    size = (PANEL[0] * columns, PANEL[1] * rows + 0.6)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel, key in zip(panels, search.axes, strict=False):
        _panel(panel, key, search, trials, best)
    for panel in panels[len(search.axes) :]:
        panel.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False)
    ring = "" if best is None else f"   (ring: {run_name(best.number)}, {best.value:.4f})"
    figure.suptitle(f"{search.name}: {search.metric}{ring}", fontsize=11, parse_math=False)
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters of a name that the font lacks
        figure.savefig(picture, format="png", dpi=DPI, metadata={"Software": None})
    return picture.getvalue()


def _panel(panel: Axes, key: str, search: SearchConfig, trials: Sequence[Trial], best: Trial | None) -> None:
    axis = search.axes[key]
    listed = None if isinstance(axis, Range) else [label(value) for value in axis]

    def place(trial: Trial) -> float:
        """Where a trial stands on the horizontal axis: its number, or the place of its value in the list."""
        value = trial.settings[key]
        return float(value) if listed is None else float(listed.index(label(value)))

    panel.set_title(key, fontsize=10, parse_math=False)
    panel.set_ylabel(str(search.metric), fontsize=8, parse_math=False)
    panel.tick_params(labelsize=8)
    panel.grid(visible=True, color="0.9", linewidth=0.6)
    if listed is not None:
        short = [text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…" for text in listed]
        panel.set_xticks(range(len(short)), short, parse_math=False)
        panel.set_xlim(-0.6, len(short) - 0.4)
    elif isinstance(axis, Range) and axis.log:
        panel.set_xscale("log")
    _draw(panel, trials, place)
    if best is not None and best.value is not None:
        panel.plot([place(best)], [best.value], "o", markersize=11, markerfacecolor="none", color="k", label="best")
    if listed is not None:
        _medians(panel, trials, place)


def _draw(panel: Axes, trials: Sequence[Trial], place: Any) -> None:
    marks: dict[str, dict[str, Any]] = {
        "complete": {"marker": "o", "color": "#1f4e9c", "markerfacecolor": "#1f4e9c"},
        "pruned": {"marker": "v", "color": "#d9660a", "markerfacecolor": "white"},
    }
    for state, look in marks.items():
        points = [(place(trial), trial.value) for trial in trials if trial.state == state and trial.value is not None]
        if points:
            panel.plot(*zip(*points, strict=True), linestyle="none", markersize=5, label=state, **look)
    failed = [place(trial) for trial in trials if trial.state == "failed"]
    if failed:
        panel.plot(
            failed, [0.03] * len(failed), "x", color="0.3", markersize=5, label="failed",
            transform=panel.get_xaxis_transform(),
        )  # fmt: skip


def _medians(panel: Axes, trials: Sequence[Trial], place: Any) -> None:
    groups: dict[float, list[float]] = {}
    for trial in trials:
        if trial.state == "complete" and trial.value is not None:
            groups.setdefault(place(trial), []).append(trial.value)
    for index, (where, values) in enumerate(sorted(groups.items())):
        median = statistics.median(values)
        name = "median" if index == 0 else "_median"
        panel.plot([where - 0.25, where + 0.25], [median, median], "-", color="0.35", linewidth=1.2, label=name)
