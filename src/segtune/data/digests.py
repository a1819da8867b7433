"""Digests of what data hold, so that a run that goes on, or a score that compares, can tell whether they are the same.

What is digested is what a source yields: decoded pixels, texts, painted targets. So a picture that was only renamed or
a polygon file that was only formatted anew is the same, and a reading rule that changed is not. The pixels are decoded
anyway before every run; their digest takes about a quarter of the time that decoding them does.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from segtune.core.records import Group, LabelledImage

_SHORT = 8
"""Hexadecimal digits that are kept of each part of an item: enough to name what has changed."""


@dataclass(frozen=True, slots=True)
class Digests:
    """What a split holds.

    Attributes:
        sha256: Of all items in their order; of a stream of its parameters; empty where nobody has looked.
        parts: What the digests of an item stand for, in their order.
        items: The first digits of each part of every item, by the item's id; empty for a stream.
    """

    sha256: str = ""
    parts: tuple[str, ...] = ()
    items: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For `data_items.json`."""
        return {"parts": list(self.parts), "items": self.items}


class Digester:
    """Takes in the items of a split, one after the other, as they are read."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._parts: tuple[str, ...] = ()
        self._items: dict[str, str] = {}

    def add_group(self, group: Group) -> None:
        """Takes in an image with its questions: the pixels, the texts and what is known of them, and the targets."""
        texts = [
            [example.id, query.text, query.is_sentence, query.kind, query.explanation]
            for example in group.examples
            for query in (example.query,)
        ]
        targets: dict[int, bytes] = {}  # the queries of one annotation share one array
        for example in group.examples:
            if id(example.target) not in targets:
                targets[id(example.target)] = _of_array(example.target)
        masks = b"".join(targets[id(example.target)] for example in group.examples)
        self._add(group.id, picture=_of_array(group.image), texts=_of_bytes(_as_json(texts)), masks=_of_bytes(masks))

    def add_labelled(self, item: LabelledImage) -> None:
        """Takes in an image with the class of every pixel."""
        self._add(item.id, picture=_of_array(item.image), labels=_of_array(item.labels))

    def result(self) -> Digests:
        """What has been taken in."""
        return Digests(self._whole.hexdigest(), self._parts, dict(self._items))

    def _add(self, item: str, **parts: bytes) -> None:
        self._parts = tuple(parts)
        self._whole.update(_as_json([item, *(part.hex() for part in parts.values())]))
        self._items[item] = " ".join(part.hex()[:_SHORT] for part in parts.values())


def of_parameters(**parameters: Any) -> Digests:
    """The digest of a stream: what decides every scene of it.

    Args:
        parameters: Plain values by name.
    """
    return Digests(hashlib.sha256(_as_json(sorted(parameters.items()))).hexdigest())


def of_pixels(pixels: np.ndarray) -> str:
    """The digest of one picture: the same for its file, its bytes and its pixels.

    Args:
        pixels: uint8 `[h, w, 3]`, as it was read.
    """
    return _of_array(pixels).hex()


def _as_json(value: Any) -> bytes:
    """ASCII, so that no text is too odd for it."""
    return json.dumps(value).encode("ascii") + b"\n"


def _of_array(array: np.ndarray) -> bytes:
    return _of_bytes(
        f"{array.dtype} {array.shape}\n".encode(), np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    )


def _of_bytes(*pieces: bytes | memoryview) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()
