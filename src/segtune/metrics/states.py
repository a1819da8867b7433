"""Running scores that can be added up: over steps, over images, over processes, in any order.

Each state has `update`, `merge`, `compute` and `to_dict` / `from_dict` (JSON values, so that a state can travel between
processes). A score that is undefined is `None`, never 0: the share of true among predicted pixels where none is
predicted, the area under a ROC curve with one class.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from segtune.core.errors import SegtuneError
from segtune.core.records import IGNORE
from segtune.metrics.counts import Counts, iou

CODES = 1 << 16
MINUS_ZERO = 0x8000
MINUS_INFINITY = 0xFC00
PRECISION_AT = (0.5, 0.7, 0.9)
"""The IoUs from which on a query counts as found."""


def ratio(part: float, whole: float) -> float | None:
    """`part / whole`, or None where the whole is 0."""
    return part / whole if whole else None


@dataclass(slots=True)
class PixelState:
    """Accuracy, precision, recall and F1 over pooled pixels."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def update(self, counts: Counts) -> None:
        """Add the counts of one mask, or of many together."""
        self.tp += counts.tp
        self.fp += counts.fp
        self.fn += counts.fn
        self.tn += counts.tn

    def merge(self, other: PixelState) -> None:
        """Add what another state has seen."""
        self.update(Counts(other.tp, other.fp, other.fn, other.tn))

    def compute(self) -> dict[str, float | None]:
        """The four scores, 0 to 1, each None where it is undefined."""
        return {
            "accuracy": ratio(self.tp + self.tn, self.tp + self.fp + self.fn + self.tn),
            "precision": ratio(self.tp, self.tp + self.fp),
            "recall": ratio(self.tp, self.tp + self.fn),
            "f1": ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn),
        }

    def to_dict(self) -> dict[str, int]:
        """The four counts."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, int]) -> PixelState:
        """The inverse of `to_dict`."""
        return cls(**values)


@dataclass(slots=True)
class IouState:
    """gIoU (mean of the IoU of each query) and cIoU (summed intersection over summed union)."""

    queries: int = 0
    iou_sum: float = 0.0
    intersection: int = 0
    union: int = 0

    def update(self, counts: Iterable[Counts]) -> None:
        """Add the counts of several queries, one element each."""
        for item in counts:
            self.queries += 1
            self.iou_sum += iou(item)
            self.intersection += item.intersection
            self.union += item.union

    def merge(self, other: IouState) -> None:
        """Add what another state has seen."""
        self.queries += other.queries
        self.iou_sum += other.iou_sum
        self.intersection += other.intersection
        self.union += other.union

    def compute(self) -> dict[str, float | None]:
        """`gIoU` and `cIoU`, 0 to 1; None before the first query, cIoU also while nothing is wanted or predicted."""
        return {"gIoU": ratio(self.iou_sum, self.queries), "cIoU": ratio(self.intersection, self.union)}

    def to_dict(self) -> dict[str, float]:
        """The sums."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> IouState:
        """The inverse of `to_dict`."""
        return cls(**values)


