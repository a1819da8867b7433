"""Batches of labelled images in an order that (seed, epoch) decides; see `data.loader`, whose rules hold here too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from segtune.core.log import get_logger
from segtune.core.records import DenseSource
from segtune.core.rng import generator
from segtune.core.types import DenseBatch
from segtune.data.batches import load_batches
from segtune.data.dense.augment import augment_labelled
from segtune.data.dense.balance import ClassCounts, balanced_order
from segtune.data.dense.config import DenseAugmentConfig
from segtune.data.dense.transforms import DenseSample, DenseTransform, collate_dense
from segtune.data.dense.views import Reduced, Remembered, is_drawn, texts_of_classes
from segtune.data.loader import epoch_order
from segtune.ops.sides import ClassMirror, class_mirror, sided_classes

_NOTHING = DenseAugmentConfig()
_log = get_logger(__name__)


class _TrainingSamples:
    """Maps (epoch, index, occurrence) to a training sample; balanced sampling shows an image again in an epoch."""

    def __init__(self, source: DenseSource, transform: DenseTransform, augment: DenseAugmentConfig, seed: int) -> None:
        self.source, self.transform, self.augment, self.seed = source, transform, augment, seed
        self.mirror = mirror_of(source, augment)

    def __getitem__(self, key: tuple[int, int, int]) -> DenseSample:
        epoch, index, occurrence = key
        rng = generator(self.seed, "dense sample", epoch, index, occurrence)
        return self.transform(augment_labelled(self.source.item(index, epoch), self.augment, rng, self.mirror))

    def name(self, key: tuple[int, int, int]) -> str:
        """The id of the image."""
        return self.source.item_id(key[1])


class _ScoredSamples:
    """Maps an index to the whole image."""

    def __init__(self, source: DenseSource, transform: DenseTransform) -> None:
        self.source, self.transform = source, transform

    def __getitem__(self, index: int) -> DenseSample:
        return self.transform(self.source.item(index))

    def name(self, index: int) -> str:
        """The id of the image."""
        return self.source.item_id(index)


class DenseTrainingLoader:
    """Batches for training.

    Images are first shrunk to what the model can make use of at the largest zoom, then augmented, then resized. The
    `items` of a batch are what the window of the augmentation showed, before it was resized: predictions of a batch
    are compared with `items[i].labels` as in scoring, but in those pixels.

    Args:
        source: Labelled images.
        transform: Prepares them for the model.
        seed: Of order and augmentation.
        batch_size: Images per batch.
        augment: What may happen to images and labels.
        balance: Counts of `source`, for an order in which images with rare classes come more often; None for a
            permutation.
        num_workers: Processes that prepare batches.
        cache_bytes: Memory for shrunk images; of no effect on sources that draw.
    """

    def __init__(
        self,
        source: DenseSource,
        transform: DenseTransform,
        *,
        seed: int,
        batch_size: int,
        augment: DenseAugmentConfig = _NOTHING,
        balance: ClassCounts | None = None,
        num_workers: int = 0,
        cache_bytes: int = 0,
    ) -> None:
        self.length, self.seed, self.batch_size = len(source), seed, batch_size
        self.balance, self.num_workers = balance, num_workers
        height, width = transform.size
        reduced = Reduced(source, (height * augment.closest, width * augment.closest))
        self.source = _remembered(reduced, cache_bytes)
        self.samples = _TrainingSamples(self.source, transform, augment, seed)

    def __len__(self) -> int:
        """Batches per epoch; an incomplete last one counts."""
        return -(-self.length // self.batch_size)

    def order(self, epoch: int) -> list[int]:
        """The images of an epoch, as many as there are."""
        if self.balance is None:
            return epoch_order(self.length, self.seed, epoch)
        return balanced_order(self.balance, self.seed, epoch)

    def batches(self, epoch: int, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[DenseBatch]:
        """The batches of an epoch from batch `start` on; with several processes each takes every `world`-th."""
        seen: Counter[int] = Counter()
        order = []
        for index in self.order(epoch):
            order.append((epoch, index, seen[index]))
            seen[index] += 1
        keys = [order[k : k + self.batch_size] for k in range(0, self.length, self.batch_size)]
        _before_workers(self.source, self.num_workers)
        yield from load_batches(self.samples, keys[start:][rank::world], collate_dense, self.num_workers)


class DenseScoringLoader:
    """Batches for scoring: every image once, in the order of the source, each process its own share.

    The `items` of a batch are the images as the source yields them, in original pixels.

    Args:
        source: Labelled images.
        transform: Prepares them for the model.
        batch_size: Images per batch.
        num_workers: Processes that prepare batches.
        cache_bytes: Memory for images in original pixels; of no effect on sources that draw.
    """

    def __init__(
        self,
        source: DenseSource,
        transform: DenseTransform,
        *,
        batch_size: int,
        num_workers: int = 0,
        cache_bytes: int = 0,
    ) -> None:
        self.length, self.batch_size, self.num_workers = len(source), batch_size, num_workers
        self.source = _remembered(source, cache_bytes)
        self.samples = _ScoredSamples(self.source, transform)

    def batches(self, rank: int = 0, world: int = 1) -> Iterator[DenseBatch]:
        """The batches of one process; no image comes twice over all processes."""
        own = list(range(rank, self.length, world))
        keys = [own[k : k + self.batch_size] for k in range(0, len(own), self.batch_size)]
        _before_workers(self.source, self.num_workers)
        yield from load_batches(self.samples, keys, collate_dense, self.num_workers)


def mirror_of(source: DenseSource, augment: DenseAugmentConfig) -> ClassMirror | None:
    """What becomes of the classes of a source in mirror images; a mirror image that is asked for and refused is told.

    Args:
        source: Labelled images.
        augment: What may happen to them.

    Returns:
        None where labels stay whatever they are called.
    """
    if augment.mirror != "auto":
        return None
    mirror = class_mirror(source.classes, sided_classes(texts_of_classes(source)))
    asked = {"flip": (augment.flip, mirror.across), "flip_vertical": (augment.flip_vertical, mirror.over)}
    for key, (chance, reason) in asked.items():
        if chance and reason:
            _log.warning(
                "data.augment.%s does nothing: %s (data.augment.mirror=always mirrors all the same)", key, reason
            )
    if augment.flip and mirror.swaps and not mirror.across:
        names = [source.classes[label] for label, other in enumerate(mirror.order) if label != other]
        _log.info("classes that change places in mirror images: %s", ", ".join(names))
    return mirror


def _remembered(source: DenseSource, cache_bytes: int) -> DenseSource:
    """The source with a memory, unless there is no room or it draws afresh."""
    return Remembered(source, cache_bytes) if cache_bytes and not is_drawn(source) else source


def _before_workers(source: DenseSource, num_workers: int) -> None:
    """Worker processes are started for every epoch: what they remember would be lost with them."""
    if num_workers and isinstance(source, Remembered):
        source.fill()
