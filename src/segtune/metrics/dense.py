"""Running scores of dense segmentation: a confusion matrix of classes, and the counts of a binary mask.

Whole numbers first, as in `states`: each state has `update`, `merge`, `compute` and `to_dict` / `from_dict`, and
adding up never loses anything. A score that is undefined (the IoU of a class that is neither there nor predicted) is
None, never 0, and leaves the mean. Truth and prediction are in one space, original or model pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from segtune.core.records import IGNORE
from segtune.metrics.counts import Counts, count_pixels
from segtune.metrics.states import AurocState, PixelState, ratio


def count_confusions(prediction: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """How often each class was predicted where each class is.

    Args:
        prediction: Integers `[h, w]` (any shape will do), below `classes` wherever the labels are not ignored.
        labels: uint8, the same shape: below `classes`, or `IGNORE`.
        classes: C, 1 to 255.

    Returns:
        int64 `[C, C]`: rows are truth, columns prediction. Ignored pixels are in none.

    Raises:
        ValueError: If the shapes differ or a value is no class.
    """
    if prediction.shape != labels.shape:
        raise ValueError(f"prediction {prediction.shape} and labels {labels.shape} differ in size")
    counted = labels != IGNORE
    truth, found = labels[counted].astype(np.int64), prediction[counted].astype(np.int64)
    for name, values in (("labels", truth), ("prediction", found)):
        if values.size and not 0 <= values.min() <= values.max() < classes:
            raise ValueError(f"{name} hold values {values.min()} to {values.max()}, and there are {classes} classes")
    return np.bincount(truth * classes + found, minlength=classes**2).reshape(classes, classes)


def divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """`part / whole` element by element in float64, NaN where the whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0)


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis of what is not NaN; NaN where all are."""
    defined = ~np.isnan(values)
    return divide(np.where(defined, values, 0).sum(-1), defined.sum(-1))


def to_value(value: float) -> float | None:
    """A number as it stands in JSON: None for NaN."""
    return None if math.isnan(value) else float(value)


def class_means(tp: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """The scores of all classes together.

    Args:
        tp: `[..., C]`, pixels of each class predicted as that class.
        truth: `[..., C]`, pixels of each class.
        predicted: `[..., C]`, pixels predicted as each class.

    Returns:
        float64 `[...]`, 0 to 1, NaN where no pixel counts: `mIoU` and `f1_macro` (means over the classes that occur in
        truth or prediction), `f1_micro` (equal to `accuracy`, as every pixel has one class), `f1_weighted` (mean over
        classes by their pixels in truth) and `accuracy`.
    """
    f1 = divide(2 * tp, truth + predicted)
    return {
        "mIoU": mean_of_defined(divide(tp, truth + predicted - tp)),
        "accuracy": divide(tp.sum(-1), truth.sum(-1)),
        "f1_macro": mean_of_defined(f1),
        "f1_micro": divide(2 * tp.sum(-1), truth.sum(-1) + predicted.sum(-1)),
        "f1_weighted": divide((truth * np.nan_to_num(f1)).sum(-1), truth.sum(-1)),
    }


@dataclass(slots=True, eq=False)
class ConfusionState:
    """The confusion matrix of C classes over pooled pixels, and what follows from it.

    Attributes:
        classes: C.
        matrix: int64 `[C, C]`: rows are truth, columns prediction.
    """

    classes: int
    matrix: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.matrix = np.zeros((self.classes, self.classes), np.int64)

    def update(self, prediction: np.ndarray, labels: np.ndarray) -> None:
        """Add the pixels of one image, or of several of one shape.

        Args:
            prediction: Integers `[..., h, w]`, below C wherever the labels are not ignored.
            labels: uint8, the same shape: below C, or `IGNORE`.

        Raises:
            ValueError: If the shapes differ or a value is no class.
        """
        self.matrix += count_confusions(prediction, labels, self.classes)

    def merge(self, other: ConfusionState) -> None:
        """Add what another state has seen.

        Raises:
            ValueError: If the other one has other classes.
        """
        if other.classes != self.classes:
            raise ValueError(f"a matrix of {other.classes} classes cannot be added to one of {self.classes}")
        self.matrix += other.matrix

    @property
    def totals(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels of each class that are right, in truth, and predicted, int64 `[C]` each."""
        return self.matrix.diagonal(), self.matrix.sum(1), self.matrix.sum(0)

    def compute(self) -> dict[str, float | None]:
        """The means of `class_means`, 0 to 1; None before the first counted pixel."""
        return {name: to_value(float(value)) for name, value in class_means(*self.totals).items()}

    def by_class(self) -> list[dict[str, float | None]]:
        """The scores of each class.

        Returns:
            C times `iou`, `dice` (the same as F1), `precision` and `recall`, 0 to 1, each None where it would divide by
            0, and the pixels in `truth` and `predicted`.
        """
        return [
            {
                "iou": ratio(tp, truth + predicted - tp),
                "dice": ratio(2 * tp, truth + predicted),
                "precision": ratio(tp, predicted),
                "recall": ratio(tp, truth),
                "truth": truth,
                "predicted": predicted,
            }
            for tp, truth, predicted in zip(*(total.tolist() for total in self.totals), strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """The matrix as lists."""
        return {"matrix": self.matrix.tolist()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ConfusionState:
        """The inverse of `to_dict`."""
        state = cls(len(values["matrix"]))
        state.matrix += np.array(values["matrix"], np.int64).reshape(state.matrix.shape)
        return state


def image_dice(counts: Counts) -> float:
    """Dice of one image, 0 to 1: 2 TP / (2 TP + FP + FN); 1 where nothing is wanted and nothing predicted."""
    return 2 * counts.tp / (counts.predicted + counts.target) if counts.union else 1.0


@dataclass(slots=True)
class BinaryState:
    """The scores of a binary mask, over pooled pixels and over images.

    Attributes:
        pixels: The four pooled counts, with accuracy, precision and recall.
        auroc: Of pooled pixels, where logits were given.
        images: All of them.
        dice_sum: Sum of the Dice of each image with foreground in truth.
        without_foreground: Images with none.
        both_empty: Of these, those in which none was predicted either; their Dice is 1, that of the others 0.
    """

    pixels: PixelState = field(default_factory=PixelState)
    auroc: AurocState = field(default_factory=AurocState)
    images: int = 0
    dice_sum: float = 0.0
    without_foreground: int = 0
    both_empty: int = 0

    def update(self, prediction: np.ndarray, target: np.ndarray, logits: np.ndarray | None = None) -> None:
        """Add one image.

        Args:
            prediction: `[h, w]`, anything but 0 is predicted.
            target: uint8 `[h, w]` with 0, 1 and `IGNORE`.
            logits: Float `[h, w]`, for the AUROC; None where there are none, and then there is no AUROC.

        Raises:
            SegtuneError: If a logit is NaN.
            ValueError: If the sizes differ or the target holds another value.
        """
        counts = count_pixels(prediction, target)
        if logits is None:
            self.auroc.update_binary()
        else:
            self.auroc.update(logits, target)
        self.update_counts(counts)

    def update_counts(self, counts: Counts) -> None:
        """Add one image by its counts alone, without a word about its logits."""
        self.pixels.update(counts)
        self.images += 1
        self.dice_sum += image_dice(counts) if counts.target else 0.0
        self.without_foreground += counts.target == 0
        self.both_empty += counts.union == 0

    def merge(self, other: BinaryState) -> None:
        """Add what another state has seen."""
        self.pixels.merge(other.pixels)
        self.auroc.merge(other.auroc)
        self.images += other.images
        self.dice_sum += other.dice_sum
        self.without_foreground += other.without_foreground
        self.both_empty += other.both_empty

    def compute(self) -> dict[str, float | None]:
        """The scores, each None where it is undefined.

        Returns:
            `dice` and `iou` of pooled pixels; `image_dice`, the mean of the Dice of each image, and
            `image_dice_nonempty`, that over the images with foreground; `accuracy`, `precision`, `recall` and `auroc`
            of pooled pixels. All 0 to 1.
        """
        pixels, nonempty = self.pixels.compute(), self.images - self.without_foreground
        return {
            "dice": pixels["f1"],
            "iou": ratio(self.pixels.tp, self.pixels.tp + self.pixels.fp + self.pixels.fn),
            "image_dice": ratio(self.dice_sum + self.both_empty, self.images),
            "image_dice_nonempty": ratio(self.dice_sum, nonempty),
            **{name: pixels[name] for name in ("accuracy", "precision", "recall")},
            "auroc": self.auroc.compute(),
        }

    def to_dict(self) -> dict[str, Any]:
        """The sums as JSON values."""
        return {
            "pixels": self.pixels.to_dict(), "auroc": self.auroc.to_dict(), "images": self.images,
            "dice_sum": self.dice_sum, "without_foreground": self.without_foreground, "both_empty": self.both_empty,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BinaryState:
        """The inverse of `to_dict`."""
        states = {"pixels": PixelState.from_dict(values["pixels"]), "auroc": AurocState.from_dict(values["auroc"])}
        return cls(**{**values, **states})