@dataclass(slots=True)
class FoundState:
    """`P@t`: the share of the queries with an IoU of at least t, for the t of `PRECISION_AT`."""

    queries: int = 0
    found: list[int] = field(default_factory=lambda: [0] * len(PRECISION_AT))

    def update(self, counts: Iterable[Counts]) -> None:
        """Add the counts of several queries, one element each."""
        for item in counts:
            self.queries += 1
            self.found = [n + (iou(item) >= least) for n, least in zip(self.found, PRECISION_AT, strict=True)]

    def merge(self, other: FoundState) -> None:
        """Add what another state has seen."""
        self.queries += other.queries
        self.found = [a + b for a, b in zip(self.found, other.found, strict=True)]

    def compute(self) -> dict[str, float | None]:
        """`P@0.5`, `P@0.7` and `P@0.9`, 0 to 1; None before the first query."""
        return {f"P@{least}": ratio(n, self.queries) for least, n in zip(PRECISION_AT, self.found, strict=True)}

    def to_dict(self) -> dict[str, Any]:
        """The counts."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FoundState:
        """The inverse of `to_dict`."""
        return cls(**values)


def _no_counts() -> np.ndarray:
    return np.zeros(CODES, np.int64)


@dataclass(slots=True, eq=False)
class AurocState:
    """The area under the ROC curve over pooled pixels, exact for logits rounded to half precision.

    Half precision has 65,536 codes, so a histogram over them loses nothing: one megabyte whatever the number of pixels,
    and no thresholds to choose.

    Attributes:
        positives: int64 `[65536]`, wanted pixels by the code of their logit.
        negatives: int64 `[65536]`, unwanted pixels by the code of their logit.
        scored: Masks that came with logits.
        binary: Masks that came without: then there is no curve, and `compute` gives None.
    """

    positives: np.ndarray = field(default_factory=_no_counts)
    negatives: np.ndarray = field(default_factory=_no_counts)
    scored: int = 0
    binary: int = 0

    def update(self, logits: np.ndarray, target: np.ndarray) -> None:
        """Add the pixels of one mask.

        Args:
            logits: Float `[h, w]` (any shape will do), unbounded; infinities are allowed.
            target: The same shape; 1 is wanted, `IGNORE` left out, anything else unwanted.

        Raises:
            SegtuneError: If a logit is NaN.
            ValueError: If the shapes differ.
        """
        if logits.shape != target.shape:
            raise ValueError(f"logits {logits.shape} and target {target.shape} differ in size")
        with np.errstate(over="ignore"):  # beyond 65,504 half precision has only infinity, which ranks the same
            half = np.ascontiguousarray(logits, dtype=np.float16)
        if np.isnan(half).any():
            raise SegtuneError(
                "mask logits hold NaN",
                expected="numbers",
                fix="look for a diverged or wrongly cast model; try bf16 or fp32",
            )
        codes = half.view(np.uint16)
        self.positives += np.bincount(codes[target == 1], minlength=CODES)
        self.negatives += np.bincount(codes[(target != 1) & (target != IGNORE)], minlength=CODES)
        self.scored += 1

    def update_without_mask(self, counts: Counts) -> None:
        """Add a query for which no mask was given: every pixel ranks last, as a logit of minus infinity."""
        self.positives[MINUS_INFINITY] += counts.target
        self.negatives[MINUS_INFINITY] += counts.valid - counts.target

    def update_binary(self) -> None:
        """Note a mask without logits."""
        self.binary += 1

    def merge(self, other: AurocState) -> None:
        """Add what another state has seen."""
        self.positives += other.positives
        self.negatives += other.negatives
        self.scored += other.scored
        self.binary += other.binary

    @property
    def undefined(self) -> str:
        """Why there is no value; empty where there is one."""
        if not self.binary and not self.scored:
            return "no query was answered with a mask"
        if self.binary:
            return f"{self.binary} of {self.binary + self.scored} predicted masks came without logits"
        if not self.positives.any() or not self.negatives.any():
            return "all pixels belong to one class"
        return ""

    def compute(self) -> float | None:
        """The chance that a wanted pixel has a higher logit than an unwanted one (equal logits count half), 0 to 1."""
        if self.undefined:
            return None
        positives, negatives = _by_value(self.positives), _by_value(self.negatives)
        below = np.cumsum(negatives) - negatives
        used = np.flatnonzero(positives)
        # Products of two pixel counts overflow 64 bits, so the last sum is in Python's whole numbers.
        twice_won = sum(
            wanted * (2 * lower + equal)
            for wanted, lower, equal in zip(
                positives[used].tolist(), below[used].tolist(), negatives[used].tolist(), strict=True
            )
        )
        return float(twice_won / (2 * int(positives.sum()) * int(negatives.sum())))

    def to_dict(self) -> dict[str, Any]:
        """The codes in use with their counts: `codes`, `positives`, `negatives` (lists), `scored`, `binary`."""
        codes = np.flatnonzero(self.positives | self.negatives)
        return {
            "codes": codes.tolist(),
            "positives": self.positives[codes].tolist(),
            "negatives": self.negatives[codes].tolist(),
            "scored": self.scored,
            "binary": self.binary,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> AurocState:
        """The inverse of `to_dict`."""
        state = cls(scored=values["scored"], binary=values["binary"])
        state.positives[values["codes"]] = values["positives"]
        state.negatives[values["codes"]] = values["negatives"]
        return state


def _by_value(counts: np.ndarray) -> np.ndarray:
    """Counts by code as counts in rising order of the value, with -0.0 and 0.0 as one."""
    merged = counts.copy()
    merged[0] += merged[MINUS_ZERO]
    merged[MINUS_ZERO] = 0
    # With the sign bit set, a larger code is a lower number; the codes of NaN at either end are never used.
    return np.concatenate([merged[MINUS_ZERO:][::-1], merged[:MINUS_ZERO]])
