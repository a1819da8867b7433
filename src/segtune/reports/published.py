"""The published LISA table beside scores of the same data, and in which points the two were scored differently."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import as_file, files
from typing import Any

from segtune.core.yaml_files import load_mapping
from segtune.reports.documents import Row
from segtune.reports.facts import RunFacts
from segtune.reports.tables import Bullets, Cell, Section, Table

_FILE = "lisa-reasonseg.yaml"
_PARTS = ("val", "test_short", "test_long", "test")
_COLUMNS = ("model", *(f"{part.replace('_', ' ')} {name}" for part in _PARTS for name in ("gIoU", "cIoU")))


@cache
def published() -> dict[str, Any]:
    """The published table: `title, dataset, images, sources, rows, differences`; scores in percent."""
    with as_file(files("segtune.reports") / "published" / _FILE) as path:
        return load_mapping(path)


def published_scores(row: Row) -> dict[str, float | None]:
    """One published model: `val_gIoU, val_cIoU, test_short_gIoU, ...`, 0 to 1 as everywhere else."""
    return {
        f"{part}_{name}": None if value is None else value / 100
        for part in _PARTS
        for name, value in zip(("gIoU", "cIoU"), row[part], strict=True)
    }


def is_published_dataset(document: Row) -> bool:
    """Whether scores are of the data of the published table: by name, split and number of images."""
    name = re.sub(r"[^a-z]", "", str(document["data"]).lower())
    images = published()["images"].get(document["split"])
    named = name in ("reasonseg", "reasonsegval", "reasonsegtest") and document["split"] in ("val", "test")
    return named and document["counts"].get("images") == images


def has_published_scores(runs: Sequence[RunFacts]) -> bool:
    """Whether any of the runs was scored on the data of the published table, so that the two may stand side by side."""
    return any(is_published_dataset(document) for run in runs for document in run.scores)


def published_section(runs: Sequence[RunFacts]) -> Section:
    """The published table with the runs below it, or why it is not shown.

    Args:
        runs: Their scores on ReasonSeg stand in it, and no others.

    Returns:
        The table, what is not alike for these runs, the protocol differences and the sources; one sentence where no
        run was scored on ReasonSeg.
    """
    table = published()
    if not has_published_scores(runs):
        return Section("Published figures", (_why_not(runs),))
    rows: list[tuple[Cell, ...]] = [(row["model"], *published_scores(row).values()) for row in table["rows"]]
    remarks = []
    for run in runs:
        rows += _own_rows(run)
        remarks += _remarks(run)
    images = table["images"]
    about = f"{table['dataset']}: {images['train']} images to train, {images['val']} val, {images['test']} test. "
    return Section(
        f"Beside the published figures: {table['title']}",
        (
            about + "All scores are fractions, 0 to 1.",
            *remarks,
            Table(_COLUMNS, tuple(rows)),
            "How the published scoring differs:",
            Bullets(tuple(table["differences"])),
            "Sources:",
            Bullets(tuple(table["sources"])),
        ),
    )


def _why_not(runs: Sequence[RunFacts]) -> str:
    """Why the published figures are not shown beside these runs."""
    images = published()["images"]
    scored = sorted({f"{document['data']} {document['split']}" for run in runs for document in run.scores})
    what = f"These scores are of {', '.join(scored)}" if scored else "There are no scores yet"
    sizes = f"{images['val']} images of val, {images['test']} of test"
    return (
        f"{what}. The published figures are of {published()['dataset']} ({sizes}): other images and other questions, "
        "so neither says anything about the other. They stand here as soon as a run is scored on these data."
    )


def _own_rows(run: RunFacts) -> list[tuple[Cell, ...]]:
    """A line for each dataset and mode, forced first: that is how the published figures came about."""
    lines: dict[tuple[str, str], dict[str, Cell]] = {}
    for document in sorted(run.scores, key=lambda item: (item["data"], item["mode"])):
        if not is_published_dataset(document):
            continue
        line = lines.setdefault((document["data"], document["mode"]), {})
        parts = {document["split"]: document["metrics"]}
        if document["split"] == "test":
            parts |= {f"test_{length}": document["by"].get(length, {}) for length in ("short", "long")}
        for part, metrics in parts.items():
            line |= {f"{part}_{name}": metrics.get(name) for name in ("gIoU", "cIoU")}
    keys = [f"{part}_{name}" for part in _PARTS for name in ("gIoU", "cIoU")]
    return [(f"{run.name}: {data}, {mode}", *(line.get(key) for key in keys)) for (data, mode), line in lines.items()]


def _remarks(run: RunFacts) -> list[str]:
    """What a reader must know of the scores of this run before they compare."""
    remarks = []
    others = sorted({f"{d['data']} {d['split']}" for d in run.scores if not is_published_dataset(d)})
    if not run.scores:
        remarks.append(f"{run.name} has no scores yet, so it is not in the table.")
    if others:
        remarks.append(
            f"{run.name} was also scored on {', '.join(others)}: other images and other questions than those of "
            f"{published()['dataset']}, so these scores are not in the table."
        )
    for document in filter(is_published_dataset, run.scores):
        if document.get("deviations"):
            what = ", ".join(document["deviations"])
            remarks.append(
                f"{run.name}, {document['data']} {document['split']} {document['mode']}: scored with {what}."
            )
    return remarks
