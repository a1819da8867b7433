"""Batches of groups in an order that (seed, epoch) decides.

Nothing here depends on the number of workers or on what was drawn before: an interrupted epoch is continued by asking
for its batches from a position on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from segtune.core.input_spec import ConversationConfig
from segtune.core.records import Group, Query, Source
from segtune.core.rng import generator
from segtune.core.types import Batch
from segtune.data.augment import augment, tell_unmirrored
from segtune.data.batches import load_batches
from segtune.data.collate import Collate
from segtune.data.config import AugmentConfig
from segtune.data.conversation import Conversation
from segtune.data.transforms import Sample, Transform


@dataclass(frozen=True, slots=True)
class Draw:
    """How training draws from a source.

    Attributes:
        seed: Of order, queries, answers and augmentation.
        wording: How answers are worded.
        queries_per_image: How many queries of a picture a step sees; None for all.
        augment: What may happen to image and masks.
        explain: Chance to answer with the explanation, where a query has one.
        text_only_epochs: Epochs over which images enter the prompts: none in the first half, then ever more.
            The mask decoder sees every image all the time.
    """

    seed: int
    wording: ConversationConfig
    queries_per_image: int | None
    augment: AugmentConfig
    explain: float = 0.0
    text_only_epochs: int = 0


class _TrainingSamples:
    """Maps (epoch, index) to a training sample."""

    def __init__(self, source: Source, transform: Transform, draw: Draw) -> None:
        self.source, self.transform, self.draw = source, transform, draw

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        draw = self.draw
        rng = generator(draw.seed, "sample", epoch, index)
        group = self.source.group(index, epoch)
        count = len(group.examples)
        if draw.queries_per_image is not None and count > draw.queries_per_image:
            chosen = sorted(rng.choice(count, draw.queries_per_image, replace=False).tolist())
            group = replace(group, examples=tuple(group.examples[i] for i in chosen))
        group = augment(group, draw.augment, rng)
        answers = tuple(_draw_answer(e.query, draw, rng, self.transform.conversation) for e in group.examples)
        return self.transform(group, answers, with_image=rng.random() >= _text_only_share(epoch, draw))

    def name(self, key: tuple[int, int]) -> str:
        """The id of the image."""
        return _image_id(self.source, key[1])


def _text_only_share(epoch: int, draw: Draw) -> float:
    """The share of prompts without image in an epoch: 1 in the first half of `text_only_epochs`, 0 after the last."""
    half = draw.text_only_epochs / 2
    return min(1.0, max(0.0, 2 - (epoch + 1) / half)) if half else 0.0


def _draw_answer(query: Query, draw: Draw, rng: np.random.Generator, conversation: Conversation) -> str:
    """One of the wordings, or the source's explanation; always two draws, so that one switch moves nothing else."""
    wording = draw.wording
    explain, which = rng.random() < draw.explain, int(rng.integers(len(wording.answers)))
    if explain and query.explanation:
        return conversation.explained(query.explanation)
    return wording.answers[which]


class _ScoredSamples:
    """Maps an index to the whole group with the answer of forced mode."""

    def __init__(self, source: Source, transform: Transform) -> None:
        self.source, self.transform = source, transform
        self.answer = transform.spec.conversation.forced_answer

    def __getitem__(self, index: int) -> Sample:
        group: Group = self.source.group(index)
        return self.transform(group, (self.answer,) * len(group.examples))

    def name(self, index: int) -> str:
        """The id of the image."""
        return _image_id(self.source, index)


def _image_id(source: Source, index: int) -> str:
    """The record that the examples of a group belong to."""
    return source.ids(index)[0].rpartition("#")[0]


def epoch_order(length: int, seed: int, epoch: int) -> list[int]:
    """The order of an epoch: a permutation of `range(length)` that (seed, epoch) decides."""
    return generator(seed, "order", epoch).permutation(length).tolist()


class TrainingLoader:
    """Batches for training.

    Args:
        source: Groups.
        transform: Prepares them for the model.
        draw: How samples are drawn.
        batch_size: Groups per batch.
        pad_id: Token id for padding.
        num_workers: Processes that prepare batches.
    """

    def __init__(
        self, source: Source, transform: Transform, draw: Draw, *, batch_size: int, pad_id: int, num_workers: int = 0
    ) -> None:
        self.length, self.seed, self.batch_size = len(source), draw.seed, batch_size
        self.num_workers, self.collate = num_workers, Collate(pad_id)
        self.samples = _TrainingSamples(source, transform, draw)
        tell_unmirrored(source, draw.augment)

    def __len__(self) -> int:
        """Batches per epoch; an incomplete last one counts."""
        return -(-self.length // self.batch_size)

    def batches(self, epoch: int, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """The batches of an epoch from batch `start` on; with several processes each takes every `world`-th."""
        order = epoch_order(self.length, self.seed, epoch)
        keys = [[(epoch, i) for i in order[k : k + self.batch_size]] for k in range(0, self.length, self.batch_size)]
        yield from load_batches(self.samples, keys[start:][rank::world], self.collate, self.num_workers)


class ScoringLoader:
    """Batches for scoring: every group once, in the order of the source, each process its own share.

    Args:
        source: Groups.
        transform: Prepares them for the model.
        batch_size: Groups per batch.
        pad_id: Token id for padding.
        num_workers: Processes that prepare batches.
    """

    def __init__(
        self, source: Source, transform: Transform, *, batch_size: int, pad_id: int, num_workers: int = 0
    ) -> None:
        self.length, self.batch_size = len(source), batch_size
        self.num_workers, self.collate = num_workers, Collate(pad_id)
        self.samples = _ScoredSamples(source, transform)

    def batches(self, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """The batches of one process; no group comes twice over all processes."""
        own = list(range(rank, self.length, world))
        keys = [own[k : k + self.batch_size] for k in range(0, len(own), self.batch_size)]
        yield from load_batches(self.samples, keys, self.collate, self.num_workers)
