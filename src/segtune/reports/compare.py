"""Runs side by side: where they differ, how they went, their best epoch, speed, memory and scores."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from segtune.core.files import write_text
from segtune.reports.facts import Row, RunFacts, is_number, read_run
from segtune.reports.figures import comparison_figure
from segtune.reports.published import published, published_scores, published_section
from segtune.reports.render import page, png_uri
from segtune.reports.tables import Block, Cell, Section, Table, html_sections, markdown

TITLE = "Runs compared"

PROGRESSION = ("loss", "val_loss", "gIoU", "val_gIoU", "val_cIoU", "val_generate_gIoU", "val_generate_cIoU")
"""History keys whose course is shown as a table; CSV and JSON hold every key."""
_EPOCHS_SHOWN = 12
_SPEED = ("epoch_time", "avg_iter_time", "iter_per_sec")


def compare_sections(runs: Sequence[RunFacts]) -> list[Section]:
    """The comparison as sections.

    Args:
        runs: One or more, each under a name of its own, as `read_runs` gives them.
    """
    columns = ("", *(run.name for run in runs))
    sections = [
        Section("The runs", (Table(columns, side_by_side([about(run) for run in runs])),)),
        Section("Settings in which they differ", (_differences(runs),)) if len(runs) > 1 else None,
        Section("Best epoch", (_best_words(runs), Table(columns, side_by_side([best_values(run) for run in runs])))),
        Section("Speed and memory", (Table(columns, side_by_side([speed_and_memory(run) for run in runs])),)),
        *_score_sections(runs),
        _progression(runs),
        published_section(runs),
    ]
    return [section for section in sections if section is not None]


def read_runs(paths: Sequence[str | Path]) -> list[RunFacts]:
    """Reads runs for a comparison; where two have the same name, they go by their paths.

    Raises:
        SegtuneError: One of them is no run, or is damaged.
    """
    runs = [read_run(path) for path in paths]
    names = [run.name for run in runs]
    return [replace(run, name=str(run.path)) if names.count(run.name) > 1 else run for run in runs]


def write_comparison(runs: Sequence[RunFacts], folder: Path) -> list[Path]:
    """Writes `compare.md`, `compare.csv` and `compare.html`.

    Args:
        runs: As `read_runs` gives them.
        folder: Made when missing; files of the same names are replaced.

    Returns:
        The three paths.
    """
    sections = compare_sections(runs)
    texts = {
        "compare.md": markdown(TITLE, sections),
        "compare.csv": to_csv(runs),
        "compare.html": page(TITLE, f"{_curves(runs)}\n{html_sections(sections)}"),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def _curves(runs: Sequence[RunFacts]) -> str:
    """The curves of all runs as HTML, each quantity in a panel of its own."""
    figure = comparison_figure(runs, PROGRESSION)
    if not figure:
        return "<section><h2>Curves</h2><p>No epoch has ended yet.</p></section>"
    words = "One panel a quantity and one line a run; a large ring marks the best epoch of each."
    image = f'<img src="{png_uri(figure)}" alt="The history of the runs, epoch by epoch">'
    sheet = f'<div class="wide"><figure class="sheet">{image}</figure></div>'
    return f"<section><h2>Curves</h2><p>{words}</p>{sheet}</section>"


def best_values(run: RunFacts) -> dict[str, Cell]:
    """The best epoch, and every number that its history rows hold."""
    row = run.epochs.get(run.best_epoch or 0, {})
    return {"best epoch": run.best_epoch, **{k: v for k, v in row.items() if k != "epoch" and is_number(v)}}


def speed_and_memory(run: RunFacts) -> dict[str, Cell]:
    """Means over the epochs, their sum, peak memory and the machine."""
    means = {key: _mean([row.get(key) for row in run.train]) for key in _SPEED}
    seconds = [row["epoch_time"] for row in run.train if is_number(row.get("epoch_time"))]
    devices = run.environment.get("devices") or []
    machine = ", ".join(str(d.get("name", d)) if isinstance(d, dict) else str(d) for d in devices)
    return {
        "training time, s": float(sum(seconds)) if seconds else None,
        "time per epoch, s": means["epoch_time"],
        "time per step, s": means["avg_iter_time"],
        "steps per second": means["iter_per_sec"],
        "inference per query, s": run.benchmarks.get("avg_inference_time_s"),
        "peak memory, GB": run.benchmarks.get("peak_memory_gb"),
        "what memory means": run.benchmarks.get("memory_kind"),
        "machine": machine or run.environment.get("cpu"),
    }


def to_json(runs: Sequence[RunFacts]) -> dict[str, Any]:
    """Everything that was compared, for programs: all epochs, all scores, and the published table as fractions."""
    return {
        "runs": [
            {
                "name": run.name, "path": str(run.path), "about": about(run), "config": run.config,
                "best_epoch": run.best_epoch, "best_key": run.best_key, "best": best_values(run),
                "speed_and_memory": speed_and_memory(run), "scores": run.scores, "train": run.train, "val": run.val,
            }
            for run in runs
        ],
        "published": {
            **{key: published()[key] for key in ("title", "dataset", "images", "sources", "differences")},
            "rows": [{"model": row["model"], **published_scores(row)} for row in published()["rows"]],
        },
    }  # fmt: skip


def to_csv(runs: Sequence[RunFacts]) -> str:
    """One number or word a line: `name, group, key, epoch, value`, easy to filter and to pivot."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("name", "group", "key", "epoch", "value"))
    for run in runs:
        for group, values in (("about", about(run)), ("best", best_values(run)), ("speed", speed_and_memory(run))):
            writer.writerows((run.name, group, key, "", value) for key, value in values.items())
        for document in run.scores:
            group = f"scores {_title(document)}"
            writer.writerows((run.name, group, key, "", value) for key, value in score_values(document).items())
        for epoch, row in run.epochs.items():
            numbers = ((key, value) for key, value in row.items() if key != "epoch" and is_number(value))
            writer.writerows((run.name, "history", key, epoch, value) for key, value in numbers)
    for row in published()["rows"]:
        scores = published_scores(row).items()
        writer.writerows((row["model"], f"published {published()['dataset']}", key, "", value) for key, value in scores)
    return text.getvalue()


