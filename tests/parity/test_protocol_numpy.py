"""gIoU and cIoU equal a plain reading of the protocol, written apart from the package."""

from __future__ import annotations

import numpy as np
import pytest

from segtune.core.records import Query
from segtune.metrics.protocol import ProtocolScorer


def plain(predictions: list[np.ndarray], targets: list[np.ndarray]) -> tuple[float, float]:
    """As the protocol page says it, pixel set by pixel set."""
    ious, intersections, unions = [], 0, 0
    for prediction, target in zip(predictions, targets, strict=True):
        counted = target != 255
        predicted, wanted = prediction[counted].astype(bool), target[counted] == 1
        intersection, union = int((predicted & wanted).sum()), int((predicted | wanted).sum())
        ious.append(1.0 if union == 0 else intersection / union)
        intersections, unions = intersections + intersection, unions + union
    return sum(ious) / len(ious), intersections / unions


def reference(predictions: list[np.ndarray], targets: list[np.ndarray]) -> tuple[float, float]:
    """As the LISA paper's evaluation counts: areas from histograms, small constants in the quotients."""
    iou_sum, intersections, unions = 0.0, 0.0, 0.0
    for prediction, target in zip(predictions, targets, strict=True):
        output = np.where(target == 255, 255, prediction.astype(np.int64))
        areas = [np.bincount(a.ravel(), minlength=256)[1] for a in (output, target, output[output == target])]
        union = areas[0] + areas[1] - areas[2]
        iou_sum += areas[2] / (union + 1e-5) + (union == 0)
        intersections, unions = intersections + areas[2], unions + union
    return iou_sum / len(targets), intersections / (unions + 1e-10)


def random_split(seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    generator = np.random.default_rng(seed)
    predictions, targets = [], []
    for index in range(40):
        size = generator.integers(1, 60, 2)
        ignored = generator.random() * (index % 2)
        share = 0.0 if index % 5 == 0 else generator.random()
        target = (generator.random(size) < share).astype(np.uint8)
        target[generator.random(size) < ignored] = 255
        predictions.append(generator.random(size) < (0.0 if index % 3 == 0 else generator.random()))
        targets.append(target)
    targets[1][:] = 255
    return predictions, targets


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_the_plain_reading_and_the_reference(seed: int) -> None:
    predictions, targets = random_split(seed)
    scorer = ProtocolScorer()
    for index, (prediction, target) in enumerate(zip(predictions, targets, strict=True)):
        query = Query("q", is_sentence=bool(index % 2))
        if index % 4 == 0 and not prediction.any():
            scorer.add(f"{index}#0", target, query)  # no mask given is the empty mask
        else:
            scorer.add(f"{index}#0", target, query, logits=np.where(prediction, 0.5, 0.0))  # 0 is not above 0
    scores = scorer.result(data="random", split="val", mode="forced")
    found = (scores["metrics"]["gIoU"], scores["metrics"]["cIoU"])
    assert found == pytest.approx(plain(predictions, targets), abs=1e-14)
    assert found == pytest.approx(reference(predictions, targets), abs=2e-4)
    for name, start in (("short", 0), ("long", 1)):
        part = (scores["by"][name]["gIoU"], scores["by"][name]["cIoU"])
        assert part == pytest.approx(plain(predictions[start::2], targets[start::2]), abs=1e-14)
