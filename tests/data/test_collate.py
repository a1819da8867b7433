from __future__ import annotations

from functools import cache

import torch
from tests.factory import batch_of, group, groups, plain_loaded

from segtune.data.collate import Collate
from segtune.ops.tokens import IGNORE_LABEL


@cache
def _loaded():
    return plain_loaded()


def test_rows_are_prompt_answer_padding():
    loaded = _loaded()
    samples = [loaded.transform(g, ("It is <SEG>.",) * len(g.examples)) for g in groups(2, queries=2)]
    turns = [turn for sample in samples for turn in sample.turns]
    pad = loaded.conversation.tokenizer.pad_token_id
    batch = Collate(pad)(samples)
    lengths = [len(turn.prompt) + len(turn.answer) for turn in turns]
    assert len(set(lengths)) > 1, "a test of padding needs unequal lengths"
    assert batch.input_ids.shape == (4, max(lengths))
    for row, (turn, length) in enumerate(zip(turns, lengths, strict=True)):
        start = len(turn.prompt)
        assert batch.input_ids[row, :length].tolist() == [*turn.prompt, *turn.answer]
        assert bool((batch.input_ids[row, length:] == pad).all())
        assert batch.labels[row, start:length].tolist() == list(turn.answer)
        assert bool((batch.labels[row, :start] == IGNORE_LABEL).all())
        assert bool((batch.labels[row, length:] == IGNORE_LABEL).all())
        assert int(batch.attention_mask[row].sum()) == length
        assert bool(batch.attention_mask[row, :length].all())
        assert int(batch.prompt_lengths[row]) == start


def test_an_image_stands_once_and_its_queries_point_to_it():
    loaded = _loaded()
    members = [group(0, queries=1), group(1, queries=3), group(2, queries=2)]
    batch = batch_of(loaded, members)
    assert batch.images.vlm_pixels.shape[0] == batch.images.mask_pixels.shape[0] == len(batch.images) == 3
    assert batch.group_index.tolist() == [0, 1, 1, 1, 2, 2]
    assert batch.group_ids == ("g0", "g1", "g2")
    assert [example.id for example in batch.examples] == ["g0#0", "g1#0", "g1#1", "g1#2", "g2#0", "g2#1"]
    for row, example in enumerate(batch.examples):
        alone = batch_of(loaded, [members[int(batch.group_index[row])]])
        own = [e.id for e in alone.examples].index(example.id)
        assert torch.equal(batch.targets[row], alone.targets[own])


def test_containers_move_and_keep_integers():
    batch = batch_of(_loaded(), groups(2)).to("cpu", torch.float64)
    assert batch.images.vlm_pixels.dtype == batch.images.mask_pixels.dtype == torch.float64
    assert (batch.input_ids.dtype, batch.targets.dtype) == (torch.int64, torch.uint8)
