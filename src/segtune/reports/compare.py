"""Runs side by side: where they differ, how they went, their best epoch, speed, memory and scores."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from segtune.core.errors import ConfigError
from segtune.core.files import write_text
from segtune.reports.columns import about, best_values, side_by_side, speed_and_memory
from segtune.reports.documents import (
    Row,
    baseline_title,
    interval_words,
    is_dense,
    is_number,
    main_scores,
    number,
    scored_classes,
    title,
)
from segtune.reports.facts import RunFacts, Stage, read_run
from segtune.reports.figures import comparison_figure
from segtune.reports.published import has_published_scores, published, published_scores, published_section
from segtune.reports.render import page, png_uri
from segtune.reports.tables import Block, Cell, Section, Table, html_sections, markdown, shown

TITLE = "Runs compared"

PROGRESSION = ("loss", "val_loss", "gIoU", "val_gIoU", "val_cIoU", "val_generate_gIoU", "val_generate_cIoU")
"""History keys whose course is shown as a table; CSV and JSON hold every key."""

DENSE_PROGRESSION = (
    "loss", "val_loss", "mIoU", "val_mIoU", "val_accuracy", "val_f1_macro", "foreground_dice", "val_foreground_dice",
    "val_foreground_iou", "val_foreground_image_dice", "lr",
)  # fmt: skip
"""The same of dense segmentation; keys that no run has are left out."""

_EPOCHS_SHOWN = 12
_OTHER_CLASSES = "Not all of these runs tell the same classes apart: their means over classes cannot be compared."


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
        _stages(runs),
        *_score_sections(runs),
        _progression(runs),
        None if _are_dense(runs) else published_section(runs),
    ]
    return [section for section in sections if section is not None]


def read_runs(paths: Sequence[str | Path]) -> list[RunFacts]:
    """Reads runs for a comparison; where two have the same name, they go by their paths.

    Raises:
        SegtuneError: One of them is no run, or is damaged; or they are of both kinds of segmentation, which have no
            score in common.
    """
    runs = [read_run(path) for path in paths]
    if len({run.task for run in runs}) > 1:
        kinds = {task: [str(run.path) for run in runs if run.task == task] for task in ("dense", "reasoning")}
        raise ConfigError(
            "runs of dense and of reasoning segmentation have no score in common",
            expected="runs of one kind",
            found="; ".join(f"{task}: {', '.join(of)}" for task, of in kinds.items()),
            fix="compare each kind by itself",
        )
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
    figure = comparison_figure(runs, progression_keys(runs))
    if not figure:
        return "<section><h2>Curves</h2><p>No epoch has ended yet.</p></section>"
    words = "One panel a quantity and one line a run; a large ring marks the best epoch of each."
    image = f'<img src="{png_uri(figure)}" alt="The history of the runs, epoch by epoch">'
    sheet = f'<div class="wide"><figure class="sheet">{image}</figure></div>'
    return f"<section><h2>Curves</h2><p>{words}</p>{sheet}</section>"


def to_json(runs: Sequence[RunFacts]) -> dict[str, Any]:
    """Everything that was compared, for programs: all epochs, all scores, and the published table as fractions.

    The published table is left out where no run was scored on its data.
    """
    content: dict[str, Any] = {
        "runs": [
            {
                "name": run.name, "path": str(run.path), "about": about(run), "config": run.config,
                "best_epoch": run.best_epoch, "best_key": run.best_key, "best": best_values(run),
                "speed_and_memory": speed_and_memory(run), "scores": run.scores, "train": run.train, "val": run.val,
            }
            for run in runs
        ],
    }  # fmt: skip
    if has_published_scores(runs):
        content["published"] = {
            **{key: published()[key] for key in ("title", "dataset", "images", "sources", "differences")},
            "rows": [{"model": row["model"], **published_scores(row)} for row in published()["rows"]],
        }
    return content


def to_csv(runs: Sequence[RunFacts]) -> str:
    """One number or word a line: `name, group, key, epoch, value`, easy to filter and to pivot."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("name", "group", "key", "epoch", "value"))
    for run in runs:
        for group, values in (("about", about(run)), ("best", best_values(run)), ("speed", speed_and_memory(run))):
            writer.writerows((run.name, group, key, "", value) for key, value in values.items())
        for document in run.scores:
            group = f"scores {title(document)}"
            writer.writerows((run.name, group, key, "", value) for key, value in score_values(document).items())
        for epoch, row in run.epochs.items():
            numbers = ((key, value) for key, value in row.items() if key != "epoch" and is_number(value))
            writer.writerows((run.name, "history", key, epoch, value) for key, value in numbers)
    for row in published()["rows"] if has_published_scores(runs) else []:
        scores = published_scores(row).items()
        writer.writerows((row["model"], f"published {published()['dataset']}", key, "", value) for key, value in scores)
    return text.getvalue()