def score_values(document: Row) -> dict[str, Cell]:
    """The numbers of a scores file in one column: metrics, parts, intervals, baselines, counts."""
    values: dict[str, Cell] = {}
    for name, value in document["metrics"].items():
        values[name] = value
        interval = (document.get("ci95") or {}).get(name)
        if interval:
            values[f"{name}, 95% interval"] = f"{interval[0]:.3f} to {interval[1]:.3f}"
    for part, row in document["by"].items():
        if row.get("queries"):
            values |= {f"{name} {part.removeprefix('kind:')}": row.get(name) for name in ("gIoU", "cIoU")}
    for name, row in (document.get("baselines") or {}).items():
        values[f"gIoU without a model: {name}"] = row.get("gIoU")
    return values | dict(document["counts"])


def about(run: RunFacts) -> dict[str, Cell]:
    """What a run was."""
    parts = [run.setting(f"model.{part}") for part in ("vlm", "vision", "language", "mask_model")]
    start = run.setting("model.base") or " + ".join(part for part in parts if part) or "?"
    planned = run.setting("train.epochs", "?")
    return {
        "recipe": run.setting("recipe"),
        "starts from": start,
        "parameters": _count(run.parameters.get("total")),
        "of these trained": _count(run.parameters.get("trainable")),
        "training data": run.setting("data.train"),
        "validation data": run.setting("data.val"),
        "epochs": f"{len(run.train)} of {planned}" + (", stopped early" if run.stopped_early else ""),
        "seed": str(run.setting("run.seed", "?")),
    }


def _count(value: Any) -> str | None:
    return f"{value:,}" if is_number(value) else None


def side_by_side(columns: Sequence[dict[str, Cell]]) -> tuple[tuple[Cell, ...], ...]:
    """One line a quantity and one column a run, whatever quantities there are."""
    keys = list(dict.fromkeys(key for column in columns for key in column))
    return tuple((key, *(column.get(key) for column in columns)) for key in keys)


def _best_words(runs: Sequence[RunFacts]) -> str:
    told = ", ".join(f"{run.name} by `{run.best_key}`" for run in runs)
    return f"The epoch whose checkpoint was kept as the best ({told}), with every number of its history."


def _differences(runs: Sequence[RunFacts]) -> Table | str:
    settings = [dict(_flat(run.config)) for run in runs]
    keys = list(dict.fromkeys(key for one in settings for key in one if key not in ("run.name", "run.root")))
    rows = [(key, *(_short(one.get(key)) for one in settings)) for key in keys]
    rows = [row for row in rows if len(set(row[1:])) > 1]
    return Table(("setting", *(run.name for run in runs)), tuple(rows)) if rows else "None."


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, child in value.items():
            yield from _flat(child, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _short(value: Any) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _title(document: Row) -> str:
    return f"{document['data']} {document['split']}, {document['mode']}"


def _score_sections(runs: Sequence[RunFacts]) -> Iterator[Section]:
    for title in dict.fromkeys(_title(document) for run in runs for document in run.scores):
        found = [next((one for one in run.scores if _title(one) == title), None) for run in runs]
        columns = [score_values(document) if document else {} for document in found]
        table = Table(("", *(run.name for run in runs)), side_by_side(columns))
        yield Section(f"Scores: {title}", (table,))


def _progression(runs: Sequence[RunFacts]) -> Section:
    blocks: list[Block] = []
    for key in PROGRESSION:
        columns = [{e: row[key] for e, row in run.epochs.items() if is_number(row.get(key))} for run in runs]
        epochs = sorted({epoch for column in columns for epoch in column})
        if not epochs:
            continue
        kept = {run.best_epoch for run in runs}
        step = max(1, math.ceil(len(epochs) / _EPOCHS_SHOWN))
        chosen = [e for i, e in enumerate(epochs) if i % step == 0 or e in kept or e == epochs[-1]]
        pairs = list(zip(runs, columns, strict=True))
        rows = tuple((epoch, *(_marked(run, epoch, column) for run, column in pairs)) for epoch in chosen)
        blocks += [f"`{key}`", Table(("epoch", *(run.name for run in runs)), rows)]
    return Section("Progression", tuple(blocks) or ("No epoch has ended yet.",))


def _marked(run: RunFacts, epoch: int, column: dict[int, float]) -> Cell:
    """The value of an epoch; the best epoch of a run is marked."""
    value = column.get(epoch)
    return f"{value:.3f} (best)" if value is not None and epoch == run.best_epoch else value


def _mean(values: list[Any]) -> float | None:
    numbers = [value for value in values if is_number(value)]
    return sum(numbers) / len(numbers) if numbers else None
