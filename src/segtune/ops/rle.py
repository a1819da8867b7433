"""COCO run-length masks, compressed strings included, without pycocotools.

A mask is `{"size": [h, w], "counts": "..."}` in *original* pixels: the lengths of its runs down the columns, the
first of them background. What comes from a file is checked in full before an array is made of it.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from segtune.core.errors import DataError

MAX_PIXELS = 2**30
"""The largest mask that `rle_decode` builds: a hostile size must not take the memory of the machine."""

FIRST_CHARACTER = 48  # "0": the lowest of the 64 characters of a COCO string
DIGIT_BITS = 5
CONTINUES = 0x20
MAX_DIGITS = 7  # 35 bits, sign included: enough for MAX_PIXELS


class Rle(TypedDict):
    """A COCO run-length mask: `size` is `[h, w]`, `counts` the compressed string of column-major run lengths."""

    size: list[int]
    counts: str


def rle_encode(mask: np.ndarray) -> Rle:
    """A mask as COCO run lengths.

    Args:
        mask: `[h, w]`, bool or number (anything but 0 is inside).

    Returns:
        `{"size": [h, w], "counts": "..."}`, the same string that pycocotools writes.
    """
    flat = np.asarray(mask != 0).ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = np.concatenate([[0], edges, [flat.size]])
    counts = np.diff(bounds)
    if flat.size and flat[0]:
        counts = np.concatenate([[0], counts])  # the first run is always background
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": _counts_to_string(counts)}


def rle_decode(rle: object, *, size: tuple[int, int] | None = None, where: str = "") -> np.ndarray:
    """A COCO run-length mask as an array.

    Args:
        rle: `{"size": [h, w], "counts": ...}`; `counts` a compressed string or a list of run lengths.
        size: The (h, w) that it must have, if known.
        where: File and line, for the message.

    Returns:
        bool `[h, w]`.

    Raises:
        DataError: If it is no such mapping, has another size or is corrupt. Nothing is allocated before that is known.
    """
    (height, width), counts = _read_rle(rle, size, where)
    inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return np.ascontiguousarray(inside.reshape(width, height).T)


def rle_area(rle: object, *, where: str = "") -> int:
    """The number of pixels inside a COCO run-length mask, without building it.

    Raises:
        DataError: As `rle_decode`.
    """
    return int(_read_rle(rle, None, where)[1][1::2].sum())


def _counts_to_string(counts: np.ndarray) -> str:
    """The COCO string of the run lengths.

    From the fourth on, each count is written as its difference from the one before the last, in groups of five bits,
    lowest first, a sixth bit saying that more follow.
    """
    values = counts.astype(np.int64)
    values[3:] -= counts[1:-2]
    places = np.arange(MAX_DIGITS)
    limits = np.int64(1) << (DIGIT_BITS * places[1:] - 1)  # k digits hold -limit .. limit - 1
    lengths = 1 + ((values[:, None] < -limits) | (values[:, None] >= limits)).sum(axis=1)
    digits = (values[:, None] >> (DIGIT_BITS * places)) & 0x1F
    digits |= np.where(places < (lengths - 1)[:, None], CONTINUES, 0)
    used = places < lengths[:, None]
    return (digits[used] + FIRST_CHARACTER).astype(np.uint8).tobytes().decode("ascii")


def _string_to_counts(text: str, limit: int) -> np.ndarray | None:
    """The inverse of `_counts_to_string`, int64; None where the string is corrupt or a value exceeds `limit`."""
    digits = np.frombuffer(text.encode("ascii", "replace"), np.uint8).astype(np.int64) - FIRST_CHARACTER
    if not digits.size or digits.min() < 0 or digits.max() > 63 or digits[-1] & CONTINUES:
        return None
    ends = np.flatnonzero((digits & CONTINUES) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > MAX_DIGITS:
        return None
    places = np.arange(digits.size) - np.repeat(starts, lengths)
    values = np.add.reduceat((digits & 0x1F) << (DIGIT_BITS * places), starts)
    negative = (digits[ends] & 0x10) != 0
    values -= np.where(negative, np.int64(1) << (DIGIT_BITS * lengths), 0)
    if np.abs(values).max() > limit:
        return None
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _read_rle(rle: object, size: tuple[int, int] | None, where: str) -> tuple[tuple[int, int], np.ndarray]:
    """The (h, w) and the int64 run lengths of a mask, checked to cover it exactly."""
    found = rle.get("size") if isinstance(rle, dict) else None
    if not (
        isinstance(rle, dict)
        and isinstance(found, list | tuple)
        and len(found) == 2
        and all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in found)
    ):
        raise DataError(
            "a mask is not a COCO run-length mask",
            where=where,
            expected='{"size": [h, w], "counts": "..."} with whole positive numbers h and w',
            found=str(found if isinstance(rle, dict) else rle)[:80],
        )
    height, width = found
    if (size is not None and (height, width) != tuple(size)) or height * width > MAX_PIXELS:
        raise DataError(
            "a mask has the wrong size",
            where=where,
            expected=f"{list(size)}" if size is not None else f"at most {MAX_PIXELS} pixels",
            found=f"{[height, width]} (height, width)",
            fix="write masks at the original resolution of the image, after EXIF orientation",
        )
    counts = _read_counts(rle.get("counts"), height * width)
    if counts is None or counts.min() < 0 or counts.max() > height * width or counts.sum() != height * width:
        raise DataError(
            "a mask is corrupt",
            where=where,
            expected=f"run lengths that add up to {height} x {width} = {height * width} pixels",
            found=str(rle.get("counts"))[:80],
        )
    return (height, width), counts


def _read_counts(counts: object, limit: int) -> np.ndarray | None:
    if isinstance(counts, str):
        return _string_to_counts(counts, limit)
    if isinstance(counts, list) and counts and all(type(c) is int and 0 <= c <= limit for c in counts):
        return np.array(counts, dtype=np.int64)
    return None
