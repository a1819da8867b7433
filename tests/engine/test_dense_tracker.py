"""The history row of a dense model against scikit-learn, in model pixels."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, roc_auc_score

from segtune.core.records import IGNORE
from segtune.core.types import DenseBatch, DenseOutput
from segtune.engine.config import BINARY_METRICS, CLASS_METRICS
from segtune.engine.dense_tracker import DenseTracker
from segtune.engine.tracker import FULL_AUROC_SIDE
from segtune.losses.config import BINARY_TERMS, CLASS_TERMS

C, SIZE, LOW, FOREGROUND = 4, (24, 32), (6, 8), (1, 3)


def _seen(seed: int, images: int = 2, size: tuple[int, int] = SIZE) -> tuple[DenseOutput, DenseBatch]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, C, (images, *size), generator=generator).to(torch.uint8)
    labels[:, :3] = IGNORE
    output = DenseOutput(
        torch.randn(images, C, *LOW, generator=generator), torch.randn(images, *LOW, generator=generator)
    )
    return output, DenseBatch(torch.zeros(images, 3, 1, 1), labels, ())


def _tracker(seen, **options) -> DenseTracker:
    tracker = DenseTracker(**{"classes": C, "foreground": FOREGROUND, **options})
    for output, batch in seen:
        tracker.observe(output, batch)
    return tracker


def test_metrics_are_those_of_sklearn_in_model_pixels() -> None:
    seen = [_seen(seed) for seed in range(3)]
    truth, found, logits = [], [], []
    for output, batch in seen:
        labels = batch.labels.numpy()
        kept = labels != IGNORE
        truth.append(labels[kept])
        found.append(F.interpolate(output.classes, size=SIZE, mode="bilinear").argmax(1).numpy()[kept])
        logits.append(F.interpolate(output.binary[:, None], size=SIZE, mode="bilinear")[:, 0].numpy()[kept])
    t, p, x = map(np.concatenate, (truth, found, logits))
    wanted = np.isin(t, FOREGROUND)
    expected = {
        "mIoU": jaccard_score(t, p, average="macro"),
        "accuracy": accuracy_score(t, p),
        "f1_macro": f1_score(t, p, average="macro"),
        "foreground_dice": f1_score(wanted, x > 0),
        "foreground_iou": jaccard_score(wanted, x > 0),
        "foreground_auroc": roc_auc_score(wanted, x.astype(np.float16)),
    }
    row = _tracker(seen).compute("val_")
    assert {name: row[f"val_{name}"] for name in expected} == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("heads", "keys"),
    [
        ({"foreground": None}, (*CLASS_TERMS, *CLASS_METRICS)),
        ({"classes": 0}, (*BINARY_TERMS, *BINARY_METRICS)),
        ({}, (*CLASS_TERMS, *BINARY_TERMS, *CLASS_METRICS, *BINARY_METRICS)),
    ],
    ids=["classes", "binary", "both"],
)
def test_keys_are_those_of_the_heads(heads, keys) -> None:
    row = _tracker([], **heads).compute()
    assert set(row) == {"loss", *keys}
    assert set(row.values()) == {None}
    row = _tracker([_seen(0)], **heads).compute()
    assert {name for name, value in row.items() if value is None} == {"loss", *CLASS_TERMS, *BINARY_TERMS} & set(row)


def test_losses_are_means_over_steps() -> None:
    tracker = DenseTracker(classes=C)
    tracker.step({"ce": 1.0, "dice": 0.5, "focal": 0.1, "loss": 2.0}, 0.5)
    tracker.step({"ce": 3.0, "dice": 0.7, "focal": 0.3, "loss": 4.0}, 0.25)
    row = tracker.compute()
    assert (row["ce"], row["dice"], row["focal"], row["loss"]) == pytest.approx((2.0, 0.6, 0.2, 3.0))
    assert (tracker.steps, tracker.seconds) == (2, 0.75)


def test_one_batch_or_many_and_one_process_or_two() -> None:
    output, batch = _seen(0, images=4)
    parts = [
        (
            DenseOutput(output.classes[i : i + 1], output.binary[i : i + 1]),
            DenseBatch(batch.pixels[i : i + 1], batch.labels[i : i + 1], ()),
        )
        for i in range(4)
    ]
    whole = _tracker([(output, batch)]).compute()
    assert _tracker(parts).compute() == pytest.approx(whole)
    first, second = _tracker(parts[:1]), _tracker(parts[1:])
    first.merge(second)
    assert first.compute() == pytest.approx(whole)


def test_a_tracker_that_was_saved_goes_on_exactly() -> None:
    straight, stopped = _tracker([]), _tracker([])
    for seed in range(4):
        for tracker in (straight, stopped):
            tracker.observe(*_seen(seed))
            tracker.step({"ce": 0.1 * seed, "loss": 1 / 3}, 0.1)
        stopped = DenseTracker.from_dict(json.loads(json.dumps(stopped.to_dict())))
    assert stopped.compute() == straight.compute()
    assert stopped.foreground == FOREGROUND
    assert json.loads(json.dumps(stopped.to_dict())) == json.loads(json.dumps(straight.to_dict()))


def test_logits_that_are_not_numbers_count_as_nothing_predicted() -> None:
    """The step that they come from is skipped; its images stay in the counts, without a rank in the AUROC."""
    good, bad = _seen(0), _seen(1)
    bad[0].binary[:] = float("nan")
    row, alone = _tracker([good, bad]).compute(), _tracker([good]).compute()
    assert row["foreground_auroc"] == alone["foreground_auroc"]
    assert row["foreground_image_dice"] == pytest.approx(alone["foreground_image_dice"] / 2)


def test_observing_leaves_no_graph_and_takes_half_precision() -> None:
    output, batch = _seen(0)
    output.classes.requires_grad_()
    half = DenseOutput(output.classes.bfloat16(), output.binary.bfloat16())
    row = _tracker([(half, batch)]).compute()
    assert row["mIoU"] is not None
    assert row["foreground_dice"] is not None


def test_of_large_images_every_fourth_pixel_ranks() -> None:
    tracker = _tracker([_seen(0, images=1, size=(64, 2 * FULL_AUROC_SIDE))])
    ranked = int((tracker.binary.auroc.positives + tracker.binary.auroc.negatives).sum())
    counted = tracker.binary.pixels
    assert counted.tp + counted.fp + counted.fn + counted.tn == 61 * 2 * FULL_AUROC_SIDE
    assert ranked == 30 * FULL_AUROC_SIDE
