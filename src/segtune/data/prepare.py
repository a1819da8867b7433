"""From the names in a recipe to sources that are known to be readable.

Damage in the middle of a file shows only when it is decoded; so before a run every image of a dataset on disk is
decoded once. What cannot be read is left out, listed, counted and bounded.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from segtune.core.errors import ConfigError, DataError
from segtune.core.records import Group, Source
from segtune.data.bad_items import BadItem, one_line
from segtune.data.config import DataConfig, ImageConfig
from segtune.data.digests import Digester, Digests, of_parameters
from segtune.data.images import content_digest
from segtune.data.layouts import LAYOUTS, TEXT_LAYOUT
from segtune.data.open import counted_items, open_source, usable
from segtune.data.picture_notes import NotesOfMany
from segtune.data.shared import require_apart, short_digests
from segtune.data.spec import DENSE_KINDS, DataSpec

_WORKING_DIRECTORY = re.compile(r"(\w+:)?\.(@.*)?")
"""How a recipe names data that are wherever `data.root` says."""


class Subset:
    """A source of which only some groups are used.

    Args:
        source: The whole.
        indices: Which groups, in which order.
    """

    def __init__(self, source: Source, indices: Sequence[int]) -> None:
        self.source, self.indices, self.name = source, tuple(indices), source.name

    def __len__(self) -> int:
        """Number of groups used."""
        return len(self.indices)

    def group(self, index: int, epoch: int = 0) -> Group:
        """The group at `index` of those used."""
        return self.source.group(self.indices[index], epoch)

    def ids(self, index: int) -> Sequence[str]:
        """The example ids of that group."""
        return self.source.ids(self.indices[index])


class FirstSamples:
    """The first samples of a source: whole images as far as they fit, and of the next one its first queries.

    Args:
        source: The whole.
        count: At most so many pairs of an image and a query.
    """

    def __init__(self, source: Source, count: int) -> None:
        self.source, self.name = source, source.name
        self._queries: list[int] = []
        for index in range(len(source)):
            if count <= 0:
                break
            self._queries.append(min(count, len(source.ids(index))))
            count -= self._queries[-1]

    def __len__(self) -> int:
        """Number of groups used; of the last one perhaps not every query."""
        return len(self._queries)

    def group(self, index: int, epoch: int = 0) -> Group:
        """The group at `index`, with the queries that are used."""
        group = self.source.group(index, epoch)
        return replace(group, examples=group.examples[: self._queries[index]])

    def ids(self, index: int) -> Sequence[str]:
        """The example ids of that group that are used."""
        return self.source.ids(index)[: self._queries[index]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A readable source and what was left out of it.

    Attributes:
        spec: Its name.
        source: What is left.
        bad: What was left out, and why.
        skipped_queries: Queries of images that turned out damaged when decoded.
        warnings: What is usable but probably not meant, in sentences.
        pictures: Names of the picture files by their digest; empty where they are drawn.
        digests: Of everything that is left.
        root: The absolute directory that links may lead to; None for the dataset's own.
    """

    spec: DataSpec
    source: Source
    bad: tuple[BadItem, ...]
    skipped_queries: int
    warnings: tuple[str, ...] = ()
    pictures: Mapping[str, str] = field(default_factory=dict)
    digests: Digests = field(default_factory=Digests)
    root: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """For `data.json`."""
        groups = [self.source.ids(index) for index in range(len(self.source))]
        digest = hashlib.sha256("\n\n".join("\n".join(ids) for ids in groups).encode()).hexdigest()
        return {
            **place_facts(self.spec, self.root), "images": len(groups), "queries": sum(map(len, groups)),
            "sha256": self.digests.sha256, "ids_sha256": digest,
            "skipped_queries": self.skipped_queries, "bad": [str(item) for item in self.bad],
            "pictures": short_digests(self.pictures),
        }  # fmt: skip


def place_facts(spec: DataSpec, root: str | None) -> dict[str, Any]:
    """Which data these are, for `data.json`: the name, and where they were found from any working directory.

    Args:
        spec: The dataset.
        root: The absolute directory that links may lead to; None for the dataset's own.
    """
    path = None if spec.directory is None else str(spec.directory.expanduser().absolute().resolve())
    return {"data": str(spec), "kind": spec.kind, "path": path, "split": spec.split, "root": root}


def absolute_root(root: str | None) -> str | None:
    """The directory before relative paths, from any working directory."""
    return None if root is None else str(Path(root).expanduser().absolute())


