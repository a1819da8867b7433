"""The predictions file: one JSON object a line, from any model, which is all that scoring needs.

    {"id": "RECORD#0", "masks": [{"size": [h, w], "counts": "..."}], "scores": [0.9], "text": "...", "emitted": true}

Only `id` and `masks` must be there; several masks are scored as their union, an empty list says that no mask was given.
Masks stay run lengths here until they are asked for, so a file of thousands fits in memory.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segtune.core import strict_json
from segtune.core.errors import DataError
from segtune.core.regular import open_regular
from segtune.core.text import require_utf8
from segtune.ops.masks import union_masks
from segtune.ops.rle import Rle, rle_decode


@dataclass(frozen=True, slots=True)
class PredictedMasks:
    """What was predicted for one query.

    Attributes:
        id: `"<record id>#<query index>"`.
        masks: COCO run lengths at the original resolution; empty where no mask was given.
        scores: The confidence of each mask, 0 to 1, as many as masks; empty if the model gives none.
        text: The answer in words.
        emitted: Whether the model itself asked for a mask.
    """

    id: str
    masks: tuple[Rle, ...]
    scores: tuple[float, ...] = field(default=())
    text: str = ""
    emitted: bool = True

    def union(self, size: tuple[int, int]) -> np.ndarray | None:
        """All masks together.

        Args:
            size: (h, w) of the image in original pixels.

        Returns:
            bool `[h, w]`, or None where no mask was given.

        Raises:
            DataError: If a mask has another size or is corrupt.
        """
        if not self.masks:
            return None
        return union_masks((rle_decode(rle, size=size, where=self.id) for rle in self.masks), size)

    def to_line(self) -> str:
        """The JSON of one line, without the line break; without `scores` where the model gives none."""
        values: dict[str, Any] = {
            "id": self.id,
            "masks": list(self.masks),
            **({"scores": list(self.scores)} if self.scores else {}),
            "text": self.text,
            "emitted": self.emitted,
        }
        return json.dumps(values, ensure_ascii=False, allow_nan=False)


def write_predictions(path: Path, predictions: Iterable[PredictedMasks]) -> None:
    """Write a predictions file, completely or not at all.

    Args:
        path: The file; its folder must exist. An older file is replaced at the end.
        predictions: In the order of the lines.

    Raises:
        ValueError: If a score is not finite.
    """
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8", newline="\n") as file:
        for prediction in predictions:
            file.write(prediction.to_line() + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_predictions(path: Path) -> dict[str, PredictedMasks]:
    """Read a predictions file that anybody may have written. Blank lines are passed over.

    Args:
        path: A JSONL file in UTF-8.

    Returns:
        The predictions by id, in the order of the file. Masks are checked when they are decoded.

    Raises:
        DataError: If the file cannot be read, or a line is no prediction or repeats an id; it names the line.
    """
    predictions: dict[str, PredictedMasks] = {}
    try:
        with io.TextIOWrapper(open_regular(path), encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                prediction = parse_prediction(line, f"{path}:{number}")
                if prediction.id in predictions:
                    raise DataError(
                        "two lines answer the same query",
                        where=f"{path}:{number}",
                        expected="each id once",
                        found=prediction.id,
                        fix="put all masks of a query into one line",
                    )
                predictions[prediction.id] = prediction
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            "the predictions cannot be read", where=str(path), expected="a JSONL file in UTF-8", found=str(error)
        ) from error
    return predictions


def parse_prediction(line: str, where: str) -> PredictedMasks:
    """Read one line.

    Args:
        line: JSON.
        where: File and line, for the message.

    Returns:
        The prediction. Without `emitted`, a model is taken to have asked for a mask where it gave one.

    Raises:
        DataError: If it is no prediction.
    """
    try:
        values = strict_json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _not_a_prediction(where, f"no JSON ({error})") from error
    if not isinstance(values, dict) or not isinstance(values.get("id"), str) or not values["id"]:
        raise _not_a_prediction(where, "no text 'id'")
    masks = values.get("masks")
    if not isinstance(masks, list) or not all(isinstance(mask, dict) for mask in masks):
        raise _not_a_prediction(where, "no list of masks in 'masks'")
    scores = values.get("scores") or []
    if not isinstance(scores, list) or not all(_is_number(score) for score in scores):
        raise _not_a_prediction(where, "'scores' is no list of finite numbers")
    if scores and len(scores) != len(masks):
        raise _not_a_prediction(where, f"{len(scores)} scores for {len(masks)} masks")
    text, emitted = values.get("text") or "", values.get("emitted", bool(masks))
    if not isinstance(text, str) or not isinstance(emitted, bool):
        raise _not_a_prediction(where, "'text' is no text or 'emitted' neither true nor false")
    for key in ("id", "text"):
        require_utf8(values.get(key) or "", where, what=repr(key))
    return PredictedMasks(values["id"], tuple(masks), tuple(float(score) for score in scores), text, emitted)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _not_a_prediction(where: str, found: str) -> DataError:
    return DataError(
        "a line is not a prediction",
        where=where,
        expected='{"id": "RECORD#0", "masks": [{"size": [h, w], "counts": "..."}], "scores": [0.9], "emitted": true}',
        found=found,
    )
