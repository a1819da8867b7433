from __future__ import annotations

import torch

from segtune.ops.tokens import IGNORE_LABEL, answer_labels, answer_positions, seg_positions

SEG = 9
X = IGNORE_LABEL


def test_positions_come_from_ids_and_point_one_before_the_token():
    labels = torch.tensor([[X, X, 5, SEG, 6, X], [X, X, X, SEG, 7, SEG]])
    query, position = seg_positions(labels, SEG)
    assert query.tolist() == [0, 1, 1]
    assert position.tolist() == [2, 2, 4]


def test_a_seg_token_in_the_prompt_asks_for_no_mask():
    input_ids = torch.tensor([[1, SEG, 4, 5, SEG, 2], [1, SEG, SEG, 5, 6, 2]])
    labels = input_ids.clone()
    labels[:, :3] = X
    query, position = seg_positions(labels, SEG)
    assert (query.tolist(), position.tolist()) == ([0], [3])


def test_no_answer_asks_for_a_mask():
    query, position = seg_positions(torch.full((2, 4), X), SEG)
    assert query.tolist() == position.tolist() == []


def test_answer_positions_predict_the_answer_labels():
    labels = torch.tensor([[X, X, 5, SEG, X], [X, 3, 4, X, X]])
    query, position = answer_positions(labels)
    assert (query.tolist(), position.tolist()) == ([0, 0, 1, 1], [1, 2, 0, 1])
    assert answer_labels(labels).tolist() == [5, SEG, 3, 4]
    assert answer_labels(labels).tolist() == labels[query, position + 1].tolist()
