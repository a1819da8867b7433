"""Packing: what each token sees and which position it has are those of its query alone."""

from __future__ import annotations

import pytest
import torch

from segtune.models.packing import pack

PAD = 0
QUERIES = ((5, 7, 7, 1, 2), (5, 7, 7, 3), (5, 7, 7, 1, 4, 6), (9, 8, 1), (2, 2), (2, 2))  # groups of 3, 1 and 2
GROUPS = (0, 0, 0, 1, 2, 2)


def _batch() -> tuple[torch.Tensor, torch.Tensor]:
    ids, mask = torch.full((6, 6), PAD), torch.zeros(6, 6, dtype=torch.long)
    for row, query in enumerate(QUERIES):
        ids[row, : len(query)], mask[row, : len(query)] = torch.tensor(query), 1
    return ids, mask


@pytest.fixture
def packing():
    return pack(*_batch(), torch.tensor(GROUPS))


def test_every_token_finds_itself(packing):
    ids, mask = _batch()
    for row, column in mask.nonzero().tolist():
        group, slot = GROUPS[row], packing.slot[row, column]
        assert ids[packing.query[group, slot], packing.token[group, slot]] == ids[row, column]
        assert packing.position_ids[group, slot] == column
    assert (packing.slot[mask == 0] == 0).all()


def test_the_shared_prefix_is_there_once(packing):
    # 3 shared and 2 + 1 + 3 own tokens; the group of one and the two equal queries share everything
    assert packing.query.shape == packing.token.shape == packing.position_ids.shape == (3, 9)
    assert packing.visible.shape == (3, 1, 9, 9)
    assert [sorted(set(packing.slot[torch.tensor(GROUPS) == g].flatten().tolist())) for g in range(3)] == [
        list(range(9)), [0, 1, 2], [0, 1]
    ]  # fmt: skip


def test_each_token_sees_what_its_query_alone_would_show(packing):
    ids = _batch()[0]
    for row, query in enumerate(QUERIES):
        group = GROUPS[row]
        for column in range(len(query)):
            seen = packing.visible[group, 0, packing.slot[row, column]].nonzero()[:, 0]
            tokens = [int(ids[packing.query[group, s], packing.token[group, s]]) for s in seen]
            assert tokens == list(query[: column + 1])


def test_padding_is_seen_by_nobody_but_itself(packing):
    assert packing.visible.diagonal(dim1=2, dim2=3).all()
    nowhere = packing.visible[1, 0, :, 3:]  # a group of three tokens: nothing stands behind them
    assert nowhere.sum() == nowhere.shape[1]
