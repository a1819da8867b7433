"""`segtune data check`: reads a whole dataset once, counts what is there and lists everything that cannot be used.

Unlike opening a source, a check decodes every image and paints every target, so damage in the middle of a file and
targets outside their image come to light before a run depends on them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from segtune.core.errors import ConfigError, DataError, SegtuneError
from segtune.core.records import IGNORE, Group
from segtune.data.bad_items import BadItem, one_line
from segtune.data.check_report import CheckReport, Shared, SplitReport
from segtune.data.config import USUAL_IMAGES, ImageConfig
from segtune.data.dense.check import DenseCheckReport, check_dense
from segtune.data.images import content_digest
from segtune.data.layouts import TEXT_LAYOUT, find_splits, recognise
from segtune.data.notes import Notes
from segtune.data.picture_notes import NotesOfMany
from segtune.data.shared import shared_pictures, sharing_told
from segtune.data.sources.annotations import normal_text
from segtune.data.sources.classes import file_of_classes, find_classes
from segtune.data.sources.foreign import no_dataset
from segtune.data.sources.listing import link_roots
from segtune.data.sources.reasonseg import ReasonSeg
from segtune.data.sources.record import Record
from segtune.data.sources.texts import TextClasses, silent_classes
from segtune.data.spec import DataSpec, describe_directory

Progress = Callable[[str, int, int], None]
"""Called with the split, the number of images done and their total."""

_SHOWN = 3

_LONG_TEXT = 1000
"""A text, or an explanation, of more bytes than these may fill the context of a small model (448 tokens and more)."""


@dataclass(slots=True)
class _Contents:
    """What leakage is looked for in: pictures by digest (with a path), long and short texts."""

    images: dict[str, str] = field(default_factory=dict)
    sentences: set[str] = field(default_factory=set)
    phrases: set[str] = field(default_factory=set)


def check_dataset(
    dataset: str | Path | DataSpec,
    root: str | Path | None = None,
    progress: Progress | None = None,
    image: ImageConfig = USUAL_IMAGES,
) -> CheckReport | DenseCheckReport:
    """Checks a dataset: all its splits, or the one that is named.

    Args:
        dataset: A spec or its text (`KIND:DIR@SPLIT`, or a directory).
        root: Links may lead anywhere below this directory.
        progress: Told after every image.
        image: How pictures are read.

    Returns:
        The report; a dataset is in order when its `bad` is empty.

    Raises:
        ConfigError: If the text is no dataset's name, or names a stream (which has no files).
        DataError: If the directory or split is missing, or holds nothing that can be used.
    """
    spec = dataset if isinstance(dataset, DataSpec) else DataSpec.parse(str(dataset))
    directory = spec.directory
    if directory is None:
        raise ConfigError("a stream has no files to check", where=str(spec), fix="name a directory")
    if not directory.is_dir():
        raise DataError("the dataset's directory does not exist", where=str(spec), expected=str(directory.absolute()))
    names = (spec.split,) if spec.split else find_splits(directory, spec.kind) or ("",)
    if spec.kind == "synth" and recognise(directory) == "masks":
        spec = replace(spec, kind="masks")
    if spec.is_dense:
        return check_dense(spec, names, root, progress, image)
    sources = [ReasonSeg(directory, name, root=root, image=image) for name in names]
    found = [check_source(source, progress, image) for source in sources]
    for source, (report, _) in zip(sources, found, strict=True):
        _check_classes(source, root, report)
    reports = tuple(report for report, _ in found)
    if not any(report.records for report in reports):
        bad = [item for report in reports for item in report.bad]
        message, fix = no_dataset(
            directory, "the directory holds nothing that can be used", "bring the files into this layout"
        )
        raise DataError(
            message,
            where=str(directory),
            expected=TEXT_LAYOUT,
            found=describe_directory(directory) + "".join(f"\n    {item}" for item in bad[:10]),
            fix=fix,
        )
    shared = _shared(names, [contents for _, contents in found])
    return CheckReport(str(directory), spec.kind, reports, shared, _warnings(reports, shared))


def check_source(
    source: ReasonSeg, progress: Progress | None = None, image: ImageConfig = USUAL_IMAGES
) -> tuple[SplitReport, _Contents]:
    """Decodes and paints every group of a source.

    Args:
        source: The source.
        progress: Told after every image.
        image: How its pictures are read.

    Returns:
        The report of the split, and its contents for finding what splits share.
    """
    report = SplitReport(source.split, files=source.files, bad=list(source.bad))
    report.images_without_annotation = list(source.images_without_annotation)
    report.index_entries = source.index.used
    contents, notes, told = _Contents(), NotesOfMany(image), Notes()
    sizes: list[tuple[int, int]] = []
    fractions: list[float] = []
    kinds: Counter[str] = Counter()
    for index in range(len(source)):
        records = source.group_records(index)
        path = records[0].image.relative_to(source.directory).as_posix()
        try:
            group = source.group(index)
            contents.images[content_digest(records[0].image)] = path
            notes.look(records[0].image, path)
        except DataError as error:
            report.bad.append(BadItem(path, one_line(error)))
        else:
            sizes.append((group.image.shape[0], group.image.shape[1]))
            _count(report, group, records)
            kinds.update(example.query.kind for example in group.examples if example.query.kind)
            fractions += [_fraction(example.target) for example in group.examples]
            targets = {example.id.rpartition("#")[0]: example.target for example in group.examples}
            for record in records:
                name = record.annotation.relative_to(source.directory).as_posix()
                _tell_long_texts(record, name, told)
                _tell_empty_target(record, targets[record.id], name, told)
            for example in group.examples:
                texts = contents.sentences if example.query.is_sentence else contents.phrases
                texts.add(normal_text(example.query.text))
        if progress is not None:
            progress(source.split, index + 1, len(source))
    report.kinds = dict(sorted(kinds.items()))
    report.notes = [*source.notes, *told.lines(), *notes.sentences]
    report.bad.sort()
    if sizes:
        heights, widths = zip(*sizes, strict=True)
        report.height, report.width = (min(heights), max(heights)), (min(widths), max(widths))
        report.mean_target_fraction = math.fsum(fractions) / len(fractions)
    return report, contents


def _check_classes(source: ReasonSeg, root: str | Path | None, report: SplitReport) -> None:
    """Reads the `classes.json` beside questions, where there is one, as a dense training on them does.

    What that would refuse is a bad item. Classes that nothing is said of are no more than told: `data.words` of a
    recipe may say it, and a training on the questions alone needs no classes.
    """
    path = file_of_classes(source.directory, source.split)
    if path is None or any(record.annotation == path for record in source.records):  # of a picture called classes.jpg
        return
    name = path.relative_to(source.directory).as_posix()
    try:
        classes = find_classes(source.directory, source.split, link_roots(source.directory, root))
        if silent := silent_classes(classes):
            report.notes.append(f"{name} has no texts and no words of {', '.join(silent)}: a dense training needs them")
        else:
            TextClasses(source, classes)  # refuses what a training would
            report.notes += classes.notes
    except SegtuneError as error:
        report.bad = sorted({*report.bad, BadItem(name, one_line(error))})


def _count(report: SplitReport, group: Group, records: Sequence[Record]) -> None:
    """Adds one group to the counts of its split."""
    report.images += 1
    report.records += len(records)
    height, width = group.image.shape[:2]
    for record in records:
        for shape in record.shapes:
            report.shapes["flag" if shape.is_flag else "ignore" if shape.value == IGNORE else "target"] += 1
            if not shape.is_flag:
                over = (shape.points < -1) | (shape.points > (width + 1, height + 1))
                report.shapes_outside += bool(over.any())
    for example in group.examples:
        report.queries += 1
        report.long += example.query.is_sentence
        report.short += not example.query.is_sentence
        report.explanations += bool(example.query.explanation)
        report.empty_targets += not (example.target == 1).any()


def _tell_long_texts(record: Record, name: str, notes: Notes) -> None:
    """A note on texts whose length only a model can judge, and a check as a rule knows none."""
    if any(len(text.encode()) > _LONG_TEXT for query in record.queries for text in (query.text, query.explanation)):
        notes.add(
            f"a text of more than {_LONG_TEXT:,} bytes may not fit the context of a model, which the option "
            "--model MODEL tells",
            name,
        )


def _tell_empty_target(record: Record, target: np.ndarray, name: str, notes: Notes) -> None:
    """A note on a target (uint8 `[h, w]`) without a pixel though something was drawn; flags tell themselves."""
    drawn = [shape for shape in record.shapes if not shape.is_flag]
    if not drawn or (target == 1).any():
        return
    if any(shape.value == 1 for shape in drawn):
        notes.add("a target is drawn and has no pixel: it has no area, lies outside the image or is ignored", name)
    else:
        labels = ", ".join(sorted({repr(shape.label) for shape in drawn})[:_SHOWN])
        notes.add(f"all shapes are labelled to be ignored ({labels}): the target is empty", name)


def _fraction(target: np.ndarray) -> float:
    """Target pixels / pixels that are not ignored, of uint8 `[h, w]`; 0 where all are ignored."""
    counted = int((target != IGNORE).sum())
    return int((target == 1).sum()) / counted if counted else 0.0


def _shared(names: Sequence[str], contents: Sequence[_Contents]) -> tuple[Shared, ...]:
    """What each two splits share, where it is anything."""
    shared = []
    for (first, a), (second, b) in combinations(zip(names, contents, strict=True), 2):
        images = shared_pictures(a.images, b.images)
        sentences, phrases = len(a.sentences & b.sentences), len(a.phrases & b.phrases)
        if images or sentences or phrases:
            shared.append(Shared((first, second), len(images), sentences, phrases, tuple(images[:_SHOWN])))
    return tuple(shared)


def _warnings(reports: Sequence[SplitReport], shared: Sequence[Shared]) -> tuple[str, ...]:
    """What is usable but probably not meant."""
    found = []
    for report in reports:
        place = f"{report.split}: " if report.split else ""
        if report.images_without_annotation:
            names = report.images_without_annotation
            more = ", ..." if len(names) > _SHOWN else ""
            found.append(f"{place}{len(names)} images have no annotation: {', '.join(names[:_SHOWN])}{more}")
        found += [f"{place}{note}" for note in report.notes]
        if report.shapes_outside:
            count = report.shapes_outside
            found.append(f"{place}{count} shapes reach outside their image (are they drawn on the image as displayed?)")
        if report.records and report.queries == report.empty_targets:
            found.append(f"{place}every target is empty")
    for both in shared:
        first, second = both.splits
        if both.images:
            found.append(sharing_told(first, second, both.images, both.examples))
        if both.sentences:
            found.append(f"{first} and {second} share {both.sentences} sentences: {second} does not test new phrasings")
    return tuple(found)
