"""Where `<SEG>` stands in a batch of token ids, and which hidden state belongs to it.

Positions always come from ids, never from an offset, and only an *answer* can ask for a mask: a `<SEG>` that a user
types into the question is not one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

IGNORE_LABEL = -100
"""The label of tokens that carry no language loss (the convention of transformers)."""


class SegPositions(NamedTuple):
    """The masks a batch of answers asks for.

    Attributes:
        query: int64 `[N]`, the query that each mask belongs to, ascending.
        position: int64 `[N]`, the position whose hidden state *predicts* that `<SEG>`: one before the token.
    """

    query: Tensor
    position: Tensor


def seg_positions(labels: Tensor, seg_id: int) -> SegPositions:
    """Finds the states that predict `<SEG>` in the answers.

    Args:
        labels: int64 `[Q, T]`, `IGNORE_LABEL` outside the answers, aligned with the input ids.
        seg_id: Id of the `<SEG>` token.

    Returns:
        One entry per `<SEG>`, in reading order. An answer never begins at position 0, so `position` is at least 0.
    """
    query, token = torch.nonzero(labels == seg_id, as_tuple=True)
    return SegPositions(query, token - 1)


def answer_positions(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Finds the positions that predict an answer token.

    Args:
        labels: int64 `[Q, T]`, `IGNORE_LABEL` outside the answers.

    Returns:
        int64 `[A]` query indices and int64 `[A]` positions (one before each labelled token).
    """
    query, token = torch.nonzero(labels[:, 1:] != IGNORE_LABEL, as_tuple=True)
    return query, token


def answer_labels(labels: Tensor) -> Tensor:
    """The labels that belong to `answer_positions`, int64 `[A]`, in the same order."""
    shifted = labels[:, 1:]
    return shifted[shifted != IGNORE_LABEL]
