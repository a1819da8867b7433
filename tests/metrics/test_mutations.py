"""Damaged predictions files are refused by line, or read as what they now say; see `tests/mutations.py`."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tests.mutations import (
    FOREIGN,
    Layout,
    Mutation,
    Reading,
    by_outcome,
    byte_mutations,
    encoding_mutations,
    json_mutations,
    run,
)

from segtune.metrics.predictions import PredictedMasks, read_predictions, write_predictions
from segtune.ops.rle import rle_encode

SIZE = (6, 8)
FILE = "predictions.jsonl"


def _write(folder: Path) -> None:
    left = np.zeros(SIZE, bool)
    left[1:5, 2:6] = True
    write_predictions(
        folder / FILE,
        [PredictedMasks("a#0", (rle_encode(left), rle_encode(~left)), (0.5, 1.0), f"It is {FOREIGN}.", True)],
    )


def _read(folder: Path) -> Reading:
    read = read_predictions(folder / FILE)
    return Reading({key: (one.text, one.emitted, one.scores, _bytes(one.union(SIZE))) for key, one in read.items()})


def _plain(folder: Path) -> dict[str, Any]:
    items = {}
    for line in (folder / FILE).read_bytes().decode("utf-8").splitlines():
        value = json.loads(line)
        one = PredictedMasks(value["id"], tuple(value["masks"]))
        scores, text = tuple(value.get("scores") or ()), value.get("text") or ""
        items[one.id] = (text, value.get("emitted", bool(one.masks)), scores, _bytes(one.union(SIZE)))
    return items


def _bytes(mask: np.ndarray | None) -> bytes | None:
    return None if mask is None else mask.tobytes()


def _mutations(rng: random.Random, files: Mapping[str, bytes]) -> Iterator[tuple[str, Mutation]]:
    raw = files[FILE]
    for some in (byte_mutations(rng, len(raw), 40, 6), encoding_mutations(), json_mutations(rng, raw, 12)):
        yield from ((FILE, mutation) for mutation in some)


PREDICTIONS = Layout(
    "predictions",
    _write,
    _read,
    _plain,
    _mutations,
    lambda file: (FILE, "a#0"),
    lambda file: ("a#0",),
    lambda file: "predictions",
)


def test_predictions_are_never_misread_in_silence(tmp_path: Path) -> None:
    found, failures = run(PREDICTIONS, tmp_path / "data")
    outcomes = by_outcome(found)
    assert not failures, "\n".join(failures)
    assert outcomes.total() >= 120
    assert outcomes["refused"] >= 40
    assert outcomes["honest"] >= 2
