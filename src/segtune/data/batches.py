"""Batches, prepared one after another in this process or in workers: every loader gets its batches here.

What goes wrong with a sample is the same error in both cases.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import torch

from segtune.core.errors import DataError, SegtuneError, Unprepared
from segtune.core.os_errors import is_of_a_file, text_of, words_for
from segtune.data.workers import Workers, pinned

Key = Any
"""What a loader calls a sample."""

_Sample = TypeVar("_Sample")
_Sample_co = TypeVar("_Sample_co", covariant=True)
_Batch = TypeVar("_Batch")


class Samples(Protocol[_Sample_co]):
    """What maps a key to a sample."""

    def __getitem__(self, key: Key, /) -> _Sample_co:
        """The sample of a key."""
        ...

    def name(self, key: Key, /) -> str:
        """What a person calls this sample: the id of its image."""
        ...


def load_batches(
    samples: Samples[_Sample],
    keys: Sequence[Sequence[Key]],
    collate: Callable[[Sequence[_Sample]], _Batch],
    num_workers: int,
) -> Iterator[_Batch]:
    """Prepares batches one after another, in this process or in workers.

    Args:
        samples: What maps a key to a sample.
        keys: The keys of every batch.
        collate: Joins the samples of a batch.
        num_workers: Processes that prepare batches; 0 for none.

    Raises:
        DataError: A sample cannot be prepared.
        SegtuneError: A worker has died, or a resource of the machine is exhausted.
        MemoryError: There is no memory for a batch in this process.
    """
    pin, prepare = torch.cuda.is_available(), _Prepare(samples, collate)
    if not num_workers or not keys:
        for batch_keys in keys:
            batch = prepare(batch_keys)
            yield pinned(batch) if pin else batch
        return
    with contextlib.closing(Workers(prepare, keys, min(num_workers, len(keys)), pin=pin)) as workers:
        for _ in keys:
            yield workers.take()
        workers.finish()


class _Prepare(Generic[_Sample, _Batch]):
    """Prepares batches of samples, wherever it is called."""

    def __init__(self, samples: Samples[_Sample], collate: Callable[[Sequence[_Sample]], _Batch]) -> None:
        self.samples, self.collate = samples, collate

    def __call__(self, keys: Sequence[Key]) -> _Batch:
        found = []
        for key in keys:
            with _told(partial(self.samples.name, key)):
                found.append(self.samples[key])
        with _told(partial(self.names, keys)):
            return self.collate(found)

    def names(self, keys: Sequence[Key]) -> str:
        """The samples of a batch for a message: the first ones by name."""
        names = []
        for key in keys[:3]:
            try:
                names.append(self.samples.name(key))
            except Exception:  # a message about a failure must not fail itself
                names.append(str(key))
        return ", ".join(names) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


@contextlib.contextmanager
def _told(where: Callable[[], str]) -> Iterator[None]:
    """Names what is being prepared when something goes wrong; errors of ours and of the machine pass as they are."""
    try:
        yield
    except MemoryError:
        raise
    except SegtuneError as error:
        if isinstance(error.__cause__, MemoryError):  # a decoder's lack of memory looks like a damaged file
            raise error.__cause__ from None
        raise
    except OSError as error:
        if not is_of_a_file(error):
            raise
        words, advice = words_for(error)
        raise DataError("cannot be read", where=str(error.filename or where()), found=words, fix=advice) from error
    except Exception as error:
        found = f"{type(error).__name__}: {text_of(error)}"
        raise Unprepared("this sample cannot be prepared", where=where(), found=found) from error
