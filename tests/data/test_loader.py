from __future__ import annotations

import logging
from dataclasses import dataclass, fields, replace
from functools import cache

import pytest
import torch
from tests.factory import PATCHES, DrawnSource, plain_loaded

from segtune.core.records import Example, Group, Query
from segtune.core.types import Batch
from segtune.data.config import AugmentConfig
from segtune.data.loader import Draw, ScoringLoader, TrainingLoader, epoch_order

AUGMENT = AugmentConfig(flip=0.5, crop=0.3, scale=0.5, color=0.3)


@cache
def _loaded():
    return plain_loaded()


@dataclass
class Explained(DrawnSource):
    """A source that explains its first query, with words that only a dataset would use."""

    count: int
    queries: int = 2
    explanation: str = "a <SEG> on an <image>.</s>"

    def group(self, index: int, epoch: int = 0) -> Group:
        drawn = super().group(index, epoch)
        first, *rest = drawn.examples
        query = Query(first.query.text, first.query.is_sentence, explanation=self.explanation)
        return replace(drawn, examples=(Example(first.id, query, first.target), *rest))


def _training(
    count: int = 7, *, queries: int = 2, seed: int = 0, workers: int = 0, size: int = 2, **draw
) -> TrainingLoader:
    loaded = _loaded()
    wanted = {"queries_per_image": None, "augment": AUGMENT, **draw}
    source = wanted.pop("source", None) or DrawnSource(count, queries)
    return TrainingLoader(
        source, loaded.transform, Draw(seed, loaded.conversation.wording, **wanted),
        batch_size=size, pad_id=0, num_workers=workers,
    )  # fmt: skip


def _scoring(count: int, **changes) -> ScoringLoader:
    return ScoringLoader(DrawnSource(count), _loaded().transform, **{"batch_size": 2, "pad_id": 0, **changes})


def _same(a: Batch, b: Batch) -> bool:
    tensors = [f.name for f in fields(Batch) if isinstance(getattr(a, f.name), torch.Tensor)]
    pictures = torch.equal(a.images.vlm_pixels, b.images.vlm_pixels) and torch.equal(
        a.images.mask_pixels, b.images.mask_pixels
    )
    ids = [e.id for e in a.examples] == [e.id for e in b.examples] and a.group_ids == b.group_ids
    return ids and pictures and all(torch.equal(getattr(a, name), getattr(b, name)) for name in tensors)


def _all_same(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))


def test_order_is_a_permutation_that_seed_and_epoch_decide():
    assert epoch_order(50, 3, 2) == epoch_order(50, 3, 2)
    assert sorted(epoch_order(50, 3, 2)) == list(range(50))
    assert epoch_order(50, 3, 2) != epoch_order(50, 3, 1)
    assert epoch_order(50, 3, 2) != epoch_order(50, 4, 2)


def test_batches_depend_on_seed_and_epoch_alone():
    loader = _training()
    first = list(loader.batches(1))
    list(loader.batches(0))
    torch.manual_seed(5)
    torch.rand(3)
    assert len(first) == len(loader) == 4
    assert _all_same(first, list(loader.batches(1)))
    assert _all_same(first, list(_training().batches(1)))
    assert not _all_same(first, list(loader.batches(2)))
    assert not _all_same(first, list(_training(seed=1).batches(1)))
    assert sorted(i for batch in first for i in batch.group_ids) == sorted(f"g{i}" for i in range(7))


@pytest.mark.parametrize("start", [0, 1, 3, 4])
def test_an_epoch_continues_from_a_position_as_if_never_stopped(start):
    loader = _training()
    assert _all_same(list(loader.batches(3))[start:], list(loader.batches(3, start=start)))


def test_workers_change_nothing():
    alone, helped = _training(5), _training(5, workers=2)
    assert _all_same(list(alone.batches(2)), list(helped.batches(2)))


def test_processes_share_the_batches_of_an_epoch():
    loader = _training()
    whole = [b.group_ids for b in loader.batches(0)]
    shares = [[b.group_ids for b in loader.batches(0, rank=rank, world=3)] for rank in range(3)]
    assert shares == [whole[0::3], whole[1::3], whole[2::3]]
    rest = [[b.group_ids for b in loader.batches(0, start=1, rank=rank, world=2)] for rank in range(2)]
    assert rest == [whole[1::2], whole[2::2]], "the position is that of the whole epoch"


def test_some_queries_of_an_image_are_drawn_afresh_each_epoch():
    loader = _training(4, queries=5, queries_per_image=2)
    seen = set()
    for epoch in range(12):
        for batch in loader.batches(epoch):
            assert torch.bincount(batch.group_index).tolist() == [2] * len(batch.group_ids)
            seen |= {example.id for example in batch.examples}
    assert seen == {f"g{i}#{q}" for i in range(4) for q in range(5)}


