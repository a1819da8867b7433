"""The containers in which the data layer hands examples on, free of torch.

Spaces: every array here is in *original* pixels. Images are uint8 `[h, w, 3]` RGB after EXIF orientation; targets are
uint8 `[h, w]` with 0 background, 1 target and 255 ignore.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from segtune.core.errors import ConfigError
from segtune.core.text import reads_as_sentence, require_text

IGNORE = 255
"""The value of target pixels that count neither for nor against (uint8)."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question asked about an image.

    Attributes:
        text: The words of the user, as they stand in the data.
        is_sentence: True for a whole sentence ("long"), False for a phrase ("short"). None, where the data leave it
            open, becomes what the text itself says (`core.text.reads_as_sentence`).
        kind: What kind of thought it needs, where the source says so; else empty.
        explanation: The explaining answer, where the source has one; else empty.
    """

    text: str
    is_sentence: bool
    kind: str = ""
    explanation: str = ""

    def __post_init__(self) -> None:
        if self.is_sentence is None:
            object.__setattr__(self, "is_sentence", reads_as_sentence(self.text))

    @classmethod
    def of(cls, text: str, is_sentence: bool | None = None, kind: str = "", explanation: str = "") -> Query:
        """A query; without `is_sentence` its text decides whether it is a sentence."""
        return cls(text, reads_as_sentence(text) if is_sentence is None else is_sentence, kind, explanation)

    @classmethod
    def typed(cls, text: str, is_sentence: bool | None = None) -> Query:
        """A question as a person types it.

        Args:
            text: The words.
            is_sentence: True for a sentence, False for a phrase; None: as the text reads.

        Raises:
            ConfigError: It is no text, is empty or too long, or holds what a text cannot hold.
        """
        if not isinstance(text, str) or not text.strip():
            found = repr(text) if isinstance(text, str) else f"a {type(text).__name__}"
            raise ConfigError(
                "the question is empty" if isinstance(text, str) else "the question is no text",
                expected='words, as in "the red car"',
                found=found,
            )
        require_text(text, "QUERY", what="the question", error=ConfigError)
        return cls.of(text, is_sentence)


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One query and the mask it asks for.

    Attributes:
        id: `"<record id>#<query index>"`, unique within a split.
        query: The question.
        target: uint8 `[h, w]`, values 0, 1 and `IGNORE`, original pixels. May be empty (no 1 in it).
    """

    id: str
    query: Query
    target: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """One image with all its examples: what a model encodes once.

    Attributes:
        id: The id of the first record of the image.
        image: uint8 `[h, w, 3]`, RGB, original pixels.
        examples: At least one.
    """

    id: str
    image: np.ndarray
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImage:
    """One image with a class for every pixel: what dense segmentation learns from.

    Attributes:
        id: Unique within a split: POSIX path below the split, without suffix.
        image: uint8 `[h, w, 3]`, RGB, original pixels.
        labels: uint8 `[h, w]`, original pixels: indices into the source's classes, and `IGNORE`.
    """

    id: str
    image: np.ndarray
    labels: np.ndarray


class DenseSource(Protocol):
    """Anything that yields labelled images by index.

    Attributes:
        name: The dataset's name.
        classes: The names of the classes; a label is an index into them. Class 0 is the background where there is one.
    """

    name: str
    classes: tuple[str, ...]

    def __len__(self) -> int:
        """Number of images."""
        ...

    def item(self, index: int, epoch: int = 0) -> LabelledImage:
        """The image at `index`; `epoch` matters only to sources that draw afresh each epoch."""
        ...

    def item_id(self, index: int) -> str:
        """The id of the image at `index`, without reading it."""
        ...


class Source(Protocol):
    """Anything that yields groups by index. The index (and the epoch, for drawn sources) decides what comes."""

    name: str

    def __len__(self) -> int:
        """Number of groups."""
        ...

    def group(self, index: int, epoch: int = 0) -> Group:
        """The group at `index`; `epoch` matters only to sources that draw afresh each epoch."""
        ...

    def ids(self, index: int) -> Sequence[str]:
        """The example ids of the group at `index`, without reading its image."""
        ...
