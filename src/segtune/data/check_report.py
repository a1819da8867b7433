"""What `segtune data check` reports: plain numbers and lists, as JSON values and as text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from segtune.data.bad_items import BadItem


@dataclass(slots=True)
class SplitReport:
    """What one split holds. Counts are of usable records, but for `files` and `bad`.

    Attributes:
        split: Its name; empty where the files lie directly in the directory.
        files: Annotation files found, good and bad.
        records: Annotation files that can be used.
        index_entries: Entries of `DIR/SPLIT.json` that can be used, where there is such an index.
        images: Different pictures (by content).
        queries: Texts; `short` and `long` add up to it.
        kinds: Queries by kind, where the files name kinds.
        explanations: Queries with an explaining answer.
        empty_targets: Queries whose target has no pixel.
        shapes: Shapes by what they are: `target`, `ignore`, `flag`.
        shapes_outside: Shapes of which a point lies outside the image by more than a pixel.
        height: Smallest and largest image height in original pixels.
        width: Smallest and largest image width in original pixels.
        mean_target_fraction: Mean over queries of target pixels / pixels that are not ignored; None without queries.
        images_without_annotation: Pictures with no JSON beside them (POSIX paths below the dataset).
        notes: What is used in a way that its author may not have meant, a sentence each.
        bad: What cannot be used, and why.
    """

    split: str
    files: int = 0
    records: int = 0
    index_entries: int = 0
    images: int = 0
    queries: int = 0
    short: int = 0
    long: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    explanations: int = 0
    empty_targets: int = 0
    shapes: dict[str, int] = field(default_factory=lambda: {"target": 0, "ignore": 0, "flag": 0})
    shapes_outside: int = 0
    height: tuple[int, int] | None = None
    width: tuple[int, int] | None = None
    mean_target_fraction: float | None = None
    images_without_annotation: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    bad: list[BadItem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Shared:
    """What two splits have in common.

    Attributes:
        splits: The two.
        images: Pictures (by content) in both; an example path for some of them in `examples`.
        sentences: Long texts in both (white space and case aside).
        phrases: Short texts in both, which is common and harmless.
        examples: Some of the shared pictures, as paths in the second split.
    """

    splits: tuple[str, str]
    images: int
    sentences: int
    phrases: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found in a dataset.

    Attributes:
        dataset: Its directory.
        kind: Its kind.
        splits: One report per split.
        shared: What each two splits have in common, where that is anything.
        warnings: What is usable but probably not meant, in sentences.
    """

    dataset: str
    kind: str
    splits: tuple[SplitReport, ...]
    shared: tuple[Shared, ...]
    warnings: tuple[str, ...]

    @property
    def bad(self) -> tuple[BadItem, ...]:
        """The bad items of all splits (an item that concerns several is listed once)."""
        return tuple(sorted({item for split in self.splits for item in split.bad}))

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "dataset": self.dataset,
            "kind": self.kind,
            "splits": [asdict(split) for split in self.splits],
            "shared": [asdict(shared) for shared in self.shared],
            "warnings": list(self.warnings),
            "bad": len(self.bad),
        }

    def text(self) -> str:
        """The report as plain text, see `render`."""
        return render(self)


def render(report: CheckReport) -> str:
    """The report as plain text: a table of the splits, warnings, pictures without JSON, and every bad item.

    Args:
        report: What a check found.

    Returns:
        Lines without colour, ending without a line break.
    """
    rows = [("", *(split.split or "(all)" for split in report.splits))]
    rows += [(name, *(values(split) for split in report.splits)) for name, values in _ROWS]
    if any(split.index_entries for split in report.splits):
        rows.insert(3, ("index entries", *(str(split.index_entries) for split in report.splits)))
    rows += [
        (f"  kind {kind}", *(str(split.kinds.get(kind, 0)) for split in report.splits))
        for kind in sorted({kind for split in report.splits for kind in split.kinds})
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [f"{report.dataset} ({report.kind})"]
    lines += [_padded(row, widths) for row in rows]
    lines += [f"warning: {warning}" for warning in report.warnings]
    if report.bad:
        lines += [f"{len(report.bad)} bad item{'s' if len(report.bad) > 1 else ''}:"]
        lines += [f"  {item}" for item in report.bad]
    else:
        lines += ["no bad items"]
    return "\n".join(lines)


def _padded(row: tuple[str, ...], widths: list[int]) -> str:
    """A row of the table: the first column to the left, the others to the right."""
    cells = [
        cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _range(bounds: tuple[int, int] | None) -> str:
    return "-" if bounds is None else f"{bounds[0]}..{bounds[1]}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


_ROWS: tuple[tuple[str, Callable[[SplitReport], str]], ...] = (
    ("annotation files", lambda split: str(split.files)),
    ("  usable", lambda split: str(split.records)),
    ("images (by content)", lambda split: str(split.images)),
    ("images without JSON", lambda split: str(len(split.images_without_annotation))),
    ("queries", lambda split: str(split.queries)),
    ("  short", lambda split: str(split.short)),
    ("  long", lambda split: str(split.long)),
    ("  with an explanation", lambda split: str(split.explanations)),
    ("  with an empty target", lambda split: str(split.empty_targets)),
    ("target shapes", lambda split: str(split.shapes["target"])),
    ("ignore shapes", lambda split: str(split.shapes["ignore"])),
    ("flag shapes", lambda split: str(split.shapes["flag"])),
    ("image height", lambda split: _range(split.height)),
    ("image width", lambda split: _range(split.width)),
    ("mean target fraction", lambda split: _share(split.mean_target_fraction)),
    ("bad items", lambda split: str(len(split.bad))),
)