def test_every_wording_of_an_answer_comes_up():
    loaded = _loaded()
    answers = {loaded.conversation.answer(text) for text in loaded.conversation.wording.answers}
    seen = set()
    for epoch in range(6):
        for batch in _training(6).batches(epoch):
            for row, start in enumerate(batch.prompt_lengths.tolist()):
                end = int(batch.attention_mask[row].sum())
                seen.add(tuple(batch.input_ids[row, start:end].tolist()))
    assert seen == answers


def test_the_first_epochs_may_show_the_language_model_no_image():
    image_id = _loaded().model.vlm.llava.config.image_token_id
    loader = _training(3, text_only_epochs=4)
    for epoch, expected in ((0, {0}), (1, {0}), (3, {PATCHES}), (9, {PATCHES})):
        for batch in loader.batches(epoch):
            assert set((batch.input_ids == image_id).sum(1).tolist()) == expected
    halfway = [n for seed in range(8) for batch in _training(seed, text_only_epochs=4).batches(2)
               for n in (batch.input_ids == image_id).sum(1).tolist()]  # fmt: skip
    assert set(halfway) == {0, PATCHES}
    assert 0.2 < halfway.count(0) / len(halfway) < 0.8
    with_images, without = (next(_training(3, text_only_epochs=n).batches(0)) for n in (0, 2))
    assert torch.equal(with_images.images.mask_pixels, without.images.mask_pixels), "the mask decoder sees it anyway"
    assert torch.equal(with_images.targets, without.targets)


def test_explanations_are_answered_and_ask_for_one_mask_whatever_they_say():
    loaded = _loaded()
    tokenizer = loaded.conversation.tokenizer
    for batch in _training(source=Explained(3), explain=1.0).batches(0):
        for row, example in enumerate(batch.examples):
            ids = batch.labels[row][batch.labels[row] >= 0].tolist()
            assert ids.count(tokenizer.convert_tokens_to_ids("<SEG>")) == 1
            assert ids.count(tokenizer.eos_token_id) == 1
            assert tokenizer.convert_tokens_to_ids("<image>") not in ids
            explained = "SEG> on an" in tokenizer.decode(ids)
            assert explained == example.id.endswith("#0")


def test_the_chance_of_an_explanation_moves_nothing_else():
    plain = list(_training(source=Explained(3), explain=0.0).batches(0))
    explained = list(_training(source=Explained(3), explain=1.0).batches(0))
    for a, b in zip(plain, explained, strict=True):
        assert torch.equal(a.images.vlm_pixels, b.images.vlm_pixels)
        rows = [row for row, example in enumerate(a.examples) if example.id.endswith("#1")]
        for row in rows:
            assert a.labels[row][a.labels[row] >= 0].tolist() == b.labels[row][b.labels[row] >= 0].tolist()


@pytest.mark.parametrize(("count", "world"), [(7, 1), (7, 2), (5, 3), (2, 4)])
def test_scoring_shares_are_disjoint_and_complete(count, world):
    loader = _scoring(count)
    shares = [[i for batch in loader.batches(rank, world) for i in batch.group_ids] for rank in range(world)]
    together = [group_id for share in shares for group_id in share]
    assert sorted(together) == sorted(f"g{i}" for i in range(count))
    assert len(together) == count


def test_scoring_gives_every_query_in_order_with_the_forced_answer():
    loaded = _loaded()
    batches = list(_scoring(3).batches())
    assert [e.id for b in batches for e in b.examples] == [f"g{i}#{q}" for i in range(3) for q in range(2)]
    forced = list(loaded.conversation.answer(loaded.conversation.wording.forced_answer))
    for batch in batches:
        for labels in batch.labels:
            assert labels[labels >= 0].tolist() == forced
    assert _all_same(batches, list(_scoring(3, num_workers=1).batches()))


class Asked:
    """A source that knows its queries without reading images, as one on disk does; some of them say a side."""

    name = "asked"

    def __init__(self, count: int, sided: int) -> None:
        self.drawn, self.sided = DrawnSource(count, 2), sided
        self.group, self.ids = self.drawn.group, self.drawn.ids

    def __len__(self) -> int:
        return len(self.drawn)

    def queries(self, index: int) -> list[Query]:
        text = "the one on the left" if index < self.sided else "the red label"
        return [Query("a thing", False), Query(text, False)]


@pytest.mark.parametrize(
    ("sided", "flip", "mirror", "told"),
    [(2, 0.5, "auto", ["info"]), (4, 0.5, "auto", ["warning"]), (0, 0.5, "auto", []), (2, 0, "auto", []),
     (2, 0.5, "always", [])],
)  # fmt: skip
def test_pictures_that_flip_passes_over_are_counted_once(sided, flip, mirror, told, monkeypatch):
    heard = []
    for level in ("info", "warning"):
        monkeypatch.setattr(
            logging.getLogger("segtune.data.augment"), level,
            lambda text, *words, level=level: heard.append((level, text % words)),
        )  # fmt: skip
    _training(source=Asked(4, sided=sided), augment=AugmentConfig(flip=flip, mirror=mirror))
    assert [level for level, _ in heard] == told
    assert all(f"passes over {sided} of 4 pictures" in text for _, text in heard)
