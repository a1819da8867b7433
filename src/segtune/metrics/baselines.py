"""What one scores without looking at the image: the floor under every score.

Four answers that need no model, computed on the very queries that are evaluated: everything, nothing, the mean training
mask, and the mean training mask of the same words. The masks are averaged on a grid of 64 x 64 cells and stretched to
each image; the threshold that makes a mean binary is the one that scores the highest gIoU on the evaluated split
itself, so that the baseline is as strong as a mean mask can be (an oracle; its value is reported). A model that does
not beat the last of them has not looked at the image.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from typing import Any

import cv2
import numpy as np

from segtune.core.records import IGNORE, Query
from segtune.metrics.counts import Counts, count_pixels
from segtune.metrics.states import IouState

GRID = 64
STEPS = 20
THRESHOLDS = tuple(step / STEPS for step in range(1, STEPS))
"""0.05, 0.10 ... 0.95: a cell is inside where the mean is at least this."""


def words_of(text: str) -> tuple[str, ...]:
    """The lower-case words of letters and digits, in order: texts with equal words count as the same text."""
    return tuple(re.findall(r"[^\W_]+", text.lower()))


class MeanMasks:
    """The mean training mask, over all texts and by the words of the text. Each query counts once.

    Memory: 8 kB for each different mask, one for the texts that share it if they are added one after the other.
    """

    def __init__(self) -> None:
        self._grids: list[np.ndarray] = []  # uint8 [2, GRID, GRID]: wanted and valid share of each cell, 0 to 255
        self._total = np.zeros((2, GRID, GRID), np.int64)
        self._by_text: dict[tuple[str, ...], list[int]] = defaultdict(list)
        self._by_word: dict[str, list[tuple[str, ...]]] = defaultdict(list)

    def __len__(self) -> int:
        """Number of queries added."""
        return sum(len(indices) for indices in self._by_text.values())

    def add(self, text: str, target: np.ndarray) -> None:
        """Add one training query.

        Args:
            text: The query.
            target: uint8 `[h, w]` with 0, 1 and `IGNORE` (which leaves the mean), original pixels of any size.
        """
        grid = _to_grid(target)
        if not self._grids or not np.array_equal(grid, self._grids[-1]):
            self._grids.append(grid)
        self._total += self._grids[-1]
        words = words_of(text)
        if words not in self._by_text:
            for word in set(words):
                self._by_word[word].append(words)
        self._by_text[words].append(len(self._grids) - 1)

    def mean(self) -> np.ndarray:
        """The mean of all, float32 `[64, 64]`, 0 to 1 (0 where every training pixel is ignored)."""
        return _divide(self._total)

    def mean_of_words(self, text: str) -> tuple[np.ndarray, bool]:
        """The mean of the training queries with the same words.

        Where no training text has exactly these words, those texts are taken that share the most with it: the sum, over
        the words in common, of the inverse document frequency log((N + 1) / n), where n of the N different training
        texts hold the word. All texts with the greatest sum are averaged; without any word in common, all there are.

        Args:
            text: The query to answer.

        Returns:
            The mean, float32 `[64, 64]`, and whether the words were found exactly.
        """
        words = words_of(text)
        exact = words in self._by_text
        texts = [words] if exact else self._nearest(words)
        if not texts:
            return self.mean(), False
        total = np.zeros((2, GRID, GRID), np.int64)
        for index in (index for item in texts for index in self._by_text[item]):
            total += self._grids[index]
        return _divide(total), exact

    def _nearest(self, words: tuple[str, ...]) -> list[tuple[str, ...]]:
        shared: dict[tuple[str, ...], float] = defaultdict(float)
        for word in sorted(set(words) & self._by_word.keys()):
            weight = math.log((len(self._by_text) + 1) / len(self._by_word[word]))
            for text in self._by_word[word]:
                shared[text] += weight
        best = max(shared.values(), default=0.0)
        return [text for text, weight in shared.items() if weight >= best - 1e-9]


class Baselines:
    """Scores the trivial answers on the queries of a split, one after the other.

    Counts are kept by threshold, no masks: memory does not grow with the split.

    Args:
        means: What the training split taught; without it only `everything` and `nothing` are scored.
    """

    def __init__(self, means: MeanMasks | None = None) -> None:
        self._means = means if means is not None and len(means) else None
        self._everything, self._nothing = IouState(), IouState()
        self._mean = [IouState() for _ in THRESHOLDS]
        self._same_words = [IouState() for _ in THRESHOLDS]
        self._exact_texts = 0
        self._overall = self._means.mean() if self._means else None
        self._cached: tuple[str, np.ndarray, bool] | None = None

    def add(self, query: Query, target: np.ndarray) -> None:
        """Score one query.

        Args:
            query: The question; the mean masks see its text alone.
            target: uint8 `[h, w]` with 0, 1 and `IGNORE`, original pixels.
        """
        nothing = count_pixels(np.zeros(target.shape, bool), target)
        self._nothing.update([nothing])
        self._everything.update([Counts(tp=nothing.fn, fp=nothing.tn, fn=0, tn=0)])
        if self._means is None or self._overall is None:
            return
        _update(self._mean, _count_thresholds(self._overall, target))
        if self._cached is None or self._cached[0] != query.text:
            self._cached = (query.text, *self._means.mean_of_words(query.text))
        self._exact_texts += self._cached[2]
        _update(self._same_words, _count_thresholds(self._cached[1], target))

    def result(self) -> dict[str, Any]:
        """The scores of all answers so far.

        Returns:
            `{"everything": {"gIoU", "cIoU"}, "nothing": {...}, "mean_mask": {..., "threshold"}, "mean_mask_same_words":
            {..., "threshold", "exact_texts"}}`; the last two only where there was a training split. `exact_texts` is
            the number of queries whose words occur in training.
        """
        result: dict[str, Any] = {"everything": self._everything.compute(), "nothing": self._nothing.compute()}
        if self._means is not None:
            result["mean_mask"] = _best(self._mean)
            result["mean_mask_same_words"] = {**_best(self._same_words), "exact_texts": self._exact_texts}
        return result


def _to_grid(target: np.ndarray) -> np.ndarray:
    """The wanted and the valid share of each cell, uint8 `[2, GRID, GRID]`, 0 to 255."""
    planes = np.stack([target == 1, target != IGNORE], axis=-1).astype(np.float32) * 255
    small = cv2.resize(planes, (GRID, GRID), interpolation=cv2.INTER_AREA)
    return np.rint(small).astype(np.uint8).transpose(2, 0, 1)


def _divide(total: np.ndarray) -> np.ndarray:
    wanted, valid = total.astype(np.float64)
    return np.divide(wanted, valid, out=np.zeros_like(wanted), where=valid > 0).astype(np.float32)


def _count_thresholds(mean: np.ndarray, target: np.ndarray) -> list[Counts]:
    """The counts at each of `THRESHOLDS` of a mean mask `[GRID, GRID]` stretched to the target, in one pass."""
    stretched = cv2.resize(mean, (target.shape[1], target.shape[0]), interpolation=cv2.INTER_LINEAR)
    bins = np.minimum(stretched * STEPS + 1e-4, STEPS).astype(np.uint8)  # bin k: at least threshold k, below k + 1
    wanted = np.bincount(bins[target == 1], minlength=STEPS + 1)
    unwanted = np.bincount(bins[target == 0], minlength=STEPS + 1)
    tp, fp = (np.cumsum(counts[::-1])[::-1].tolist() for counts in (wanted, unwanted))
    return [Counts(tp=tp[k], fp=fp[k], fn=tp[0] - tp[k], tn=fp[0] - fp[k]) for k in range(1, STEPS)]


def _update(states: list[IouState], counts: list[Counts]) -> None:
    for state, item in zip(states, counts, strict=True):
        state.update([item])


def _best(states: list[IouState]) -> dict[str, float | None]:
    """The scores at the threshold with the highest gIoU; of equal ones the lowest."""
    index = max(range(len(states)), key=lambda i: (states[i].iou_sum, -i))
    return {**states[index].compute(), "threshold": THRESHOLDS[index]}
