"""All queries of an image in one sequence: the part they share is read by the language model once.

    [image and words before the question] [question 1, answer 1] [question 2, answer 2] ...

Each query sees the shared prefix and itself, and its positions go on where the prefix ends, so every hidden state is
the one of the query alone. What is saved is the prefix of every query but the first; in it are the image tokens, 64 of
the tiny model and 576 of LLaVA-1.5, which are most of a prompt.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Packing:
    """How the tokens of Q queries lie in G packed sequences of length L.

    Attributes:
        query: int64 `[G, L]` and
        token: int64 `[G, L]`, which token `[q, t]` stands at each place.
        position_ids: int64 `[G, L]`, its position in its own query.
        visible: bool `[G, 1, L, L]`, what each place may attend to.
        slot: int64 `[Q, T]`, the place of each token in the sequence of its group; 0 for padding.
    """

    query: Tensor
    token: Tensor
    position_ids: Tensor
    visible: Tensor
    slot: Tensor


def pack(input_ids: Tensor, attention_mask: Tensor, group_index: Tensor) -> Packing:
    """Finds what the queries of each group have in common and lays the rest out behind it.

    Args:
        input_ids: int64 `[Q, T]`, padded on the right.
        attention_mask: int64 `[Q, T]`, 0 on padding.
        group_index: int64 `[Q]`, ascending from 0 without gaps.

    Returns:
        The packing.
    """
    device, (queries, length) = input_ids.device, input_ids.shape
    time = torch.arange(length, device=device)[None].expand(queries, -1)
    real = attention_mask.bool()
    per_group = torch.bincount(group_index)
    groups = len(per_group)
    first = (per_group.cumsum(0) - per_group)[group_index]  # the first query of each query's group

    alike = (input_ids == input_ids[first]) & real & real[first]
    common = alike.long().cumprod(dim=1).sum(dim=1)
    prefix = torch.full((groups,), length, device=device).scatter_reduce(0, group_index, common, "amin")[group_index]
    rest = attention_mask.sum(dim=1) - prefix
    before = rest.cumsum(0) - rest
    shared = time < prefix[:, None]
    slot = torch.where(shared, time, time + (before - before[first])[:, None]).masked_fill(~real, 0)
    total = int(slot.max()) + 1

    # Who stands at each place: the prefix is written by the first query alone.
    writes = real & (~shared | (first == torch.arange(queries, device=device))[:, None])
    q, t = torch.nonzero(writes, as_tuple=True)
    place = (group_index[q], slot[q, t])
    query, token = (torch.zeros(groups, total, dtype=torch.long, device=device) for _ in range(2))
    owner = torch.full((groups, total), -2, dtype=torch.long, device=device)  # -2 nobody, -1 everybody
    query[place], token[place] = q, t
    owner[place] = q.masked_fill(shared[q, t], -1)

    seen = (owner[:, None, :] == -1) | (owner[:, None, :] == owner[:, :, None])
    itself = torch.eye(total, dtype=torch.bool, device=device)  # a row that sees nothing would be NaN
    visible = (seen & (owner[:, None, :] != -2)).tril() | itself
    return Packing(query, token, position_ids=token, visible=visible[:, None], slot=slot)
