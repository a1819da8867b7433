from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.factory import SIDE, group, plain_loaded
from transformers import CLIPImageProcessorPil, SamImageProcessorPil

from segtune.core.errors import DataError
from segtune.core.input_spec import PixelSpec
from segtune.core.records import IGNORE, Query
from segtune.data.transforms import pixels

SAM = SamImageProcessorPil(size={"longest_edge": 96}, pad_size={"height": 96, "width": 96})
CLIP = CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})


def _image(height: int, width: int) -> np.ndarray:
    coarse = np.random.default_rng(height * 1000 + width).integers(0, 256, (height // 5 + 1, width // 5 + 1, 3))
    return np.kron(coarse, np.ones((5, 5, 1)))[:height, :width].astype(np.uint8)


def _spec(processor, size: int, placement: str) -> PixelSpec:
    mean, std = tuple(processor.image_mean), tuple(processor.image_std)
    return PixelSpec(size, mean, std, int(processor.resample), placement)


@pytest.mark.parametrize("size", [(60, 90), (91, 47), (96, 96), (113, 200), (7, 160)])
def test_corner_equals_segment_anything(size):
    image = _image(*size)
    theirs = SAM(image, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(pixels(image, _spec(SAM, 96, "corner")), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(60, 91), (91, 47), (64, 64), (113, 200), (101, 64), (50, 83), (67, 66), (99, 301)])
def test_crop_equals_clip(size):
    image = _image(*size)
    theirs = CLIP(image, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(pixels(image, _spec(CLIP, 64, "crop")), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("side", [40, 64, 131])
def test_pad_of_a_square_image_equals_clip(side):
    image = _image(side, side)
    theirs = CLIP(image, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(pixels(image, _spec(CLIP, 64, "center")), theirs, rtol=0, atol=1e-5)


def test_pad_has_the_mean_colour_and_lies_evenly():
    square = pixels(_image(40, 80), _spec(CLIP, 64, "center"))
    assert bool((square[:, :16] == 0).all())
    assert bool((square[:, 48:] == 0).all())
    assert bool((square[:, 16:48] != 0).any(dim=0).all())


@pytest.mark.parametrize("mask_features", ["encoder", "shared"])
def test_a_sample_has_everything_in_the_space_of_its_masks(mask_features):
    loaded = plain_loaded(mask_features)
    drawn = group(3, size=(60, 90), queries=3)
    sample = loaded.transform(drawn, ("It is <SEG>.",) * 3)
    assert sample.vlm_pixels.shape == (3, SIDE, SIDE)
    assert (sample.mask_pixels is None) == (mask_features == "shared")
    assert sample.geometry.offset == (
        (0, 0) if mask_features == "encoder" else ((SIDE - int(SIDE * 60 / 90 + 0.5)) // 2, 0)
    )
    assert sample.targets.shape == (3, SIDE, SIDE)
    rows, columns = sample.geometry.visible
    padding = torch.ones(SIDE, SIDE, dtype=torch.bool)
    padding[rows, columns] = False
    assert bool((sample.targets[:, padding] == IGNORE).all())
    for example, target in zip(drawn.examples, sample.targets, strict=True):
        share = float((target[rows, columns] == 1).float().mean())
        assert share == pytest.approx(float((example.target == 1).mean()), abs=0.02)


def test_every_example_needs_its_answer():
    loaded = plain_loaded()
    with pytest.raises(ValueError, match="shorter"):
        loaded.transform(group(0, queries=2), ("It is <SEG>.",))


def _spoilt(**changes):
    """A group of two queries, the second of which is changed."""
    drawn = group(0, queries=2)
    first, second = drawn.examples
    return replace(drawn, examples=(first, replace(second, **changes)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": np.full((60, 90), np.nan, np.float32)}, "5,400 NaN or infinite pixels"),
        ({"target": np.zeros((60, 90), np.float32)}, "float32 of 60 x 90"),
        ({"target": np.zeros((30, 90), np.uint8)}, "uint8 of 30 x 90"),
        ({"query": Query(" ", False)}, "this query is empty"),
    ],
)
def test_what_no_source_should_yield_is_one_message_with_the_sample(changes, message):
    with pytest.raises(DataError) as caught:
        plain_loaded().transform(_spoilt(**changes), ("It is <SEG>.",) * 2)
    assert message in str(caught.value)
    assert caught.value.where == "g0#1"


def test_an_image_without_a_query_is_refused():
    with pytest.raises(DataError, match="nothing is asked about this image") as caught:
        plain_loaded().transform(replace(group(0), examples=()), ())
    assert caught.value.where == "g0"
