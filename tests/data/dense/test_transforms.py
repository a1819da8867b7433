from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.dense.labelled import Drawn

from segtune.core.errors import DataError
from segtune.core.records import IGNORE, LabelledImage
from segtune.data.dense.transforms import DenseTransform, collate_dense

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)


def test_the_whole_image_fills_the_model_without_padding():
    item = Drawn(1).item(0)
    sample = DenseTransform((12, 24), MEAN, STD)(item)
    assert (sample.pixels.shape, sample.pixels.dtype) == ((3, 12, 24), torch.float32)
    assert (sample.labels.shape, sample.labels.dtype) == ((12, 24), torch.uint8)
    resized = np.asarray(Image.fromarray(item.image).resize((24, 12), Image.Resampling.BILINEAR))
    expected = (resized / 255.0 - MEAN) / STD
    np.testing.assert_allclose(sample.pixels.numpy(), expected.transpose(2, 0, 1), atol=1e-5)
    assert set(np.unique(sample.labels)) <= {0, 1, 2, IGNORE}
    assert sample.item is item


def test_an_image_of_the_right_size_keeps_its_pixels():
    item = Drawn(1).item(0)
    sample = DenseTransform(item.labels.shape, (0, 0, 0), (1, 1, 1))(item)
    np.testing.assert_allclose(sample.pixels.permute(1, 2, 0).numpy() * 255, item.image, atol=1e-4)
    np.testing.assert_array_equal(sample.labels, item.labels)
    sample.labels[0, 0] = 9
    assert item.labels[0, 0] != 9


def test_image_and_labels_stay_aligned_by_resizing():
    labels = np.zeros((60, 80), np.uint8)
    labels[20:40, 40:] = 1
    item = LabelledImage("a", np.repeat((labels * 255)[..., None], 3, 2), labels)
    for size in ((30, 40), (23, 31), (90, 100)):
        sample = DenseTransform(size, (0, 0, 0), (1, 1, 1))(item)
        agreed = (sample.pixels[0] > 0.5) == (sample.labels == 1)
        assert agreed.float().mean() > 0.97


def test_a_batch():
    source = Drawn(3)
    transform = DenseTransform((12, 16), MEAN, STD)
    batch = collate_dense([transform(source.item(i)) for i in range(3)])
    assert len(batch) == 3
    assert batch.pixels.shape == (3, 3, 12, 16)
    assert batch.labels.shape == (3, 12, 16)
    assert [item.id for item in batch.items] == ["i0", "i1", "i2"]


@pytest.mark.parametrize("labels", [np.zeros((3, 4), np.uint8), np.zeros((4, 4), np.int64)])
def test_labels_that_do_not_fit_are_refused(labels):
    with pytest.raises(DataError, match="do not fit"):
        DenseTransform((2, 2), MEAN, STD)(LabelledImage("a", np.zeros((4, 4, 3), np.uint8), labels))
