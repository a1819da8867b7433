"""Sliding windows over a large image: where they lie, and their logits blended into one map, a few rows at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from segtune.data.dense.views import Box
from segtune.engine.dense_config import DenseInferenceConfig


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """Where windows lie, on the image scaled so that a window becomes what the model sees.

    Attributes:
        image: (h, w) in original pixels.
        size: (h, w) of the scaled image, in model pixels.
        window: (h, w) of a window, in model pixels.
        tops: First rows of the windows, in model pixels, ascending; the last window ends where the image does.
        lefts: First columns, likewise.
        overlap: Share of a window over which it fades in and out.
    """

    image: tuple[int, int]
    size: tuple[int, int]
    window: tuple[int, int]
    tops: tuple[int, ...]
    lefts: tuple[int, ...]
    overlap: float

    @classmethod
    def of(
        cls, image: tuple[int, int], shown: tuple[int, int], window: tuple[int, int], config: DenseInferenceConfig
    ) -> WindowPlan:
        """Lays windows over an image, as few as overlap enough, at even distances.

        Args:
            image: (h, w) in original pixels.
            shown: (h, w) of what a window shows, in original pixels; cut to the image.
            window: (h, w) of what the model sees, in model pixels.
            config: Its overlap.
        """
        pairs = zip(image, shown, window, strict=True)
        height, width = (max(seen, round(side * seen / min(part, side))) for side, part, seen in pairs)
        tops, lefts = (_starts(side, seen, config.overlap) for side, seen in zip((height, width), window, strict=True))
        return cls(image, (height, width), window, tops, lefts, config.overlap)

    @property
    def count(self) -> int:
        """Number of windows."""
        return len(self.tops) * len(self.lefts)

    def box(self, top: int, left: int) -> Box:
        """What the window at (top, left) shows, in original pixels."""
        high, wide = (side / scaled for side, scaled in zip(self.image, self.size, strict=True))
        return (
            top * high,
            left * wide,
            min((top + self.window[0]) * high, self.image[0]),
            min((left + self.window[1]) * wide, self.image[1]),
        )


class WindowMap:
    """The blended logits of all windows, computed a row of windows at a time as they are asked for.

    Every window's logits are brought to model pixels and weighted by a taper: 1 in the middle, falling linearly to
    almost 0 at its border over the part that its neighbour covers too. The map is the weighted mean. In memory stand
    the rows that are asked for and two heights of a window at most, whatever the height of the image.

    Args:
        plan: Where windows lie.
        answer: From boxes in original pixels to logits `[n, K, h', w']` of any size.
        batch_size: Windows per call.

    Attributes:
        size: (h, w) of the map, in model pixels of the scaled image.
    """

    def __init__(self, plan: WindowPlan, answer: Callable[[Sequence[Box]], Tensor], batch_size: int) -> None:
        self.plan, self.answer, self.batch_size, self.size = plan, answer, batch_size, plan.size
        self._tapers = [_taper(side, plan.overlap) for side in plan.window]
        starts = (plan.tops, plan.lefts)
        self._totals = [_summed(t, s, n) for t, s, n in zip(self._tapers, starts, plan.size, strict=True)]
        self._next = 0  # the row of windows that comes next
        self._first = 0  # the row of the map where the sums begin
        self._sums: Tensor | None = None

    def rows(self, first: int, last: int) -> Tensor:
        """Blended logits.

        Args:
            first: First row, not above that of the last call.
            last: The row after the last.

        Returns:
            float32 `[K, last - first, w]`.
        """
        tops = self.plan.tops
        # a row is complete when the next windows begin below it
        while self._next < len(tops) and tops[self._next] < last:
            self._add_row_of_windows(tops[self._next])
            self._next += 1
        assert self._sums is not None
        self._sums = self._sums[:, first - self._first :]
        self._first = first
        height, width = (total.to(self._sums) for total in self._totals)
        return self._sums[:, : last - first] / (height[first:last, None] * width)

    def _add_row_of_windows(self, top: int) -> None:
        lefts, (high, wide) = self.plan.lefts, self.plan.window
        for start in range(0, len(lefts), self.batch_size):
            places = lefts[start : start + self.batch_size]
            logits = self.answer([self.plan.box(top, left) for left in places])
            if logits.shape[-2:] != (high, wide):
                logits = F.interpolate(logits, size=(high, wide), mode="bilinear")
            vertical, horizontal = (taper.to(logits) for taper in self._tapers)
            logits = logits * (vertical[:, None] * horizontal)
            sums = self._room_below(top + high, logits)
            rows = slice(top - self._first, top - self._first + high)
            for one, left in zip(logits, places, strict=True):
                sums[:, rows, left : left + wide] += one

    def _room_below(self, last: int, like: Tensor) -> Tensor:
        """The sums, with rows of zeros added so that they reach down to row `last`."""
        kept = like.new_zeros(like.shape[1], 0, self.size[1]) if self._sums is None else self._sums
        missing = last - self._first - kept.shape[1]
        if missing > 0:
            kept = torch.cat([kept, like.new_zeros(kept.shape[0], missing, self.size[1])], dim=1)
        self._sums = kept
        return kept


def _starts(side: int, window: int, overlap: float) -> tuple[int, ...]:
    """Where windows begin along one axis: as few as overlap by the share, at even distances, from 0 to the end."""
    last = side - window
    count = 1 + math.ceil(last / max(1.0, window * (1 - overlap)))
    return tuple(round(last * index / max(1, count - 1)) for index in range(count))


def _taper(side: int, overlap: float) -> Tensor:
    """Weights `[side]` along one axis: a trapezoid that falls to almost 0 over `overlap` of the side at both ends."""
    ramp = max(1.0, side * min(overlap, 0.5))
    places = torch.arange(side, dtype=torch.float32) + 0.5
    return torch.minimum(places, side - places).div(ramp).clamp(max=1)


def _summed(taper: Tensor, starts: Sequence[int], side: int) -> Tensor:
    """The weights `[side]` of all windows along one axis, added up; positive everywhere."""
    total = torch.zeros(side)
    for start in starts:
        total[start : start + len(taper)] += taper
    return total