def score_values(document: Row) -> dict[str, Cell]:
    """The numbers of a scores file in one column: metrics, parts or classes, intervals, baselines, counts."""
    values: dict[str, Cell] = {}
    for name, value in document["metrics"].items():
        values[name] = value
        limits = interval_words(document, name)
        if limits:
            values[f"{name}, 95% interval"] = limits
    for part, row in ({} if is_dense(document) else document["by"]).items():
        if row.get("queries"):
            values |= {f"{name} {part.removeprefix('kind:')}": row.get(name) for name in ("gIoU", "cIoU")}
    values |= {f"IoU of {name}": row.get("iou") for name, row in scored_classes(document).items()}
    for name, row in (document.get("baselines") or {}).items():
        for score in main_scores(document):
            if not is_dense(document) or score in row:
                values[f"{score} without a model: {baseline_title(name, row)}"] = row.get(score)
    return values | dict(document["counts"])


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


def _score_sections(runs: Sequence[RunFacts]) -> Iterator[Section]:
    for name in dict.fromkeys(title(document) for run in runs for document in run.scores):
        found = [next((one for one in run.scores if title(one) == name), None) for run in runs]
        columns = [score_values(document) if document else {} for document in found]
        table = Table(("", *(run.name for run in runs)), side_by_side(columns))
        asked = {(tuple(one.get("classes") or ()), tuple(one.get("binary_classes") or ())) for one in found if one}
        yield Section(f"Scores: {name}", (_OTHER_CLASSES, table) if len(asked) > 1 else (table,))


def _are_dense(runs: Sequence[RunFacts]) -> bool:
    """Whether the runs, which are of one kind, are of dense segmentation."""
    return any(run.task == "dense" for run in runs)


def progression_keys(runs: Sequence[RunFacts]) -> tuple[str, ...]:
    """The history keys whose course is shown of runs of this kind."""
    return DENSE_PROGRESSION if _are_dense(runs) else PROGRESSION


def shown_epochs(epochs: Sequence[int], kept: Collection[int | None]) -> list[int]:
    """About a dozen of the epochs: evenly spaced ones, those to be kept, the first and the last."""
    step = max(1, math.ceil(len(epochs) / _EPOCHS_SHOWN))
    return [epoch for i, epoch in enumerate(epochs) if i % step == 0 or epoch in kept or epoch == epochs[-1]]


def _stages(runs: Sequence[RunFacts]) -> Section | None:
    """Where the stages of each run begin and end, and the best epoch of each."""
    if not any(run.stages for run in runs):
        return None
    columns: list[dict[str, Cell]] = [
        {f"stage {stage.number}": _stage(run, stage) for stage in run.stages} for run in runs
    ]
    return Section("Stages", (Table(("", *(run.name for run in runs)), side_by_side(columns)),))


def _stage(run: RunFacts, stage: Stage) -> str:
    best = run.epochs.get(stage.best_epoch or 0, {}).get(run.best_key)
    told = f"; best {number(best)} at {stage.best_epoch}" if is_number(best) else ""
    return f"epochs {stage.first} to {stage.last}{told}"


def _progression(runs: Sequence[RunFacts]) -> Section:
    blocks: list[Block] = []
    for key in progression_keys(runs):
        columns = [{e: row[key] for e, row in run.epochs.items() if is_number(row.get(key))} for run in runs]
        epochs = sorted({epoch for column in columns for epoch in column})
        if not epochs:
            continue
        chosen = shown_epochs(epochs, {run.best_epoch for run in runs})
        pairs = list(zip(runs, columns, strict=True))
        rows = tuple((epoch, *(_marked(run, epoch, column) for run, column in pairs)) for epoch in chosen)
        blocks += [f"`{key}`", Table(("epoch", *(run.name for run in runs)), rows)]
    return Section("Progression", tuple(blocks) or ("No epoch has ended yet.",))


def _marked(run: RunFacts, epoch: int, column: dict[int, float]) -> Cell:
    """The value of an epoch; the best epoch of a run is marked."""
    value = column.get(epoch)
    return f"{shown(value)} (best)" if value is not None and epoch == run.best_epoch else value
