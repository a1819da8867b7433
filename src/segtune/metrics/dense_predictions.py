"""The predictions file of dense segmentation: one JSON object a line, for one image each.

    {"id": "RECORD", "size": [h, w], "classes": {"road": {"size": [h, w], "counts": "..."}, ...}, "mask": {...}}

`classes` has the COCO run lengths of every class that was predicted anywhere in the image, which share its pixels among
them; `mask` those of the binary foreground. Each is null from a model without that head.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segtune.core import strict_json
from segtune.core.errors import DataError
from segtune.core.files import write_jsonl
from segtune.core.text import require_utf8
from segtune.ops.rle import Rle, rle_decode, rle_encode


@dataclass(frozen=True, slots=True)
class PredictedImage:
    """What was predicted for one image; masks stay run lengths until they are asked for.

    Attributes:
        id: Of the image.
        size: (h, w) in original pixels.
        classes: COCO run lengths of each class that occurs, by name; None where classes were not predicted.
        mask: COCO run lengths of the binary foreground; None where it was not predicted.
    """

    id: str
    size: tuple[int, int]
    classes: Mapping[str, Rle] | None = None
    mask: Rle | None = None

    def labels(self, names: Sequence[str]) -> np.ndarray | None:
        """The class of every pixel.

        Args:
            names: Of all classes, in the order of their labels.

        Returns:
            uint8 `[h, w]`, or None where classes were not predicted.

        Raises:
            DataError: A class is none of these, a mask is corrupt, or the masks do not give each pixel one class.
        """
        if self.classes is None:
            return None
        labels, covered = np.zeros(self.size, np.uint8), np.zeros(self.size, np.uint8)
        for name, rle in self.classes.items():
            if name not in names:
                raise DataError(
                    "there is no such class", where=self.id, expected=f"some of {', '.join(names)}", found=name
                )
            inside = rle_decode(rle, size=self.size, where=f"{self.id}, {name}")
            labels[inside] = names.index(name)
            covered += inside
        if (covered != 1).any():
            raise DataError(
                "the masks of the classes do not share the image among them", where=self.id,
                expected="each pixel in exactly one mask", found=f"{np.count_nonzero(covered != 1):,} pixels are not",
            )  # fmt: skip
        return labels

    def foreground(self) -> np.ndarray | None:
        """The binary mask, bool `[h, w]`, or None where it was not predicted.

        Raises:
            DataError: It is corrupt.
        """
        return None if self.mask is None else rle_decode(self.mask, size=self.size, where=self.id)


def encode_labels(labels: np.ndarray, names: Sequence[str]) -> dict[str, Rle]:
    """The classes of an image as COCO run lengths, by name, those that occur, in the order of their labels.

    Args:
        labels: uint8 `[h, w]`, class indices.
        names: Of all classes.
    """
    return {names[int(index)]: rle_encode(labels == index) for index in np.unique(labels)}


def write_dense_predictions(path: Path, predictions: Iterable[PredictedImage]) -> None:
    """Writes the file in one step, or leaves it as it was; folders above it are made."""
    write_jsonl(
        path,
        ({"id": one.id, "size": list(one.size), "classes": one.classes, "mask": one.mask} for one in predictions),
    )


def parse_dense_prediction(line: str, where: str) -> PredictedImage:
    """Reads one line of such a file.

    Args:
        line: JSON.
        where: File and line, for the message.

    Returns:
        The prediction; its masks are checked when they are decoded.

    Raises:
        DataError: It is no prediction.
    """
    try:
        values = strict_json.loads(line)
        height, width = values["size"]
        classes, mask = values["classes"], values["mask"]
        fits = isinstance(values["id"], str) and all(one is None or isinstance(one, dict) for one in (classes, mask))
        if not fits or type(height) is not int or type(width) is not int or min(height, width) < 1:
            raise ValueError("a value of another kind")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(
            "a line is not a prediction", where=where,
            expected='{"id": "RECORD", "size": [h, w], "classes": {"NAME": RLE} or null, "mask": RLE or null}',
            found=f"{type(error).__name__}: {error}",
        ) from error  # fmt: skip
    for text in (values["id"], *(classes or ())):
        require_utf8(text, where)
    return PredictedImage(values["id"], (height, width), classes, mask)