def prepare(
    name: str,
    config: DataConfig,
    *,
    limit: int | None = None,
    max_samples: int | None = None,
    seed: int = 0,
    first_query_only: bool = False,
) -> Prepared:
    """Opens a dataset and makes sure that it can be read.

    Args:
        name: `KIND:DIR@SPLIT`.
        config: Root, limits and what drawn datasets need.
        limit: At most so many images.
        max_samples: At most so many pairs of an image and a query; the first ones.
        seed: Of streams.
        first_query_only: Only the first text of every annotation file.

    Raises:
        ConfigError: The name is malformed, or a recipe leaves the place open and no root was given.
        DataError: It is missing, or too much of it is bad; bad items are listed.
    """
    spec = named_dataset(name, config.root)
    drawn = spec.directory is None
    source = open_source(
        spec, root=config.root, seed=seed if drawn else config.synth.seed, scenes=config.synth.scenes, limit=limit,
        first_query_only=first_query_only, stream_length=config.stream_length,
        stream_queries=config.queries_per_image or 4, easing_epochs=config.easing_epochs, image=config.image,
    )  # fmt: skip
    bad, root = list(usable(source, config.max_bad_fraction, name)), absolute_root(config.root)
    found, files = counted_items(source), source
    if max_samples is not None:
        source = FirstSamples(source, max_samples)
    if drawn:
        digests = of_parameters(
            data=str(spec), seed=seed, queries=config.queries_per_image or 4, easing_epochs=config.easing_epochs,
            length=len(source), max_samples=max_samples,
        )  # fmt: skip
        return Prepared(spec, source, tuple(bad), 0, digests=digests, root=root)
    images, digester, whole = len(source), Digester(), source
    readable = decode_all(
        spec, images, lambda index: digester.add_group(whole.group(index)), bad, found, config.max_bad_fraction, name
    )
    skipped = sum(len(source.ids(index)) for index in sorted(set(range(images)) - set(readable)))
    if len(readable) < images:
        source = Subset(source, readable)
    notes, pictures = look_at_pictures(files, readable, config.image)
    return Prepared(spec, source, tuple(bad), skipped, notes, pictures, digester.result(), root)


def decode_all(
    spec: DataSpec,
    images: int,
    read: Callable[[int], object],
    bad: list[BadItem],
    found: int,
    max_bad_fraction: float,
    name: str,
) -> list[int]:
    """Reads every image of a dataset on disk once.

    Args:
        spec: The dataset.
        images: How many there are.
        read: Reads the image at an index and what belongs to it.
        bad: What was bad before; what cannot be read is added.
        found: Of how many files those are a share.
        max_bad_fraction: The largest tolerated share, 0 to 1.
        name: The dataset as the recipe names it, for the message.

    Returns:
        The indices of those that can be read.

    Raises:
        DataError: If none can, or too many cannot; the first ten are listed.
    """
    readable = []
    for index in range(images):
        try:
            read(index)
            readable.append(index)
        except DataError as error:
            bad.append(BadItem(_below(spec, error.where), one_line(error)))
    lost, files = images - len(readable), max(found, len(bad))
    # Of the images, and together with the annotations that were bad before: neither may exceed the bound.
    if not readable or lost > max_bad_fraction * images or len(bad) > max_bad_fraction * files:
        listed = "".join(f"\n    {item}" for item in bad[:10])
        raise DataError(
            "too many images cannot be decoded", where=name,
            expected=f"at most {max_bad_fraction:.0%} bad items",
            found=f"{lost} of {images} images, and {len(bad)} bad items among {files} files{listed}",
            fix="replace these files, or raise data.max_bad_fraction",
        )  # fmt: skip
    return readable


def look_at_pictures(
    source: object, readable: Sequence[int], config: ImageConfig
) -> tuple[tuple[str, ...], dict[str, str]]:
    """What is to be told about the picture files of a source, and which they are.

    Args:
        source: One that reads files has `image_path`, and perhaps `notes`.
        readable: The indices of those that are used.
        config: How they are read.

    Returns:
        Warnings, and the names of the files by their digest.

    Raises:
        DataError: A file has vanished since it was read.
    """
    path_of = getattr(source, "image_path", None)
    notes, pictures = NotesOfMany(config), dict[str, str]()
    for index in readable:
        if path_of is not None and (path := path_of(index)) is not None:
            pictures[content_digest(path)] = path.name
            notes.look(path, path.name)
    return (*getattr(source, "notes", ()), *notes.sentences), pictures


def prepare_splits(config: DataConfig, seed: int) -> tuple[Prepared, Prepared | None]:
    """The training data and, where there are any, the validation data; both known to be readable.

    Args:
        config: Names and limits of both.
        seed: Of streams.

    Raises:
        ConfigError: As `prepare`.
        DataError: As `prepare`, or the two share more pictures than `max_shared_fraction` allows.
    """
    training = prepare(config.train, config, max_samples=config.max_train_samples, seed=seed)
    if config.val is None:
        return training, None
    validation = prepare(config.val, config, max_samples=config.max_val_samples, seed=seed)
    names = str(training.spec), str(validation.spec)
    told = require_apart(training.pictures, validation.pictures, config.max_shared_fraction, names)
    return training, replace(validation, warnings=(*validation.warnings, *told))


def named_dataset(name: str, root: str | None) -> DataSpec:
    """The dataset of a name in a recipe.

    Args:
        name: `KIND:DIR@SPLIT`.
        root: The directory before relative paths.

    Raises:
        ConfigError: The name is malformed, or a recipe leaves the place open and no root was given.
        DataError: It is missing.
    """
    try:
        return DataSpec.parse(name, root=root)
    except DataError as error:
        if root is None and _WORKING_DIRECTORY.fullmatch(name):
            kind = name.partition(":")[0]
            asked = "masks" if kind in DENSE_KINDS else "questions"
            raise ConfigError(
                f"the recipe needs to be told where your photographs and {asked} are", where="data.root",
                expected=LAYOUTS.get(kind, TEXT_LAYOUT), found="nothing, and none of this in the working directory",
                fix="add data.root=DIR",
            ) from error  # fmt: skip
        raise


def _below(spec: DataSpec, path: str) -> str:
    """A file of a dataset as a POSIX path below its directory, as the source lists its bad items."""
    assert spec.directory is not None
    root, file = spec.directory.expanduser().resolve(), Path(path)
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.as_posix()
