"""The history row against scikit-learn and plain NumPy, on drawn masks without a model."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score

from segtune.core.records import IGNORE
from segtune.core.types import Batch, Images, Masks, SegmentationOutput
from segtune.engine.config import BEST_KEYS, METRICS
from segtune.engine.tracker import FULL_AUROC_SIDE, Tracker
from segtune.losses.config import OPTIONAL_TERMS, TERMS

SIDE, LOW = 32, 8


def _seen(seed: int, *, side: int = SIDE, masks: int = 3) -> tuple[SegmentationOutput, Batch]:
    """What a model may say about two queries; the second one has two masks."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.zeros(2, side, side, dtype=torch.uint8)
    targets[0, side // 4 : side // 2, side // 8 :] = 1
    targets[1, side // 2 :, : side // 3] = 1
    targets[:, -side // 8 :] = IGNORE
    query = torch.tensor([0, 1, 1])[:masks]
    wanted = F.adaptive_avg_pool2d((targets[query] == 1).float()[:, None], LOW)[:, 0]
    logits = 3 * torch.randn(masks, LOW, LOW, generator=generator) + 4 * wanted - 2
    none = torch.zeros(2, 0, dtype=torch.long)
    batch = Batch(
        Images(torch.zeros(1, 3, 4, 4), None, ()), none, none, none, query, torch.zeros(2, dtype=torch.long), targets,
        (), ("g",),
    )  # fmt: skip
    return SegmentationOutput(torch.zeros(0, 7), Masks(logits, torch.zeros(masks), query)), batch


def _flat(seen: list[tuple[SegmentationOutput, Batch]]) -> tuple[np.ndarray, np.ndarray]:
    """Logits and targets of all counted model pixels."""
    logits, targets = [], []
    for output, batch in seen:
        side = batch.targets.shape[-1]
        large = F.interpolate(output.masks.logits[:, None], size=(side, side), mode="bilinear")[:, 0].numpy()
        target = batch.targets[output.masks.query].numpy()
        logits.append(large[target != IGNORE])
        targets.append(target[target != IGNORE])
    return np.concatenate(logits), np.concatenate(targets)


def _row(seen: list[tuple[SegmentationOutput, Batch]], prefix: str = "") -> dict[str, float | None]:
    tracker = Tracker()
    for output, batch in seen:
        tracker.observe(output, batch)
    return tracker.compute(prefix)


def test_pixel_metrics_and_auroc_are_those_of_sklearn() -> None:
    seen = [_seen(seed) for seed in range(4)]
    logits, targets = _flat(seen)
    expected = {
        "accuracy": accuracy_score(targets, logits > 0),
        "precision": precision_score(targets, logits > 0),
        "recall": recall_score(targets, logits > 0),
        "f1": f1_score(targets, logits > 0),
        "auroc": roc_auc_score(targets, logits.astype(np.float16)),
    }
    row = _row(seen)
    assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_scores_of_masks_are_those_of_each_mask() -> None:
    seen = [_seen(seed) for seed in range(4)]
    ious, overlaps, unions = [], 0, 0
    for output, batch in seen:
        for index, query in enumerate(output.masks.query.tolist()):
            logits, target = _flat([(_only(output, index), batch)])
            assert len(target) == int((batch.targets[query] != IGNORE).sum())
            overlap, union = ((logits > 0) & (target == 1)).sum(), ((logits > 0) | (target == 1)).sum()
            ious.append(overlap / union)
            overlaps, unions = overlaps + overlap, unions + union
    row = _row(seen, "val_")
    assert row["val_gIoU"] == pytest.approx(np.mean(ious))
    assert row["val_cIoU"] == pytest.approx(overlaps / unions)
    assert [row[f"val_P@{t}"] for t in (0.5, 0.7, 0.9)] == [np.mean([i >= t for i in ious]) for t in (0.5, 0.7, 0.9)]
    assert -1 < row["val_generalized_iou"] < 1
    assert -1.5 < row["val_complete_iou"] < 1
    assert row["val_no_box"] == 0


def _only(output: SegmentationOutput, index: int) -> SegmentationOutput:
    m = output.masks
    part = slice(index, index + 1)
    return SegmentationOutput(output.answer_logits, Masks(m.logits[part], m.scores[part], m.query[part]))


def test_a_perfect_answer_has_the_highest_scores() -> None:
    output, batch = _seen(0)
    masks = output.masks
    sure = (batch.targets[masks.query] == 1).float() * 20 - 10
    row = _row([(SegmentationOutput(output.answer_logits, Masks(sure, masks.scores, masks.query)), batch)])
    assert {name: row[name] for name in METRICS} == dict.fromkeys(METRICS, 1.0)


@pytest.mark.parametrize("value", [0, 1])
def test_one_class_has_no_auroc(value: int) -> None:
    output, batch = _seen(0)
    batch.targets[batch.targets != IGNORE] = value
    row = _row([(output, batch)])
    assert row["auroc"] is None
    assert (row["recall"] is None) == (value == 0)
    assert row["no_box"] == (3 if value == 0 else 0)


def test_nothing_seen_has_no_scores_and_keeps_the_keys() -> None:
    row = Tracker().compute()
    assert {"loss", *TERMS, *METRICS, "no_box"} == set(row)
    assert {row[name] for name in row if name != "no_box"} == {None}
    output, batch = _seen(0, masks=0)
    assert _row([(output, batch)]) == row


def test_losses_are_means_over_steps_and_optional_terms_stay_out_unless_given() -> None:
    tracker = Tracker()
    tracker.step({"ce": 1.0, "bce": 2.0, "dice": 3.0, "loss": 6.0}, 0.5)
    tracker.step({"ce": 2.0, "bce": 2.0, "dice": 1.0, "loss": 5.0}, 0.5)
    row = tracker.compute("val_")
    assert (row["val_ce"], row["val_bce"], row["val_dice"], row["val_loss"]) == (1.5, 2.0, 2.0, 5.5)
    assert not {f"val_{term}" for term in OPTIONAL_TERMS} & set(row)
    tracker = Tracker()
    tracker.step({"ce": 1.0, "bce": 2.0, "dice": 3.0, "focal": 0.25, "loss": 6.0}, 0.5)
    assert tracker.compute()["focal"] == 0.25


def test_a_tracker_that_was_saved_goes_on_exactly() -> None:
    straight, stopped = Tracker(), Tracker()
    for seed in range(6):
        output, batch = _seen(seed)
        for tracker in (straight, stopped):
            tracker.observe(output, batch)
            tracker.step({"ce": 0.1 * seed, "loss": 1 / 3}, 0.1)
        stopped = Tracker.from_dict(json.loads(json.dumps(stopped.to_dict())))
    assert stopped.compute() == straight.compute()
    assert json.loads(json.dumps(stopped.to_dict())) == json.loads(json.dumps(straight.to_dict()))


def test_logits_that_are_not_numbers_count_as_nothing_predicted() -> None:
    """The step that they come from is skipped; its masks stay in the counts, without a rank in the AUROC."""
    good, bad = _seen(0), _seen(1)
    bad[0].masks.logits[:] = float("nan")
    row = _row([good, bad])
    assert row["no_box"] == 3
    assert row["auroc"] == _row([good])["auroc"]
    assert row["gIoU"] == pytest.approx(_row([good])["gIoU"] / 2)


def test_of_large_squares_every_fourth_pixel_ranks() -> None:
    side = 2 * FULL_AUROC_SIDE
    tracker = Tracker()
    tracker.observe(*_seen(0, side=side, masks=1))
    ranked = int((tracker.auroc.positives + tracker.auroc.negatives).sum())
    assert ranked == tracker.pixels.tp + tracker.pixels.fp + tracker.pixels.fn + tracker.pixels.tn - 3 * ranked


def test_every_metric_can_decide_what_the_best_checkpoint_is() -> None:
    row = Tracker().compute("val_")
    assert {f"val_{name}" for name in METRICS} <= set(row)
    assert set(row) - {"val_no_box"} <= set(BEST_KEYS)
