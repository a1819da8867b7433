from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from tests.data.dense.labelled import Drawn, Given

from segtune.core.types import DenseBatch
from segtune.data.dense.balance import count_classes
from segtune.data.dense.config import DenseAugmentConfig
from segtune.data.dense.loader import DenseScoringLoader, DenseTrainingLoader
from segtune.data.dense.transforms import DenseTransform
from segtune.data.loader import epoch_order

TRANSFORM = DenseTransform((12, 16), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
AUGMENT = DenseAugmentConfig(flip=0.5, zoom=(0.8, 1.5), rotate=10, color=0.2)


def _training(source: object | None = None, *, count: int = 7, seed: int = 0, **changes) -> DenseTrainingLoader:
    settings = {"batch_size": 2, "augment": AUGMENT, **changes}
    return DenseTrainingLoader(source or Drawn(count), TRANSFORM, seed=seed, **settings)


def _ids(batches) -> list[str]:
    return [item.id for batch in batches for item in batch.items]


def _same(a: DenseBatch, b: DenseBatch) -> bool:
    items = all(
        x.id == y.id and np.array_equal(x.image, y.image) and np.array_equal(x.labels, y.labels)
        for x, y in zip(a.items, b.items, strict=True)
    )
    return items and torch.equal(a.pixels, b.pixels) and torch.equal(a.labels, b.labels)


def _all_same(a, b) -> bool:
    a, b = list(a), list(b)
    return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))


def test_batches_depend_on_seed_and_epoch_alone():
    loader = _training()
    first = list(loader.batches(1))
    list(loader.batches(0))
    torch.manual_seed(5)
    assert len(first) == len(loader) == 4
    assert _all_same(first, loader.batches(1))
    assert _all_same(first, _training().batches(1))
    assert not _all_same(first, loader.batches(2))
    assert not _all_same(first, _training(seed=1).batches(1))
    assert _ids(first) == [f"i{i}" for i in epoch_order(7, 0, 1)]


def test_remembered_is_as_read_again():
    source = Drawn(7)
    remembered = _training(source, cache_bytes=10**9)
    for epoch in range(3):
        assert _all_same(remembered.batches(epoch), _training().batches(epoch))
    assert source.reads == 7
    little = Drawn(7)
    some = _training(little, cache_bytes=5_000)
    for epoch in range(3):
        assert _all_same(some.batches(epoch), _training().batches(epoch))
    assert 7 < little.reads < 21


@pytest.mark.parametrize("cache_bytes", [0, 10**9])
def test_workers_change_nothing(cache_bytes):
    helped = _training(count=5, num_workers=2, cache_bytes=cache_bytes)
    assert _all_same(_training(count=5).batches(2), helped.batches(2))


def test_memory_is_filled_before_workers_start():
    source = Drawn(4)
    loader = _training(source, num_workers=1, cache_bytes=10**9)
    list(loader.batches(0))
    list(loader.batches(1))
    assert source.reads == 4


def test_what_is_drawn_afresh_is_never_remembered():
    loader = _training(Drawn(3, drawn=True), cache_bytes=10**9, augment=DenseAugmentConfig())
    first, second = (list(loader.batches(epoch)) for epoch in (0, 1))
    by_id = [{item.id: item.image for batch in batches for item in batch.items} for batches in (first, second)]
    assert not any(np.array_equal(by_id[0][name], by_id[1][name]) for name in by_id[0])


@pytest.mark.parametrize("start", [0, 1, 3, 4])
@pytest.mark.parametrize("balanced", [False, True])
def test_an_epoch_continues_from_a_position_as_if_never_stopped(start, balanced):
    loader = _training(balance=count_classes(Drawn(7)) if balanced else None)
    assert _all_same(list(loader.batches(3))[start:], loader.batches(3, start=start))


def test_processes_share_the_batches_of_an_epoch():
    loader = _training()
    whole = [_ids([b]) for b in loader.batches(0)]
    shares = [[_ids([b]) for b in loader.batches(0, rank=rank, world=3)] for rank in range(3)]
    assert shares == [whole[0::3], whole[1::3], whole[2::3]]
    rest = [[_ids([b]) for b in loader.batches(0, start=1, rank=rank, world=2)] for rank in range(2)]
    assert rest == [whole[1::2], whole[2::2]], "the position is that of the whole epoch"


def test_images_are_shrunk_only_as_far_as_the_largest_zoom_allows():
    large = Drawn(1, (120, 160))
    for zoom, height in (((1, 1), 12), ((0.5, 2), 24), ((1, 10), 120)):
        loader = _training(large, augment=DenseAugmentConfig(zoom=zoom))
        assert loader.source.item(0).labels.shape[0] == height


def test_items_of_a_training_batch_fit_its_tensors():
    (batch,) = _training(count=2, augment=DenseAugmentConfig(zoom=(1.5, 1.5), flip=0.5)).batches(0)
    for row, item in enumerate(batch.items):
        assert torch.equal(batch.labels[row], TRANSFORM(item).labels)
        assert torch.equal(batch.pixels[row], TRANSFORM(item).pixels)


def test_images_with_rare_classes_come_more_often_and_differ_each_time():
    source = Given([np.full((8, 8), 2 if index == 0 else 0) for index in range(16)])
    loader = _training(source, balance=count_classes(source), augment=DenseAugmentConfig(color=0.3))
    tally: Counter[str] = Counter()
    for epoch in range(4):
        batches = list(loader.batches(epoch))
        tally.update(_ids(batches))
        shown = [item.image.tobytes() for batch in batches for item in batch.items if item.id == "i0"]
        assert len(set(shown)) == len(shown) >= 2
    assert sum(tally.values()) == 64
    assert tally["i0"] >= 8


@pytest.mark.parametrize(("count", "world"), [(7, 1), (7, 2), (5, 3), (2, 4)])
def test_scoring_shares_are_disjoint_and_complete(count, world):
    loader = DenseScoringLoader(Drawn(count), TRANSFORM, batch_size=2)
    shares = [_ids(loader.batches(rank, world)) for rank in range(world)]
    together = [name for share in shares for name in share]
    assert sorted(together) == [f"i{i}" for i in range(count)]


def test_scoring_gives_every_image_whole_and_in_original_pixels():
    source = Drawn(3)
    for changes in ({}, {"cache_bytes": 10**9}, {"num_workers": 1}, {"num_workers": 1, "cache_bytes": 10**9}):
        loader = DenseScoringLoader(source, TRANSFORM, batch_size=2, **changes)
        for _ in range(2):
            items = [item for batch in loader.batches() for item in batch.items]
            assert [item.id for item in items] == ["i0", "i1", "i2"]
            for index, item in enumerate(items):
                np.testing.assert_array_equal(item.image, source.item(index).image)
                np.testing.assert_array_equal(item.labels, source.item(index).labels)
