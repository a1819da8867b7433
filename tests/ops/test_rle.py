"""COCO run lengths: against strings worked out by hand, a slow reader written apart, and hostile input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segtune.core.errors import DataError
from segtune.ops.rle import MAX_PIXELS, rle_area, rle_decode, rle_encode


def slow_string(counts: list[int]) -> str:
    """The published algorithm, a digit at a time."""
    text = ""
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        while True:
            digit, value = value & 0x1F, value >> 5
            done = value == (-1 if digit & 0x10 else 0)
            text += chr(48 + (digit if done else digit | 0x20))
            if done:
                break
    return text


def slow_counts(mask: np.ndarray) -> list[int]:
    counts, current = [0], False
    for column in range(mask.shape[1]):
        for row in range(mask.shape[0]):
            if bool(mask[row, column]) != current:
                counts.append(0)
                current = not current
            counts[-1] += 1
    return counts


HAND_MADE = {
    "all background, 2 x 3: [6]": (np.zeros((2, 3), bool), "6"),
    "all inside, 2 x 3: [0, 6]": (np.ones((2, 3), bool), "06"),
    "down the columns: [1, 1, 2]": (np.array([[0, 0], [1, 0]], bool), "112"),
    # [1, 1, 1, 1]: the fourth is written as its difference from the second, 0
    "a difference of nothing": (np.array([[0, 0], [1, 1]], bool), "1110"),
    # [3, 4, 2, 1]: the fourth is 1 - 4 = -3 = 29 in five bits, sign bit set, so one digit: chr(48 + 29) = "M"
    "a negative difference": (np.array([[0] * 3 + [1] * 4 + [0] * 2 + [1]], bool).T, "342M"),
    # [16]: the fifth bit would read as a sign, so two digits: 16 | 32 = 48 -> chr(96) = "`", then "0"
    "a sign bit that is none": (np.zeros((16, 1), bool), "`0"),
    # [100]: 100 = 3 * 32 + 4 -> 4 | 32 = 36 -> chr(84) = "T", then "3"
    "two digits": (np.zeros((10, 10), bool), "T3"),
}


@pytest.mark.parametrize(("mask", "text"), HAND_MADE.values(), ids=HAND_MADE.keys())
def test_strings_made_by_hand(mask: np.ndarray, text: str) -> None:
    assert rle_encode(mask) == {"size": list(mask.shape), "counts": text}
    decoded = rle_decode({"size": list(mask.shape), "counts": text})
    assert decoded.dtype == bool
    assert np.array_equal(decoded, mask)


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    height, width = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return generator.random((height, width)) < draw(st.sampled_from([0.0, 0.002, 0.5, 0.998, 1.0]))


@settings(max_examples=150, deadline=None)
@given(masks())
def test_round_trip_and_agreement_with_the_slow_reading(mask: np.ndarray) -> None:
    rle = rle_encode(mask)
    counts = slow_counts(mask)
    assert rle["counts"] == slow_string(counts)
    assert np.array_equal(rle_decode(rle, size=mask.shape), mask)
    assert np.array_equal(rle_decode({"size": rle["size"], "counts": counts}), mask)
    assert rle_area(rle) == mask.sum()


@pytest.mark.parametrize("counts", [2**24, 2**24 - 1, 15, 16, 511, 512, 2**14, 2**19 - 1])
def test_long_runs(counts: int) -> None:
    mask = np.zeros((1, 2**24 + 3), bool)
    mask[0, counts:] = True
    assert rle_encode(mask)["counts"] == slow_string([counts, mask.size - counts])
    assert np.array_equal(rle_decode(rle_encode(mask)), mask)


def test_values_other_than_0_are_inside() -> None:
    assert rle_encode(np.array([[0, 255], [7, 0]], np.uint8)) == rle_encode(np.array([[0, 1], [1, 0]], bool))


CORRUPT = {
    "not a mapping": "6",
    "no size": {"counts": "6"},
    "no counts": {"size": [2, 3]},
    "empty counts": {"size": [2, 3], "counts": ""},
    "empty list": {"size": [2, 3], "counts": []},
    "too few pixels": {"size": [2, 3], "counts": "5"},
    "too many pixels": {"size": [2, 3], "counts": "7"},
    "unfinished digit": {"size": [2, 3], "counts": "6T"},
    "below the alphabet": {"size": [2, 3], "counts": "6 "},
    "above the alphabet": {"size": [2, 3], "counts": "6~"},
    "not ascii": {"size": [2, 3], "counts": "6é"},
    "null byte": {"size": [2, 3], "counts": "\x006"},
    "negative run": {"size": [2, 3], "counts": "M9"},
    "a number of 40 digits": {"size": [2, 3], "counts": "o" * 40 + "0"},
    "list with a fraction": {"size": [2, 3], "counts": [3.0, 3.0]},
    "list with a negative": {"size": [2, 3], "counts": [7, -1]},
    "list with a giant": {"size": [2, 3], "counts": [10**30]},
    "size of one": {"size": [6], "counts": "6"},
    "size with a fraction": {"size": [2.0, 3.0], "counts": "6"},
    "negative size": {"size": [-2, -3], "counts": "6"},
    "no pixels": {"size": [0, 3], "counts": "0"},
    "more than memory": {"size": [2**20, 2**20], "counts": [2**40]},
}


@pytest.mark.parametrize("rle", CORRUPT.values(), ids=CORRUPT.keys())
def test_corrupt_masks_are_refused(rle: object) -> None:
    with pytest.raises(DataError, match=r"line 4"):
        rle_decode(rle, where="line 4")


def test_another_size_than_the_image_is_refused() -> None:
    with pytest.raises(DataError, match="wrong size"):
        rle_decode({"size": [2, 3], "counts": "6"}, size=(3, 2))


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=30), st.integers(1, 9), st.integers(1, 9))
def test_any_text_decodes_or_is_refused(text: str, height: int, width: int) -> None:
    try:
        mask = rle_decode({"size": [height, width], "counts": text})
    except DataError:
        return
    assert mask.shape == (height, width)
    assert height * width <= MAX_PIXELS
