"""The stream with a class for every pixel: every object where it shows, the same for the same seed, val fixed."""

from __future__ import annotations

import pickle
import statistics
import time
from collections.abc import Callable

import numpy as np
import pytest

from segtune.core.errors import ConfigError
from segtune.data.dense.balance import count_classes
from segtune.data.sources.synthetic.dense_stream import CLASSES, LabelledScenes, scene_labels
from segtune.data.sources.synthetic.objects import COLOURS, SHAPES
from segtune.data.sources.synthetic.scene import CANVASES, draw_scene, scene_rng
from segtune.data.sources.synthetic.stream import AttributeStream
from segtune.data.spec import DENSE_STREAMS

RGB = {
    "red": (208, 34, 40), "green": (36, 142, 56), "blue": (38, 84, 208), "yellow": (240, 216, 44),
    "purple": (132, 52, 164), "orange": (242, 130, 22), "white": (244, 244, 240), "black": (26, 26, 30),
}  # fmt: skip


def test_the_classes_are_the_background_and_every_shape_or_colour() -> None:
    assert LabelledScenes("shapes", 3, seed=0).classes == ("background", *SHAPES)
    assert LabelledScenes("colours", 3, seed=0).classes == ("background", *COLOURS)
    assert tuple(CLASSES) == DENSE_STREAMS


def test_labels_are_the_whole_objects_painted_from_back_to_front() -> None:
    """By hand, from the masks that know of no occlusion; what shows of an object is not looked at."""
    hidden = 0
    for index in range(40):
        scene = draw_scene(scene_rng(3, 21, 2, index))
        painted = {"shapes": np.zeros(scene.image.shape[:2], int), "colours": np.zeros(scene.image.shape[:2], int)}
        for one in scene.objects:
            painted["shapes"][one.full_mask] = 1 + SHAPES.index(one.shape)
            painted["colours"][one.full_mask] = 1 + COLOURS.index(one.colour)
            hidden += one.area < one.full_area
        for labels, expected in painted.items():
            item = LabelledScenes(labels, 40, seed=3).item(index, epoch=2)
            np.testing.assert_array_equal(item.labels, expected)
            np.testing.assert_array_equal(item.image, scene.image)
            assert item.labels.dtype == np.uint8
            assert item.image.shape[:2] in CANVASES
    assert hidden > 10, "too few objects overlap for this to show anything"


def test_the_classes_are_seen_in_the_pixels() -> None:
    """The middle colour of the pixels of each class is nearest to the colour that it is named after."""
    stream = LabelledScenes("colours", 80, seed=1)
    items = [stream.item(index) for index in range(80)]
    pixels = np.concatenate([item.image.reshape(-1, 3) for item in items])
    labels = np.concatenate([item.labels.ravel() for item in items])
    known = np.array(list(RGB.values()))
    for label, name in enumerate(stream.classes[1:], start=1):
        middle = np.median(pixels[labels == label], axis=0)
        assert list(RGB)[np.abs(known - middle).sum(axis=1).argmin()] == name


def test_every_object_is_labelled_and_no_class_is_rare() -> None:
    stream = LabelledScenes("shapes", 200, seed=5)
    counts = count_classes(stream)
    assert counts.ignored == 0
    assert counts.per_image.sum(axis=1).tolist() == [stream.item(i).labels.size for i in range(200)]
    assert (counts.images[1:] > 0.2 * 200).all()
    assert 0.7 < counts.pixels[0] / counts.pixels.sum() < 0.82
    scene = draw_scene(scene_rng(5, 21, 0, 7))
    shown = sum(one.area for one in scene.objects)
    assert np.count_nonzero(scene_labels(scene)) == np.count_nonzero(stream.item(7).labels) == shown


def test_the_epoch_draws_other_scenes_and_the_seed_decides() -> None:
    stream = LabelledScenes("shapes", 5, seed=3)
    first = stream.item(1, epoch=4)
    stream.item(2, epoch=4)
    again = pickle.loads(pickle.dumps(stream)).item(1, epoch=4)
    assert (first.id, first.image.tobytes(), first.labels.tobytes()) == (
        again.id, again.image.tobytes(), again.labels.tobytes(),
    )  # fmt: skip
    pictures = {stream.item(1, epoch).image.tobytes() for epoch in range(4)}
    pictures |= {LabelledScenes("shapes", 5, seed=4).item(1).image.tobytes(), stream.item(2).image.tobytes()}
    pictures.add(AttributeStream(5, seed=3).group(1).image.tobytes())
    assert len(pictures) == 7
    assert stream.item(1).image.tobytes() == LabelledScenes("colours", 9, seed=3).item(1).image.tobytes()


def test_validation_is_fixed_and_apart_from_training() -> None:
    val, train = LabelledScenes("shapes", 10, seed=3, split="val"), LabelledScenes("shapes", 10, seed=3)
    assert (val.drawn, train.drawn) == (False, True)
    assert val.item(2, epoch=0).image.tobytes() == val.item(2, epoch=7).image.tobytes()
    seen = {train.item(index, epoch).image.tobytes() for index in range(10) for epoch in range(3)}
    assert not seen & {val.item(index).image.tobytes() for index in range(10)}
    assert [val.item_id(1), train.item_id(1), train.item(1, epoch=3).id] == [
        "shapes_val_000001", "shapes_train_000001", "shapes_train_000001",
    ]  # fmt: skip


def test_wrong_arguments_are_refused() -> None:
    for wrong in ({"split": "test"}, {"labels": "sizes"}, {"length": 0}, {"seed": -1}):
        with pytest.raises(ConfigError):
            LabelledScenes(**({"labels": "shapes", "length": 3, "seed": 0} | wrong))
    for index in (3, -1):
        with pytest.raises(IndexError):
            LabelledScenes("shapes", 3, seed=0).item(index)


def _seconds(read: Callable[[int], object]) -> float:
    """The middle time of one call, over calls with 40 indices."""
    taken = []
    for index in range(40):
        start = time.perf_counter()
        read(index)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def test_labels_cost_little_beside_the_drawing() -> None:
    """Measured on one slow core: 2.9 ms a labelled scene, 3.8 ms a scene with four phrases."""
    labelled, asked = LabelledScenes("shapes", 40, seed=0), AttributeStream(40, seed=0)
    ratios = [_seconds(labelled.item) / _seconds(asked.group) for _ in range(3)]
    assert min(ratios) < 1.2
