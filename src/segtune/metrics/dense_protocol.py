"""The scoring protocol `segtune-dense-1`: labelled images at their original resolution, for any predictions at all.

Whole numbers of pixels; ignored pixels count nowhere. Every image is scored once. The result does not depend on the
order of the images, nor on how many processes shared them. The rules in words are in `docs/dense-protocol.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segtune.core.errors import ConfigError, DataError
from segtune.core.records import IGNORE
from segtune.metrics.boundary import boundary_scores
from segtune.metrics.counts import Counts
from segtune.metrics.dense import ConfusionState, class_means, count_confusions, image_dice
from segtune.metrics.dense_scores import (
    FOREGROUND,
    binary_row,
    binary_scores,
    class_ious,
    class_row,
    class_scores,
    constant_binary_scores,
    constant_class_scores,
    draw_images,
    interval,
    once,
    to_json,
)
from segtune.metrics.states import AurocState
from segtune.ops.labels import binary_table

PROTOCOL = "segtune-dense-1"
AUROC = FOREGROUND + "auroc"


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    """What one image contributes: `[5, C]` by class and `[6]` of the binary mask, each None without that prediction."""

    pixels: int
    ignored: int
    classes: np.ndarray | None
    binary: np.ndarray | None


class DenseScorer:
    """Collects the counts of a split and turns them into the scores file.

    Args:
        classes: Their names, in the order of the labels.
        binary: Indices of the classes that make up the foreground of a binary mask; None where no mask is scored.
        multiclass: Whether classes are scored.

    Raises:
        ConfigError: Nothing would be scored, or the foreground names a class that is not there.
    """

    def __init__(self, classes: Sequence[str], binary: Sequence[int] | None = None, *, multiclass: bool = True) -> None:
        self.classes, self.multiclass = tuple(classes), multiclass
        self.binary = None if binary is None else tuple(sorted(set(binary)))
        if not multiclass and binary is None:
            raise ConfigError("nothing would be scored", expected="classes, a binary mask, or both", found="neither")
        if not 1 <= len(self.classes) < IGNORE:
            raise ConfigError("wrong number of classes", expected=f"1 to {IGNORE - 1}", found=str(len(self.classes)))
        self._table = None if self.binary is None else binary_table(self.binary)
        if self.binary and self.binary[-1] >= len(self.classes):
            raise ConfigError(
                "the foreground of the binary mask names a class that is not there",
                where="binary_classes",
                expected=f"indices 0 to {len(self.classes) - 1}",
                found=str(self.binary[-1]),
            )
        self._items: dict[str, _Item] = {}
        self._confusion = ConfusionState(len(self.classes))
        self._auroc = AurocState()

    def __len__(self) -> int:
        """Number of images scored so far."""
        return len(self._items)

    def add(
        self,
        item_id: str,
        labels: np.ndarray,
        *,
        predicted_classes: np.ndarray | None = None,
        binary_logits: np.ndarray | None = None,
        binary_mask: np.ndarray | None = None,
    ) -> None:
        """Score one image; for its binary mask give the logits if there are any, else the mask.

        Args:
            item_id: Never seen before.
            labels: uint8 `[h, w]`, original pixels: class indices and `IGNORE`.
            predicted_classes: Integers `[h, w]`, a class for every pixel; wanted where classes are scored.
            binary_logits: Float `[h, w]`; predicted is what is above 0. The AUROC needs them.
            binary_mask: `[h, w]`, anything but 0 is predicted. This or logits are wanted where a mask is scored.

        Raises:
            DataError: If the image was scored before, a prediction is missing or has another size, or a value is no
                class. Nothing is added then.
            SegtuneError: If a logit is NaN.
        """
        if item_id in self._items:
            raise _scored_twice(item_id)
        mask = binary_mask if binary_logits is None else binary_logits > 0
        self._require(item_id, labels, predicted_classes, "classes", wanted=self.multiclass)
        self._require(item_id, labels, mask, "binary mask", wanted=self.binary is not None)
        _require_classes(item_id, "label", labels[labels != IGNORE], self.classes)
        by_class = binary = None
        if self.multiclass and predicted_classes is not None:
            _require_classes(item_id, "predicted", predicted_classes[labels != IGNORE], self.classes)
            confusions = count_confusions(predicted_classes, labels, len(self.classes))
            by_class = class_row(confusions, predicted_classes, labels)
        if self._table is not None and mask is not None:
            target = self._table[labels]
            binary = binary_row(mask != 0, target)
            if binary_logits is None:
                self._auroc.update_binary()
            else:
                self._auroc.update(binary_logits, target)
        if by_class is not None:
            self._confusion.matrix += confusions
        ignored = int(np.count_nonzero(labels == IGNORE))
        self._items[item_id] = _Item(labels.size, ignored, by_class, binary)

    def _require(self, item_id: str, labels: np.ndarray, given: np.ndarray | None, what: str, *, wanted: bool) -> None:
        if not wanted:
            return
        if given is None:
            raise DataError(
                f"an image has no predicted {what}", where=item_id, expected="a prediction for every image",
                fix="leave no image out; where nothing was found, give the mask without foreground",
            )  # fmt: skip
        if given.shape != labels.shape:
            raise DataError(
                f"a predicted {what} does not fit its image", where=item_id,
                expected=f"{list(labels.shape)} (height, width)", found=f"{list(given.shape)}",
                fix="write predictions at the original resolution of the image, after EXIF orientation",
            )  # fmt: skip

    def merge(self, other: DenseScorer) -> None:
        """Add what another scorer, such as that of another process, has seen.

        Raises:
            ConfigError: If it scores something else. Nothing is added then.
            DataError: If both scored the same image. Nothing is added then.
        """
        if (other.classes, other.binary, other.multiclass) != (self.classes, self.binary, self.multiclass):
            raise ConfigError("two scorers of different classes cannot be added up")
        for item_id in other._items:
            if item_id in self._items:
                raise _scored_twice(item_id)
        self._items.update(other._items)
        self._confusion.merge(other._confusion)
        self._auroc.merge(other._auroc)

    def to_dict(self) -> dict[str, Any]:
        """JSON values that hold all of the state, for another process to merge."""
        rows = {
            item_id: [item.pixels, item.ignored, _listed(item.classes), _listed(item.binary)]
            for item_id, item in self._items.items()
        }
        return {
            "classes": list(self.classes), "binary": None if self.binary is None else list(self.binary),
            "multiclass": self.multiclass, "items": rows, "confusion": self._confusion.to_dict(),
            "auroc": self._auroc.to_dict(),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DenseScorer:
        """The inverse of `to_dict`."""
        scorer = cls(values["classes"], values["binary"], multiclass=values["multiclass"])
        scorer._items = {
            item_id: _Item(pixels, ignored, _array(classes), _array(binary))
            for item_id, (pixels, ignored, classes, binary) in values["items"].items()
        }
        scorer._confusion = ConfusionState.from_dict(values["confusion"])
        scorer._auroc = AurocState.from_dict(values["auroc"])
        return scorer

    def image_scores(self) -> dict[str, dict[str, float | None]]:
        """The scores of each image by itself, ids in order: `mIoU` and `foreground_dice`, where they are scored."""
        scores: dict[str, dict[str, float | None]] = {item_id: {} for item_id in sorted(self._items)}
        for item_id, item in self._items.items():
            if item.classes is not None:
                scores[item_id] |= to_json({"mIoU": class_means(*item.classes[:3])["mIoU"]})
            if item.binary is not None:
                scores[item_id][FOREGROUND + "dice"] = image_dice(Counts(*item.binary[:4].tolist()))
        return scores

    def result(
        self,
        *,
        data: str,
        split: str,
        mode: str = "dense",
        frequent_class: int | None = None,
        skipped: int = 0,
        deviations: Sequence[str] = (),
    ) -> dict[str, Any]:
        """The content of a scores file, as JSON values.

        Args:
            data: Name of the dataset.
            split: Name of the split.
            mode: How the predictions were made, part of the name of the file; free text.
            frequent_class: The class with the most training pixels, for a baseline; None where that is not known.
            skipped: Images of the split that could not be read, and so are in no score.
            deviations: Departures from the protocol.

        Returns:
            `protocol, data, split, mode, classes, binary_classes, counts, metrics, by_class, confusion, ci95,
            baselines, deviations, undefined`. A metric without a value is None and stands in `undefined` with the
            reason. `by_class` and `confusion` are empty where classes are not scored.
        """
        whole = once(len(self))
        metrics, ci95 = to_json(self._scores(whole)), self._intervals()
        if self.binary is not None:
            metrics[AUROC] = self._auroc.compute()
        return {
            "protocol": PROTOCOL,
            "data": data,
            "split": split,
            "mode": mode,
            "classes": list(self.classes),
            "binary_classes": [self.classes[index] for index in self.binary or ()],
            "counts": {**self._counts(), "skipped": skipped},
            "metrics": metrics,
            "by_class": self._by_class() if self.multiclass else {},
            "confusion": self._confusion.matrix.tolist() if self.multiclass else [],
            "ci95": ci95,
            "baselines": self._baselines(frequent_class),
            "deviations": list(deviations),
            "undefined": self._undefined(metrics),
        }

    def _rows(self) -> list[_Item]:
        return [self._items[item_id] for item_id in sorted(self._items)]

    def _class_table(self) -> np.ndarray:
        """int64 `[n, 5, C]`, images by id."""
        rows = [item.classes for item in self._rows() if item.classes is not None]
        return np.stack(rows) if rows else np.zeros((0, 5, len(self.classes)), np.int64)

    def _binary_table(self) -> np.ndarray:
        """int64 `[n, 6]`, images by id."""
        rows = [item.binary for item in self._rows() if item.binary is not None]
        return np.stack(rows) if rows else np.zeros((0, 6), np.int64)

    def _scores(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Every metric but the AUROC, for images that count as often as `weights` `[..., n]` say."""
        scores = class_scores(self._class_table(), weights) if self.multiclass else {}
        return scores | (binary_scores(self._binary_table(), weights) if self.binary is not None else {})

    def _intervals(self) -> dict[str, list[float] | None]:
        if not self._items:
            return dict.fromkeys(self._scores(once(0)))
        return {name: interval(values) for name, values in self._scores(draw_images(len(self))).items()}

    def _counts(self) -> dict[str, int]:
        rows = self._rows()
        counts = {
            "images": len(rows),
            "pixels": sum(item.pixels for item in rows),
            "ignored_pixels": sum(item.ignored for item in rows),
        }
        if self.binary is not None:
            table = self._binary_table()
            counts["without_foreground"] = int(np.count_nonzero(table[:, 0] + table[:, 2] == 0))
        return counts

    def _by_class(self) -> dict[str, dict[str, Any]]:
        table = self._class_table()
        boundary = boundary_scores(table[:, 3:].astype(np.float64), once(len(table)))
        drawn = class_ious(table, draw_images(len(table))) if len(table) else np.zeros((0, len(self.classes)))
        images = np.count_nonzero(table[:, 1], axis=0)
        return {
            name: {
                **row,
                **to_json({"boundary_iou": boundary["pooled"][c], "boundary_iou_images": boundary["images"][c]}),
                "images": int(images[c]),
                "ci95": {"iou": interval(drawn[:, c])},
            }
            for c, (name, row) in enumerate(zip(self.classes, self._confusion.by_class(), strict=True))
        }

    def _baselines(self, frequent_class: int | None) -> dict[str, dict[str, Any]]:
        baselines: dict[str, dict[str, Any]] = {}
        if self.multiclass and frequent_class is not None:
            scores = constant_class_scores(self._class_table(), frequent_class)
            baselines["most_frequent_class"] = {"class": self.classes[frequent_class], **scores}
        if self.binary is not None:
            for name in ("everything", "nothing"):
                baselines[name] = dict(constant_binary_scores(self._binary_table(), everything=name == "everything"))
        return baselines

    def _undefined(self, metrics: dict[str, float | None]) -> dict[str, str]:
        no_pixels = "the number that it is divided by is 0"
        missing = (name for name, value in metrics.items() if value is None)
        return {name: self._auroc.undefined if name == AUROC else no_pixels for name in missing}


def _require_classes(item_id: str, what: str, values: np.ndarray, classes: tuple[str, ...]) -> None:
    """Refuses values that are no class, and says which."""
    wrong = values[(values < 0) | (values >= len(classes))]
    if wrong.size:
        raise DataError(
            f"a {what} value is no class", where=item_id,
            expected=f"0 to {len(classes) - 1} ({len(classes)} classes)",
            found=", ".join(str(value) for value in np.unique(wrong)[:5]),
            fix=f"pixels that belong to no class are {IGNORE} in the labels; a prediction has a class everywhere",
        )  # fmt: skip


def _scored_twice(item_id: str) -> DataError:
    return DataError(
        "an image is scored twice", where=item_id, expected="each image once", fix="remove the second prediction"
    )


def _listed(values: np.ndarray | None) -> list | None:
    return None if values is None else values.tolist()


def _array(values: list | None) -> np.ndarray | None:
    return None if values is None else np.array(values, np.int64)
