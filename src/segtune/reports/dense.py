"""Scores of dense segmentation as sections and tables: overall, by class, what is taken for what; and data and stages.

Everything here goes by the names that a scores file or a history holds, whatever the classes are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from segtune.reports.documents import (
    Row,
    baseline_title,
    data_name,
    interval,
    interval_words,
    is_number,
    main_scores,
    scored_classes,
    size_words,
    title,
    verdict,
)
from segtune.reports.facts import RunFacts
from segtune.reports.tables import Bar, Block, Bullets, Cell, Section, Shade, Table

LARGEST_MATRIX = 24
"""Classes up to which a confusion matrix can be read as a table."""

_CONFUSIONS = 10  # that are named
_BAD_SHOWN = 20
_MATRIX_WORDS = (
    "Of the pixels of each class (row), the share that was predicted as each class (column), in percent. A row adds up "
    "to 100; the diagonal is the recall."
)


def score_sections(facts: RunFacts) -> list[Section]:
    """All scores of a run: a section for each scores file.

    Args:
        facts: A run of dense segmentation.
    """
    before = {title(document): document for document in facts.before}
    sections = []
    for document in facts.scores:
        blocks: list[Block] = [verdict(document, name) for name in main_scores(document)]
        blocks += [_size(document), score_table(document, before.get(title(document))), *_remarks(document)]
        if scored_classes(document):
            blocks += ["By class:", class_table(document), *confusion_blocks(document)]
        sections.append(Section(f"Scores: {title(document)}", tuple(blocks)))
    return sections


def score_table(document: Row, before: Row | None = None) -> Table:
    """Every metric with its interval, before training, and what scores without a model.

    Args:
        document: A scores file.
        before: That of the model before training, where there is one.
    """
    baselines = document.get("baselines") or {}
    columns = ["", "score", "95% interval"] + (["before training"] if before else [])
    columns += [f"without a model: {baseline_title(name, row)}" for name, row in baselines.items()]
    rows = []
    for name, value in document["metrics"].items():
        cells: list[Cell] = [name, value, interval_words(document, name)]
        cells += [before["metrics"].get(name)] if before else []
        rows.append((*cells, *(row.get(name) for row in baselines.values())))
    return Table(tuple(columns), tuple(rows))


def class_table(document: Row) -> Table:
    """The scores of each class, its IoU also as a bar with its interval.

    Args:
        document: A scores file in which classes are scored.
    """
    total = sum(row["truth"] for row in scored_classes(document).values()) or 1
    columns = (
        "class", "IoU", "", "95% interval", "Dice", "precision", "recall", "boundary IoU", "share of pixels", "images",
    )  # fmt: skip
    rows = []
    for name, row in scored_classes(document).items():
        cells: list[Cell] = [name, row.get("iou"), Bar(row.get("iou"), interval(row, "iou"))]
        cells += [interval_words(row, "iou"), *(row.get(key) for key in ("dice", "precision", "recall"))]
        cells += [row.get("boundary_iou"), Shade(f"{row['truth'] / total:.2%}"), row.get("images")]
        rows.append(tuple(cells))
    return Table(columns, tuple(rows))


def confusion_blocks(document: Row) -> tuple[Block, ...]:
    """What is taken for what: the matrix where it can be read, and the errors that cost the most pixels.

    Args:
        document: A scores file in which classes are scored.
    """
    size = len(document["confusion"])
    blocks: list[Block] = []
    if size <= LARGEST_MATRIX:
        blocks += [f"Confusion matrix. {_MATRIX_WORDS}", confusion_table(document)]
    else:
        blocks.append(f"The confusion matrix of {size} classes is in the scores file.")
    table = confusions_table(document)
    return (*blocks, "The errors that cost the most pixels:", table) if table.rows else (*blocks, "No pixel is wrong.")


def confusion_table(document: Row) -> Table:
    """The confusion matrix in percent of each row, on grounds that are darker the larger a share is.

    Args:
        document: A scores file in which classes are scored.
    """
    names, matrix = list(scored_classes(document)), document["confusion"]
    rows: list[tuple[Cell, ...]] = []
    for index, (name, counts) in enumerate(zip(names, matrix, strict=True)):
        total = sum(counts)
        cells: list[Cell] = [_share(count, total, strong=column == index) for column, count in enumerate(counts)]
        rows.append((name, *cells, Shade(f"{total:,}")))
    return Table(("truth \\ predicted", *names, "pixels"), tuple(rows))


def confusions_table(document: Row) -> Table:
    """The pairs of classes with the most pixels that are of the one and were predicted as the other.

    Args:
        document: A scores file in which classes are scored.
    """
    names, matrix = list(scored_classes(document)), document["confusion"]
    pairs = [
        (count, truth, found)
        for truth, counts in enumerate(matrix)
        for found, count in enumerate(counts)
        if truth != found and count
    ]
    total, wrong = sum(map(sum, matrix)), sum(pair[0] for pair in pairs)
    rows = tuple(
        (names[truth], names[found], Shade(f"{count:,}"), Shade(f"{count / sum(matrix[truth]):.1%}"),
         Shade(f"{count / wrong:.1%}"), Shade(f"{count / total:.2%}"))
        for count, truth, found in sorted(pairs, key=lambda pair: (-pair[0], *pair[1:]))[:_CONFUSIONS]
    )  # fmt: skip
    return Table(
        ("truth", "predicted as", "pixels", "of the class", "of all errors", "of all pixels"), rows
    )  # fmt: skip


def stage_section(facts: RunFacts) -> Section | None:
    """The stages of a training; None where it was made in one piece."""
    if not facts.stages:
        return None
    columns = (
        "stage",
        "epochs",
        "best epoch",
        facts.best_key,
        "rate, first to last epoch",
        "time, s",
        "peak memory, GB",
    )
    rows = []
    for stage in facts.stages:
        epochs = [row for row in facts.train if stage.first <= row["epoch"] <= stage.last]
        best = facts.epochs.get(stage.best_epoch or 0, {}).get(facts.best_key)
        memory = [row["peak_memory_gb"] for row in epochs if is_number(row.get("peak_memory_gb"))]
        seconds = [row["epoch_time"] for row in epochs if is_number(row.get("epoch_time"))]
        rates = [row["lr"] for row in epochs if is_number(row.get("lr"))]
        rows.append(
            (stage.number, f"{stage.first} to {stage.last}", stage.best_epoch, best if is_number(best) else None,
             _rates(rates), float(sum(seconds)) if seconds else None,
             max(memory) if memory else None)
        )  # fmt: skip
    return Section("Stages", (Table(columns, tuple(rows)),))


def _rates(rates: list[float]) -> str | None:
    ends = dict.fromkeys(f"{rate:.3g}" for rate in (*rates[:1], *rates[-1:]))
    return " to ".join(ends) or None


def data_blocks(facts: RunFacts) -> tuple[Block, ...]:
    """What the data hold: images, classes by pixels and images, and what was left out."""
    parts = {name: row for name, row in facts.data.items() if isinstance(row, dict)}
    columns = ("", "data", "images", "classes", "ignored pixels", "left out")
    rows = tuple(
        (name, data_name(row), row.get("images"), len(row.get("classes") or []) or None,
         _ignored(row), len(row.get("bad") or []))
        for name, row in parts.items()
    )  # fmt: skip
    blocks: list[Block] = [Table(columns, rows)]
    if any(_counts(row) for row in parts.values()):
        blocks += ["Pixels of each class, and the images that hold it:", _class_counts(parts)]
    bad = [f"{name}: {item}" for name, row in parts.items() for item in row.get("bad") or []]
    if bad:
        more = [f"... and {len(bad) - _BAD_SHOWN} more, in data.json"] if len(bad) > _BAD_SHOWN else []
        blocks += ["Left out:", Bullets((*bad[:_BAD_SHOWN], *more))]
    return tuple(blocks)


def _size(document: Row) -> str:
    """What was scored, in numbers."""
    return f"Scored: {', '.join(size_words(document))}."


def _remarks(document: Row) -> Iterator[Block]:
    """What a reader must know of these scores."""
    if document.get("deviations"):
        yield f"Scored with: {', '.join(document['deviations'])}."
    if document.get("undefined"):
        yield "Without a value: " + "; ".join(f"`{name}`: {why}" for name, why in document["undefined"].items()) + "."


def _share(count: int, total: int, *, strong: bool) -> Shade:
    """A share in percent; its ground follows the square root, so that errors of a few percent are seen as well."""
    if not total:
        return Shade("-")
    share = count / total
    text = "\u00b7" if not count else "<0.1" if share < 0.0005 else f"{100 * share:.1f}"
    return Shade(text, math.sqrt(share) if share >= 0.0005 else 0.0, strong)


def _counts(row: Row) -> dict[str, Row]:
    """Pixels and images of each class of a split."""
    counts = row.get("counts")
    classes = counts.get("classes") if isinstance(counts, dict) else None
    return classes if isinstance(classes, dict) else {}


def _ignored(row: Row) -> Cell:
    counts = row.get("counts")
    pixels = counts.get("ignored_pixels") if isinstance(counts, dict) else None
    return Shade(f"{pixels:,}") if is_number(pixels) else None


def _class_counts(parts: dict[str, Row]) -> Table:
    names = dict.fromkeys(name for row in parts.values() for name in _counts(row))
    totals = {part: sum(one["pixels"] for one in _counts(row).values()) or 1 for part, row in parts.items()}
    rows = []
    for name in names:
        cells: list[Cell] = [name]
        for part, row in parts.items():
            one = _counts(row).get(name)
            cells += [Shade(f"{one['pixels'] / totals[part]:.2%}"), one["images"]] if one else [None, None]
        rows.append(tuple(cells))
    columns = [column for part in parts for column in (f"{part}: share of pixels", f"{part}: images")]
    return Table(("class", *columns), tuple(rows))
