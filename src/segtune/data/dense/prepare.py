"""From the names in a recipe to labelled images that are known to be readable, and counted.

Every image of a dataset on disk is decoded once before a run. What cannot be read is left out, listed and bounded, and
the same reading counts the classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from segtune.core.errors import ConfigError, DataError
from segtune.core.records import DenseSource, LabelledImage
from segtune.data.bad_items import BadItem
from segtune.data.dense.balance import ClassCounts, Counter, class_weights, count_classes
from segtune.data.dense.config import DenseDataConfig
from segtune.data.dense.open import open_dense_source
from segtune.data.dense.views import DenseSubset, WithoutClasses
from segtune.data.digests import Digester, Digests, of_parameters
from segtune.data.open import usable
from segtune.data.prepare import absolute_root, decode_all, look_at_pictures, named_dataset, place_facts
from segtune.data.shared import require_apart, short_digests
from segtune.data.sources.classes import has_background
from segtune.data.spec import DataSpec

COUNTED_OF_STREAM = 256
"""A stream has no end: its classes are counted over so many images."""


@dataclass(frozen=True, slots=True, eq=False)
class PreparedDense:
    """Readable labelled images and what was left out of them.

    Attributes:
        spec: The dataset's name.
        source: What is left.
        bad: What was left out, and why.
        counts: The pixels of each class.
        background: Whether class 0 is the background.
        notes: What is usable and should be known about its files, in sentences.
        pictures: Names of the picture files by their digest; empty where they are drawn.
        digests: Of everything that is left.
        root: The absolute directory that links may lead to; None for the dataset's own.
    """

    spec: DataSpec
    source: DenseSource
    bad: tuple[BadItem, ...]
    counts: ClassCounts
    background: bool
    notes: tuple[str, ...] = ()
    pictures: Mapping[str, str] = field(default_factory=dict)
    digests: Digests = field(default_factory=Digests)
    root: str | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is usable but probably not meant."""
        absent = ", ".join(self.counts.absent)
        none = (f"{self.spec}: no pixel of {absent}: this cannot be learned or scored here",) if absent else ()
        return (*none, *self.notes)

    def to_dict(self) -> dict[str, Any]:
        """For `data.json`."""
        ids = "\n\n".join(self.source.item_id(index) for index in range(len(self.source)))
        return {
            **place_facts(self.spec, self.root), "images": len(self.source), "sha256": self.digests.sha256,
            "ids_sha256": hashlib.sha256(ids.encode()).hexdigest(), "classes": list(self.source.classes),
            "counts": self.counts.to_dict(), "bad": [str(item) for item in self.bad],
            "pictures": short_digests(self.pictures),
        }  # fmt: skip


def prepare_dense(name: str, config: DenseDataConfig, *, max_images: int | None = None, seed: int = 0) -> PreparedDense:
    """Opens a dataset, makes sure that it can be read and counts its classes.

    Args:
        name: `KIND:DIR@SPLIT`.
        config: Root, limits, classes to exclude and what drawn datasets need.
        max_images: At most so many images; the first ones.
        seed: Of streams.

    Raises:
        ConfigError: The name is malformed, a class to exclude does not exist, or a stream has no words.
        DataError: It is missing, or too much of it is bad; bad items are listed.
    """
    spec = named_dataset(name, config.root)
    drawn = spec.directory is None
    opened = open_dense_source(
        spec, root=config.root, words=config.words, limit=max_images, seed=seed if drawn else config.synth.seed,
        scenes=config.synth.scenes, stream_length=config.stream_length, stream_queries=config.stream_queries,
        image=config.image,
    )  # fmt: skip
    bad = list(usable(opened, config.max_bad_fraction, name))
    source = WithoutClasses(opened, config.exclude) if config.exclude else opened
    background = has_background(source.classes) if config.background is None else config.background
    root = absolute_root(config.root)
    if drawn:
        digests = of_parameters(
            data=str(spec), seed=seed, queries=config.stream_queries, images=len(source), classes=source.classes,
            words=config.words,
        )  # fmt: skip
        counts = count_classes(source, COUNTED_OF_STREAM)
        return PreparedDense(spec, source, tuple(bad), counts, background, digests=digests, root=root)
    counter, digester = Counter(source.classes), Digester()

    def read(item: LabelledImage) -> None:
        """Counts an image and takes in its digest; one whose labels are wrong raises before."""
        counter.add(item.labels)
        digester.add_labelled(item)

    found = int(getattr(opened, "files", len(opened)))
    readable = decode_all(
        spec, len(source), lambda index: read(source.item(index)), bad, found, config.max_bad_fraction, name
    )
    left = source if len(readable) == len(source) else DenseSubset(source, readable)
    notes, pictures = look_at_pictures(opened, readable, config.image)
    return PreparedDense(spec, left, tuple(bad), counter.counts(), background, notes, pictures, digester.result(), root)


def prepare_dense_splits(config: DenseDataConfig, seed: int) -> tuple[PreparedDense, PreparedDense | None]:
    """The training data and, where there are any, the validation data.

    Args:
        config: Names and limits of both.
        seed: Of streams.

    Raises:
        ConfigError: As `prepare_dense`, or a stream is to be balanced.
        DataError: As `prepare_dense`, or the two have different classes or share too many pictures.
    """
    if config.balanced and named_dataset(config.train, config.root).directory is None:
        raise ConfigError(
            "a stream cannot be balanced: its images are not there to be counted", where="data.balanced",
            expected="training data on disk", found=config.train, fix="leave data.balanced away",
        )  # fmt: skip
    training = prepare_dense(config.train, config, max_images=config.max_train_images, seed=seed)
    if config.val is None:
        return training, None
    validation = prepare_dense(config.val, config, max_images=config.max_val_images, seed=seed)
    require_classes(validation.source.classes, training.source.classes, config.val)
    names = str(training.spec), str(validation.spec)
    told = require_apart(training.pictures, validation.pictures, config.max_shared_fraction, names)
    return training, replace(validation, notes=(*validation.notes, *told))


def require_classes(found: tuple[str, ...], expected: tuple[str, ...], where: str) -> None:
    """Makes sure that data have the classes that a model has learned.

    Args:
        found: The classes of the data.
        expected: The classes of the model, in their order.
        where: The data, for the message.

    Raises:
        DataError: They are others, or in another order.
    """
    if found != expected:
        raise DataError(
            "these data have other classes than the model is trained for", where=where, expected=", ".join(expected),
            found=", ".join(found), fix="name the same classes in the same order in classes.json",
        )  # fmt: skip


def training_weights(training: PreparedDense, config: DenseDataConfig) -> np.ndarray | None:
    """The weights of the classes that a recipe asks for, float32 `[C]`; None where it asks for none.

    Raises:
        DataError: A class has no pixel, so that it has no weight.
    """
    if config.class_weights == "none":
        return None
    return class_weights(training.counts, config.weight_range, background=training.background)
