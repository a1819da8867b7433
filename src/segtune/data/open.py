"""From a dataset's name to the source that reads or draws it."""

from __future__ import annotations

from pathlib import Path

from segtune.core.errors import ConfigError, DataError
from segtune.core.log import get_logger
from segtune.core.records import DenseSource, Source
from segtune.data.bad_items import BadItem
from segtune.data.config import USUAL_IMAGES, ImageConfig
from segtune.data.layouts import LAYOUTS, TEXT_LAYOUT, find_splits
from segtune.data.sources.foreign import no_dataset
from segtune.data.sources.reasonseg import ReasonSeg
from segtune.data.sources.synthetic.drawn_directory import drawn_otherwise
from segtune.data.sources.synthetic.stream import AttributeStream
from segtune.data.sources.synthetic.write import VERSION, write_dataset
from segtune.data.spec import DENSE_KINDS, DataSpec, describe_directory, is_absent

_SHOWN_BAD_ITEMS = 10
_log = get_logger(__name__)


def open_source(
    spec: DataSpec,
    *,
    root: str | Path | None = None,
    seed: int = 0,
    scenes: int = 400,
    limit: int | None = None,
    first_query_only: bool = False,
    stream_length: int = 2048,
    stream_queries: int = 4,
    easing_epochs: int = 0,
    image: ImageConfig = USUAL_IMAGES,
) -> Source:
    """Opens a dataset.

    Args:
        spec: Its name. A `synth` directory that is absent or empty is drawn first.
        root: Links in the dataset must stay below this directory or the dataset's own.
        seed: Of what is drawn (`synth` and `stream`); of no effect on files that exist.
        scenes: Scenes of a `synth` dataset over all splits, where it is drawn.
        limit: At most so many groups.
        first_query_only: Only the first text of every annotation file.
        stream_length: Groups that a stream calls an epoch.
        stream_queries: Queries of each group of a stream.
        easing_epochs: Epochs over which a stream goes from single words to the whole grammar.
        image: How pictures are read.

    Returns:
        The source. One that reads files has `bad` and `files` (see `usable`).

    Raises:
        ConfigError: If a stream has no such split, or the kind of dataset asks nothing in words.
        DataError: If the directory or split is missing, or the dataset has several splits and none is named.
    """
    if spec.is_dense:
        raise ConfigError(
            "this dataset gives every pixel a class and asks nothing in words",
            where=str(spec),
            expected="data with questions, as reasonseg:DIR, synth:DIR or stream:attributes",
            fix="train a dense model on it, or name a dataset with questions",
        )
    directory = spec.directory
    if directory is None:
        length = stream_length if limit is None else min(limit, stream_length)
        return AttributeStream(length, seed, stream_queries, spec.split, easing_epochs)
    if spec.kind == "synth" and is_absent(directory):
        _log.info("drawing %d scenes into %s, which does not exist yet (seed %d)", scenes, directory, seed)
        write_dataset(directory, scenes=scenes, seed=seed)
    elif spec.kind == "synth" and (told := drawn_otherwise(directory, VERSION)):
        _log.warning("%s", told)
    split = the_split(spec)
    return ReasonSeg(directory, split, root=root, first_query_only=first_query_only, limit=limit, image=image)


def usable(source: Source | DenseSource, max_bad_fraction: float = 0.1, where: str = "") -> tuple[BadItem, ...]:
    """Makes sure that enough of a source can be used to go on without the rest.

    Args:
        source: Any source; one that keeps no list of bad items has none.
        max_bad_fraction: The largest tolerated share of bad items among the files found, 0 to 1.
        where: The dataset's name, for the message.

    Returns:
        The bad items, for the run to record; the source has already left them out.

    Raises:
        DataError: If more than that share is bad, or nothing is left; up to ten bad items are listed.
    """
    bad: tuple[BadItem, ...] = tuple(getattr(source, "bad", ()))
    files, what = max(counted_items(source), len(bad)), items_word(source)
    where = where or source.name
    if len(source) and len(bad) <= max_bad_fraction * files:
        return bad
    listed = "".join(f"\n    {item}" for item in bad[:_SHOWN_BAD_ITEMS])
    if len(bad) > _SHOWN_BAD_ITEMS:
        listed += f"\n    ... and {len(bad) - _SHOWN_BAD_ITEMS} more"
    if not len(source):
        kind = getattr(source, "kind", "reasonseg")
        message, fix = no_dataset(
            None if kind in DENSE_KINDS else getattr(source, "directory", None),
            "the dataset holds nothing that can be used",
            "correct these files; `segtune data check DIR` lists every one",
        )
        raise DataError(
            message,
            where=where,
            expected=LAYOUTS[kind],
            found=f"{files} {what}, {len(bad)} bad items{listed}",
            fix=fix,
        )
    raise DataError(
        "too much of the dataset cannot be used",
        where=where,
        expected=f"at most {max_bad_fraction:.0%} bad items",
        found=f"{len(bad)} bad items among {files} {what} ({len(bad) / files:.0%}){listed}",
        fix="correct these files (`segtune data check DIR` lists every one), or raise data.max_bad_fraction",
    )


def counted_items(source: Source | DenseSource) -> int:
    """Of how many items the bad ones are a share: annotation files and entries of an index; images of dense data."""
    index = getattr(source, "index", None)
    return int(getattr(source, "files", len(source))) + (index.entries if index is not None else 0)


def items_word(source: Source | DenseSource) -> str:
    """What those items are called in a message."""
    if getattr(source, "kind", "") in DENSE_KINDS:
        return "images"
    index = getattr(source, "index", None)
    return "annotation files and entries" if index is not None and index.entries else "annotation files"


def the_split(spec: DataSpec) -> str:
    """The split to read: the one that is named, else the only one there is.

    Args:
        spec: A dataset on disk.

    Returns:
        Its name; empty where the files lie directly in the directory.

    Raises:
        DataError: If the directory or the split is missing, or the dataset has several splits and none is named.
    """
    directory = spec.directory
    if directory is None or not directory.is_dir():
        where = str(spec.location if directory is None else directory.absolute())
        raise DataError("the dataset's directory does not exist", where=str(spec), expected=where)
    splits = find_splits(directory, spec.kind)
    if spec.split in splits or (not spec.split and not splits):
        return spec.split
    if not spec.split and len(splits) == 1:
        return splits[0]
    layout = LAYOUTS.get(spec.kind, TEXT_LAYOUT)
    raise DataError(
        f"the dataset has no split {spec.split!r}" if spec.split else "the dataset has several splits: name one",
        where=str(spec),
        expected="one of " + ", ".join(splits) if splits else f"files directly in the directory, or{layout}",
        found=spec.split or describe_directory(directory),
        fix=f"for example {spec.kind}:{spec.location}@{splits[0]}" if splits else f"leave @{spec.split} away",
    )
