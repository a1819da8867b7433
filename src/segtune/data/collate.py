"""From samples to a batch: pictures side by side, queries one after another, each pointing to its picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from segtune.core.types import Batch, Images
from segtune.data.transforms import Sample
from segtune.ops.tokens import IGNORE_LABEL


class Collate:
    """Joins samples into a `Batch`.

    Args:
        pad_id: Token id for padding (on the right).
    """

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """Joins G samples with together Q queries."""
        turns = [turn for sample in samples for turn in sample.turns]
        longest = max(len(turn.prompt) + len(turn.answer) for turn in turns)
        input_ids = torch.full((len(turns), longest), self.pad_id, dtype=torch.long)
        attention_mask = torch.zeros_like(input_ids)
        labels = torch.full_like(input_ids, IGNORE_LABEL)
        for row, turn in enumerate(turns):
            start, end = len(turn.prompt), len(turn.prompt) + len(turn.answer)
            input_ids[row, :end] = torch.tensor(turn.prompt + turn.answer)
            labels[row, start:end] = torch.tensor(turn.answer)
            attention_mask[row, :end] = 1
        masks = [sample.mask_pixels for sample in samples if sample.mask_pixels is not None]
        queries_per_image = torch.tensor([len(sample.turns) for sample in samples])
        return Batch(
            images=Images(
                vlm_pixels=torch.stack([sample.vlm_pixels for sample in samples]),
                mask_pixels=torch.stack(masks) if masks else None,
                geometries=tuple(sample.geometry for sample in samples),
            ),
            input_ids=input_ids,
            attention_mask=attention_mask,
            labels=labels,
            prompt_lengths=torch.tensor([len(turn.prompt) for turn in turns]),
            group_index=torch.repeat_interleave(torch.arange(len(samples)), queries_per_image),
            targets=torch.cat([sample.targets for sample in samples]),
            examples=tuple(example for sample in samples for example in sample.examples),
            group_ids=tuple(sample.group_id for sample in samples),
        )
