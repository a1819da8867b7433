"""What scores files say, whatever was segmented: their titles, numbers, intervals and verdicts as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Row = dict[str, Any]

DENSE_PROTOCOL = "segtune-dense"
"""What the name of the protocol of dense segmentation begins with; behind it stands its version."""

_DENSE_MAIN = ("mIoU", "foreground_dice")


def is_number(value: Any) -> bool:
    """Whether a value of a history row or a score can be drawn and compared (a truth value cannot)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_dense(document: Row) -> bool:
    """Whether labelled images were scored, and not answers to questions."""
    return str(document.get("protocol", "")).startswith(DENSE_PROTOCOL)


def main_scores(document: Row) -> tuple[str, ...]:
    """The scores by which a model is judged: one for answers, one for each head of a dense model."""
    return tuple(name for name in _DENSE_MAIN if name in document["metrics"]) if is_dense(document) else ("gIoU",)


def scored_classes(document: Row) -> dict[str, Row]:
    """The scores of each class; empty for answers, and for a binary mask alone."""
    return document.get("by_class") or {}


def picture_score(document: Row) -> str:
    """What the `iou` of a picture is: of an answer its IoU, of an image its mIoU or the Dice of its binary mask."""
    if not is_dense(document):
        return "IoU"
    return "mIoU" if scored_classes(document) else "Dice"


def title(document: Row) -> str:
    """Data, split and mode."""
    return f"{document['data']} {document['split']}, {document['mode']}"


def size_words(document: Row) -> Iterator[str]:
    """How much was scored, part by part: images, pixels, classes, foreground, and what could not be read."""
    counts = document["counts"]
    yield f"{counts.get('images', 0):,} image{'s' * (counts.get('images') != 1)}"
    pixels, ignored = counts.get("pixels") or 0, counts.get("ignored_pixels") or 0
    yield f"{pixels:,} pixels" + (f" ({ignored / pixels:.1%} ignored)" if ignored and pixels else "")
    if scored_classes(document):
        yield f"{len(scored_classes(document))} classes"
    if document.get("binary_classes"):
        yield f"foreground {' + '.join(document['binary_classes'])}"
    if counts.get("without_foreground"):
        yield f"{counts['without_foreground']:,} without foreground"
    if counts.get("skipped"):
        yield f"{counts['skipped']:,} skipped, as they could not be read"


def baseline_title(name: str, row: Row) -> str:
    """The name of an answer that needs no model; of the same class everywhere with that class."""
    return f"{name} ({row['class']})" if "class" in row else name


def number(value: Any) -> str:
    """Three decimals, or a dash."""
    return f"{value:.3f}" if is_number(value) else "-"


def interval(document: Row, name: str) -> tuple[float, float] | None:
    """The 95% interval of a score; None where there is none."""
    found = (document.get("ci95") or {}).get(name)
    return (found[0], found[1]) if found else None


def interval_words(document: Row, name: str) -> str | None:
    """The 95% interval of a score in words."""
    found = interval(document, name)
    return f"{found[0]:.3f} to {found[1]:.3f}" if found else None


def verdict(document: Row, name: str) -> str:
    """Whether the model beats what needs no model, in words.

    Args:
        document: A scores file.
        name: One of its `main_scores`.
    """
    score, limits = document["metrics"].get(name), interval(document, name)
    rows = (document.get("baselines") or {}).items()
    baselines = {baseline_title(key, row): row[name] for key, row in rows if is_number(row.get(name))}
    if not is_number(score) or limits is None or not baselines:
        return f"{title(document)}: nothing to compare with."
    best, value = max(baselines.items(), key=lambda item: item[1])
    if limits[0] > value:
        told = "above it"
    elif limits[1] < value:
        told = "below it"
    else:
        told = "not told apart from it by so many images"
    return (
        f"{title(document)}: {name} {score:.3f} ({interval_words(document, name)}). The best answer without a model, "
        f"`{best}`, has {value:.3f}; the model is {told}."
    )


def data_name(row: object, setting: object = None) -> str | None:
    """Which data a split is, with its folder: a recipe may call it `.` and leave the place to `data.root`.

    Args:
        row: The entry of the split in `data.json`, in whatever state.
        setting: What the configuration says, for a run that has not written the place down.
    """
    known = row if isinstance(row, dict) else {}
    if not isinstance(known.get("path"), str):
        said = known.get("data") or setting
        return None if said is None else str(said)
    split = f"@{known['split']}" if known.get("split") else ""
    return f"{known.get('kind')}:{known['path']}{split}"
