"""Scores as lines of text: the last words of a training run, and what an evaluation prints."""

from __future__ import annotations

import textwrap
from pathlib import Path

from segtune.core.rundir import RunDir
from segtune.reports.documents import (
    Row,
    baseline_title,
    interval,
    is_dense,
    is_number,
    number,
    scored_classes,
    size_words,
    title,
)

BEFORE = "before"
"""The folder of a run that holds the scores of the model it started from."""

_OVERALL = ("mIoU", "accuracy", "f1_macro", "foreground_dice", "foreground_iou", "foreground_image_dice")
"""Of the scores of a dense model those that fit in one line; all stand in its scores file and in the report."""

_CLASSES_SHOWN = 40
_WIDTH = 100  # of lines that are broken


def closing_lines(run: RunDir) -> list[str]:
    """Scores of a run as lines of text, empty where nothing was scored.

    Args:
        run: The run directory.

    Returns:
        A table of gIoU (overall and by kind of query) in each mode before and after, emission rate, and baselines; of
        a dense model a table of its scores before, after and without a model, intervals, and the IoU of each class.
    """
    after = _documents(run.path)
    if not after:
        return []
    before = _documents(run.path / BEFORE)
    return _dense_closing(before, after) if is_dense(after[0]) else _closing(before, after)


def _closing(before: list[Row], after: list[Row]) -> list[str]:
    """Of answers to questions."""
    parts = [name for name, row in after[0]["by"].items() if row["queries"]]
    header = "".join(f"{name.removeprefix('kind:'):>12}" for name in ("gIoU", "cIoU", *parts))
    lines = [f"{'':<20}{header}"]
    for when, documents in (("before", before), ("after", after)):
        for document in documents:
            values = [document["metrics"]["gIoU"], document["metrics"]["cIoU"]]
            values += [document["by"][part]["gIoU"] for part in parts]
            numbers = "".join(f"{number(value):>12}" for value in values)
            lines.append(f"{when + ', ' + document['mode']:<20}{numbers}")
    for document in after:
        if document["mode"] == "generate":
            rate = document["metrics"]["emission_rate"]
            lines.append(f"<SEG> said by itself on {rate:.1%} of {document['counts']['queries']} queries")
    baselines = "  ".join(f"{name} {number(row['gIoU'])}" for name, row in after[0]["baselines"].items())
    return [*lines, f"without a model (gIoU): {baselines}"]


def _dense_closing(before: list[Row], after: list[Row]) -> list[str]:
    """Of labelled images: for each scores file its main scores before and after, with intervals after."""
    starts = {title(document): document for document in before}
    lines = []
    for document in after:
        start = starts.get(title(document))
        lines += [f"{title(document)}: {', '.join(size_words(document))}"]
        names = [name for name in _OVERALL if name in document["metrics"]]
        width = max(map(len, names))
        if start is not None:
            lines.append(f"  {'':<{width}}  before  after")
        for name in names:
            first = "" if start is None else f"  {number(start['metrics'].get(name)):>6}"
            limits = f"  {_brackets(document, name)}" if interval(document, name) else ""
            lines.append(f"  {name:<{width}}{first}  {number(document['metrics'][name])}{limits}")
        lines += [*_class_lines(document), *_baseline_lines(document)]
    return lines


def _class_lines(document: Row) -> list[str]:
    """The IoU of each class in lines that are broken between classes; of very many the lowest ones."""
    heading = "IoU by class: "
    rows = scored_classes(document)
    names = list(rows)
    if len(rows) > _CLASSES_SHOWN:
        told = [name for name in names if is_number(rows[name]["iou"])]
        names = sorted(told, key=lambda name: rows[name]["iou"])[:_CLASSES_SHOWN]
        heading += f"(the lowest {len(names)} of {len(rows)}) "
    # a name and its number stay on one line: their blanks are put in after the breaking
    words = "  ".join(f"{name} {number(rows[name]['iou'])}".replace(" ", "\0") for name in names)
    lines = textwrap.wrap(
        f"{heading}{words}", _WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip
    return [line.replace("\0", " ") for line in lines] if names else []


def _brackets(document: Row, name: str) -> str:
    """The interval of a score, a dash where there is none."""
    found = interval(document, name)
    return f"[{found[0]:.3f}, {found[1]:.3f}]" if found else "-"


def evaluation_lines(document: Row) -> list[str]:
    """One evaluation in a few lines: overall, by kind of query or by class, and what needs no model.

    Args:
        document: A scores file of either kind of segmentation.
    """
    return _dense_lines(document) if is_dense(document) else _answer_lines(document)


def _answer_lines(document: Row) -> list[str]:
    counts = document["counts"]
    size = f"{counts['queries']} queries about {counts['images']} image{'s' * (counts['images'] != 1)}"
    lines = [f"{title(document)}: {size}{_notes(document)}"]
    for name in ("gIoU", "cIoU"):
        limits = f"  {_brackets(document, name)}" if interval(document, name) else ""
        parts = "".join(
            f"  {kind.removeprefix('kind:')} {number(row.get(name))}"
            for kind, row in document["by"].items()
            if row["queries"]
        )
        lines.append(f"  {name} {number(document['metrics'].get(name))}{limits}{parts}")
    for baseline, row in document.get("baselines", {}).items():
        lines.append(f"  baseline {baseline}: gIoU {number(row.get('gIoU'))}  cIoU {number(row.get('cIoU'))}")
    lines += [f"  {name}: {counts[name]}" for name in ("not_emitted", "no_mask", "skipped") if counts.get(name)]
    return lines


def _dense_lines(document: Row) -> list[str]:
    lines = [f"{title(document)}: {', '.join(size_words(document))}{_notes(document)}"]
    width = max(len(name) for name in document["metrics"])
    for name, value in document["metrics"].items():
        limits = f"  {_brackets(document, name)}" if interval(document, name) else ""
        why = f"  ({document['undefined'][name]})" if name in document["undefined"] else ""
        lines.append(f"  {name:<{width}}  {number(value)}{limits}{why}")
    return [*lines, *_class_lines(document), *_baseline_lines(document)]


def _baseline_lines(document: Row) -> list[str]:
    lines = []
    for name, row in document["baselines"].items():
        scores = "  ".join(f"{key} {number(row[key])}" for key in _OVERALL if key in row)
        lines.append(f"  baseline {baseline_title(name, row)}: {scores}")
    return lines


def _notes(document: Row) -> str:
    """The rules of the protocol that were not followed."""
    return "".join(f", {name.replace('_', ' ')}" for name in document["deviations"])


def _documents(folder: Path) -> list[Row]:
    return [RunDir(folder).read_json(path.name) for path in sorted(folder.glob("eval_*.json"))]
