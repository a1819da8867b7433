"""`segtune data check` of data whose pixels have classes: every image is decoded, every pixel counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from segtune.core.errors import DataError
from segtune.core.records import LabelledImage
from segtune.data.bad_items import BadItem, one_line
from segtune.data.dense.balance import ClassCounts, Counter
from segtune.data.images import content_digest
from segtune.data.layouts import LAYOUTS
from segtune.data.sources.coco import CocoInstances
from segtune.data.sources.masks import MaskFolder
from segtune.data.spec import DataSpec

Progress = Callable[[str, int, int], None]
"""Called with the split, the number of images done and their total."""

_SHOWN = 3


@dataclass(frozen=True, slots=True, eq=False)
class DenseSplitReport:
    """What one split holds.

    Attributes:
        split: Its name; empty where the files lie directly in the directory.
        files: Images found, good and bad.
        images: Images that can be used.
        counts: The pixels of each class in them.
        height: Smallest and largest height in original pixels; None without images.
        width: Smallest and largest width in original pixels; None without images.
        bad: What cannot be used, and why.
        digests: A path below the dataset for every different picture, by its SHA-256.
        notes: What is used in a way that its author may not have meant, a sentence each.
    """

    split: str
    files: int
    images: int
    counts: ClassCounts
    height: tuple[int, int] | None
    width: tuple[int, int] | None
    bad: tuple[BadItem, ...]
    digests: dict[str, str]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "split": self.split, "files": self.files, "images": self.images, "height": self.height,
            "width": self.width, "counts": self.counts.to_dict(),
            "notes": list(self.notes), "bad": [{"path": item.path, "reason": item.reason} for item in self.bad],
        }  # fmt: skip

    def text(self) -> str:
        """Counts, sizes and the table of classes."""
        size = f"{_range(self.width)} x {_range(self.height)} pixels (width x height)"
        lines = [f"{self.split or '(all)'}: {self.images} of {self.files} images can be used, {size}"]
        return "\n".join([*lines, *("  " + line for line in self.counts.table().splitlines())])


@dataclass(frozen=True, slots=True, eq=False)
class DenseCheckReport:
    """What a check found in a dataset.

    Attributes:
        dataset: Its directory.
        kind: Its kind.
        splits: One report per split.
        warnings: What is usable but probably not meant, in sentences.
    """

    dataset: str
    kind: str
    splits: tuple[DenseSplitReport, ...]
    warnings: tuple[str, ...]

    @property
    def bad(self) -> tuple[BadItem, ...]:
        """The bad items of all splits (an item that concerns several is listed once)."""
        return tuple(sorted({item for split in self.splits for item in split.bad}))

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "dataset": self.dataset, "kind": self.kind, "splits": [split.to_dict() for split in self.splits],
            "warnings": list(self.warnings), "bad": len(self.bad),
        }  # fmt: skip

    def text(self) -> str:
        """The report as plain text: tables of the splits, warnings and every bad item."""
        bad = self.bad
        count = f"{len(bad)} bad item{'s' if len(bad) > 1 else ''}:" if bad else "no bad items"
        lines = [f"{self.dataset} ({self.kind})", *(split.text() for split in self.splits)]
        lines += [f"warning: {warning}" for warning in self.warnings]
        return "\n".join([*lines, count, *(f"  {item}" for item in bad)])


def check_dense(
    spec: DataSpec, splits: Sequence[str], root: str | Path | None = None, progress: Progress | None = None
) -> DenseCheckReport:
    """Checks splits of index masks or COCO instances.

    Args:
        spec: The dataset.
        splits: Which of its splits.
        root: Links must stay below this directory; the dataset's own if None.
        progress: Told after every image.

    Raises:
        DataError: If a split is missing, or nothing can be used.
    """
    kind: type[MaskFolder] | type[CocoInstances] = MaskFolder if spec.kind == "masks" else CocoInstances
    reports = tuple(_check_split(kind(spec.location, name, root=root), progress) for name in splits)
    if not any(report.images for report in reports):
        bad = [item for report in reports for item in report.bad]
        raise DataError(
            "the directory holds nothing that can be used", where=spec.location, expected=LAYOUTS[spec.kind],
            found=f"{len(bad)} bad items" + "".join(f"\n    {item}" for item in bad[:10]),
            fix="bring the files into this layout",
        )  # fmt: skip
    return DenseCheckReport(spec.location, spec.kind, reports, _warnings(reports))


def _check_split(source: MaskFolder | CocoInstances, progress: Progress | None) -> DenseSplitReport:
    """Decodes every image of a split."""
    counter, bad, digests = Counter(source.classes), list(source.bad), {}
    sizes: list[tuple[int, ...]] = []
    for index in range(len(source)):
        path = source.image_path(index)
        name = path.relative_to(source.directory).as_posix()
        try:
            item: LabelledImage = source.item(index)
            digests[content_digest(path)] = name
        except DataError as error:
            file = Path(error.where)
            shown = file.relative_to(source.directory).as_posix() if file.is_relative_to(source.directory) else name
            bad.append(BadItem(shown, one_line(error)))
        else:
            counter.add(item.labels)
            sizes.append(item.labels.shape)
        if progress is not None:
            progress(source.split, index + 1, len(source))
    height, width = ((min(sides), max(sides)) for sides in zip(*sizes, strict=True)) if sizes else (None, None)
    return DenseSplitReport(
        source.split,
        source.files,
        len(sizes),
        counter.counts(),
        height,
        width,
        tuple(sorted(bad)),
        digests,
        source.notes,
    )


def _warnings(reports: Sequence[DenseSplitReport]) -> tuple[str, ...]:
    """What is usable but probably not meant."""
    found = []
    for report in reports:
        place = f"{report.split}: " if report.split else ""
        if report.images and report.counts.absent:
            found.append(f"{place}no pixel of {', '.join(report.counts.absent)}")
        if report.images and not report.counts.per_image.any():
            found.append(f"{place}every pixel is ignored")
        found += [place + note for note in report.notes]
    for first, second in combinations(reports, 2):
        if first.counts.classes != second.counts.classes:
            found.append(f"{first.split} and {second.split} have different classes")
        if same := sorted(second.digests[digest] for digest in first.digests.keys() & second.digests.keys()):
            examples = ", ".join(same[:_SHOWN])
            found.append(
                f"{first.split} and {second.split} share {len(same)} images ({examples}), so scores flatter the model"
            )
    return tuple(found)


def _range(bounds: tuple[int, int] | None) -> str:
    return "-" if bounds is None else str(bounds[0]) if bounds[0] == bounds[1] else f"{bounds[0]}..{bounds[1]}"
