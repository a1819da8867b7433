"""From a batch to what the model says about each query: the one path of evaluation and prediction.

Two modes, always named. `generate`: the model must ask for a mask itself. `forced`: the answer is put into its mouth,
as the reference system does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from segtune.core.types import Batch, Masks
from segtune.data.conversation import Conversation
from segtune.models.reasoning import ReasoningSegmenter
from segtune.ops.geometry import to_original

Mode = Literal["generate", "forced"]
MODES: tuple[Mode, ...] = ("generate", "forced")


@dataclass(frozen=True, slots=True, eq=False)
class QueryAnswer:
    """What the model answered to one query.

    Attributes:
        text: Its words (in forced mode those it was given).
        logits: float32 `[n, h, w]`, original pixels, one per `<SEG>`; n is 0 where it asked for no mask.
        scores: n estimates of the IoU by the mask decoder; none where it never learned to estimate.
        emitted: True where the model asked for a mask itself (always true in forced mode).
    """

    text: str
    logits: np.ndarray
    scores: tuple[float, ...]
    emitted: bool

    @property
    def union(self) -> np.ndarray | None:
        """float32 `[h, w]`: the highest logit of all masks at each pixel; None without a mask."""
        return self.logits.max(axis=0) if len(self.logits) else None


def answer_batch(
    model: ReasoningSegmenter, batch: Batch, conversation: Conversation, mode: Mode, *, max_new_tokens: int
) -> list[QueryAnswer]:
    """Asks all queries of a batch; see `answers`, which holds the masks of one query at a time."""
    return list(answers(model, batch, conversation, mode, max_new_tokens=max_new_tokens))


@torch.inference_mode()
def answers(
    model: ReasoningSegmenter, batch: Batch, conversation: Conversation, mode: Mode, *, max_new_tokens: int
) -> Iterator[QueryAnswer]:
    """Asks all queries of a batch, and brings their masks to original pixels one query after another.

    Thirty questions about a picture of 12 million pixels have 1.5 GB of logits there.

    Args:
        model: In evaluation mode.
        batch: On the model's device. In forced mode its answers are read, in generate mode they are not.
        conversation: Turns generated ids into words.
        mode: Whether the model answers itself.
        max_new_tokens: Where a generated answer is cut.

    Yields:
        One answer per query, masks in original pixels.
    """
    if mode == "generate":
        with model.scoring_autocast():
            generation = model.generate(batch, max_new_tokens=max_new_tokens)
        texts = [conversation.text_of(ids) for ids in generation.token_ids]
        masks = generation.masks
    else:
        with model.scoring_autocast():
            masks = model(batch).masks
        texts = [conversation.wording.forced_answer] * len(batch.examples)
    estimated = model.mask_model.estimates_iou
    for query, text in enumerate(texts):
        yield _answer(masks, query, text, batch, estimated=estimated)


def _answer(masks: Masks, query: int, text: str, batch: Batch, *, estimated: bool) -> QueryAnswer:
    own: Tensor = masks.query == query
    geometry = batch.images.geometries[int(batch.group_index[query])]
    logits = masks.logits[own]
    scores = tuple(masks.scores[own].clamp(0, 1).tolist()) if estimated else ()
    if not len(logits):
        return QueryAnswer(text, np.zeros((0, *geometry.original), np.float32), (), False)
    return QueryAnswer(text, to_original(logits, geometry).cpu().numpy(), scores, True)
