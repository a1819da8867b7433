"""Running scores of dense segmentation against scikit-learn and torchmetrics, and their merging."""

from __future__ import annotations

import json
import math
import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    jaccard_score,
    precision_score,
    recall_score,
    roc_auc_score,
)
from torchmetrics.classification import BinaryF1Score, BinaryJaccardIndex, MulticlassF1Score, MulticlassJaccardIndex

from segtune.core.errors import SegtuneError
from segtune.core.records import IGNORE
from segtune.metrics.dense import BinaryState, ConfusionState, class_means, count_confusions

C = 6


def drawn(seed: int, classes: tuple[int, ...] = tuple(range(C))) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and labels of one image, right in about half of its pixels; a tenth is ignored."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(np.array(classes, np.uint8), (31, 23))
    noise = generator.choice(np.array(classes, np.uint8), labels.shape)
    prediction = np.where(generator.random(labels.shape) < 0.4, labels, noise)
    labels[generator.random(labels.shape) < 0.1] = IGNORE
    return prediction, labels


def state_of(pairs: list[tuple[np.ndarray, np.ndarray]]) -> ConfusionState:
    state = ConfusionState(C)
    for prediction, labels in pairs:
        state.update(prediction, labels)
    return state


PRESENT = {
    "all classes": [drawn(0), drawn(1)],
    "two classes never": [drawn(0, (0, 2, 3, 5)), drawn(1, (2, 5))],
    "one only predicted": [(np.full((4, 4), 3, np.uint8), np.tile(np.array([0, 1], np.uint8), (4, 2)))],
    "one class": [(np.full((4, 4), 2, np.uint8), np.full((4, 4), 2, np.uint8))],
    "all wrong": [(np.full((4, 4), 1, np.uint8), np.full((4, 4), 4, np.uint8))],
}


@pytest.mark.parametrize("pairs", PRESENT.values(), ids=PRESENT)
def test_means_are_those_of_sklearn_and_torchmetrics(pairs) -> None:
    labels, prediction = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (1, 0))
    truth, found = labels[labels != IGNORE], prediction[labels != IGNORE]
    state, scores = state_of(pairs), state_of(pairs).compute()
    np.testing.assert_array_equal(state.matrix, confusion_matrix(truth, found, labels=range(C)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sklearn says so where a class is only predicted
        expected = {
            "mIoU": jaccard_score(truth, found, average="macro"),
            "accuracy": accuracy_score(truth, found),
            **{f"f1_{name}": f1_score(truth, found, average=name) for name in ("macro", "micro", "weighted")},
        }
    assert scores == pytest.approx(expected, abs=1e-12)
    tensors = torch.from_numpy(prediction.astype(np.int64)), torch.from_numpy(labels.astype(np.int64))
    options = {"num_classes": C, "ignore_index": IGNORE}
    assert scores["mIoU"] == pytest.approx(float(MulticlassJaccardIndex(**options)(*tensors)), abs=1e-6)
    for average in ("macro", "micro", "weighted"):
        value = float(MulticlassF1Score(average=average, **options)(*tensors))
        assert scores[f"f1_{average}"] == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("pairs", PRESENT.values(), ids=PRESENT)
def test_scores_of_each_class_are_those_of_sklearn(pairs) -> None:
    labels, prediction = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (1, 0))
    truth, found = labels[labels != IGNORE], prediction[labels != IGNORE]
    rows = state_of(pairs).by_class()
    options = {"labels": range(C), "average": None, "zero_division": np.nan}
    ours = {name: [np.nan if row[name] is None else row[name] for row in rows] for name in rows[0]}
    np.testing.assert_allclose(ours["dice"], f1_score(truth, found, **options), atol=1e-12)
    np.testing.assert_allclose(ours["precision"], precision_score(truth, found, **options), atol=1e-12)
    np.testing.assert_allclose(ours["recall"], recall_score(truth, found, **options), atol=1e-12)
    for c, row in enumerate(rows):
        union = np.count_nonzero((truth == c) | (found == c))
        expected = np.count_nonzero((truth == c) & (found == c)) / union if union else None
        assert row["iou"] == (None if expected is None else pytest.approx(expected))
        assert (row["truth"], row["predicted"]) == (np.count_nonzero(truth == c), np.count_nonzero(found == c))


def test_nothing_counted_is_undefined_and_never_zero() -> None:
    everything_ignored = state_of([(np.zeros((4, 4), np.uint8), np.full((4, 4), IGNORE, np.uint8))])
    for state in (ConfusionState(C), everything_ignored):
        assert set(state.compute().values()) == {None}
        assert state.by_class()[0] == {
            "iou": None, "dice": None, "precision": None, "recall": None, "truth": 0, "predicted": 0,
        }  # fmt: skip


def test_what_lies_on_ignored_pixels_counts_nowhere() -> None:
    prediction, labels = drawn(3)
    changed = np.where(labels == IGNORE, 200, prediction)
    np.testing.assert_array_equal(state_of([(changed, labels)]).matrix, state_of([(prediction, labels)]).matrix)


@pytest.mark.parametrize(
    ("prediction", "labels", "message"),
    [
        (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), "differ in size"),
        (np.full((2, 2), C, np.uint8), np.zeros((2, 2), np.uint8), "prediction hold values 6 to 6"),
        (np.full((2, 2), -1), np.zeros((2, 2), np.uint8), "prediction hold values -1"),
        (np.zeros((2, 2), np.uint8), np.full((2, 2), 200, np.uint8), "labels hold values 200"),
    ],
)
def test_what_is_no_class_is_refused(prediction, labels, message) -> None:
    with pytest.raises(ValueError, match=message):
        count_confusions(prediction, labels, C)


def test_states_add_up_in_any_order_and_travel_as_json() -> None:
    pairs = [drawn(seed) for seed in range(4)]
    whole, a, b = state_of(pairs), state_of(pairs[2:]), state_of(pairs[:2])
    a = ConfusionState.from_dict(json.loads(json.dumps(a.to_dict())))
    a.merge(b)
    np.testing.assert_array_equal(a.matrix, whole.matrix)
    with pytest.raises(ValueError, match="classes"):
        a.merge(ConfusionState(C + 1))


def test_means_of_many_draws_are_those_of_each() -> None:
    totals = [np.stack(parts) for parts in zip(*(state_of([drawn(seed)]).totals for seed in range(5)), strict=True)]
    together = class_means(*totals)
    for seed in range(5):
        alone = state_of([drawn(seed)]).compute()
        assert {name: values[seed] for name, values in together.items()} == pytest.approx(alone)


def mask_pair(seed: int, *, empty: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Logits and a target with ignored pixels."""
    generator = np.random.default_rng(seed)
    target = generator.choice(np.array([0, 1, IGNORE], np.uint8), (20, 30), p=[0.6, 0.3, 0.1])
    if empty:
        target[target == 1] = 0
    return generator.normal(0, 2, target.shape).astype(np.float32) + 2 * (target == 1) - 1, target


def test_binary_scores_are_those_of_sklearn_and_torchmetrics() -> None:
    pairs = [mask_pair(seed) for seed in range(3)]
    state = BinaryState()
    for logits, target in pairs:
        state.update(logits > 0, target, logits)
    logits, target = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1))
    kept = target != IGNORE
    truth, found = target[kept], logits[kept] > 0
    scores = state.compute()
    expected = {
        "dice": f1_score(truth, found), "iou": jaccard_score(truth, found), "accuracy": accuracy_score(truth, found),
        "precision": precision_score(truth, found), "recall": recall_score(truth, found),
        "auroc": roc_auc_score(truth, logits[kept].astype(np.float16)),
    }  # fmt: skip
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    tensors = torch.from_numpy((logits > 0).astype(np.int64)), torch.from_numpy(target.astype(np.int64))
    for metric, name in ((BinaryF1Score, "dice"), (BinaryJaccardIndex, "iou")):
        assert scores[name] == pytest.approx(float(metric(ignore_index=IGNORE)(*tensors)), abs=1e-6)
    each = [f1_score(t[t != IGNORE], x[t != IGNORE] > 0) for x, t in pairs]
    assert scores["image_dice"] == scores["image_dice_nonempty"] == pytest.approx(np.mean(each))


@pytest.mark.parametrize("found", [0, 1])
@pytest.mark.parametrize("truth", ["nothing", "everything", "one pixel"])
def test_degenerate_binary_scores_are_those_of_sklearn(found: int, truth: str) -> None:
    """What sklearn calls undefined is None here; what is defined is equal."""
    target = np.full((4, 5), truth == "everything", np.uint8)
    target[0, 0] = truth != "nothing"
    state = BinaryState()
    state.update(np.full(target.shape, found, bool), target)
    scores, pair = state.compute(), (target.ravel(), np.full(target.size, found))
    for name, metric in (
        ("dice", f1_score), ("iou", jaccard_score), ("precision", precision_score), ("recall", recall_score)
    ):  # fmt: skip
        # sklearn's Jaccard score has no word for undefined; it is where there is neither truth nor prediction
        undefined = {"zero_division": np.nan} if metric is not jaccard_score else {"zero_division": 0}
        expected = float(metric(*pair, **undefined))
        nothing = math.isnan(expected) or (name == "iou" and not found and truth == "nothing")
        assert scores[name] == (None if nothing else pytest.approx(expected)), name
    assert scores["accuracy"] == pytest.approx(accuracy_score(*pair))


def test_images_without_foreground_score_one_or_zero_and_are_counted() -> None:
    state, (logits, target) = BinaryState(), mask_pair(0)
    state.update(logits > 0, target, logits)
    alone = state.compute()["image_dice"]
    assert alone is not None
    bare_logits, bare = mask_pair(1, empty=True)
    state.update(bare_logits > 0, bare, bare_logits)
    state.update(np.zeros_like(bare), bare, np.full(bare.shape, -1.0))
    state.update(np.ones_like(bare), np.full_like(bare, IGNORE), np.ones(bare.shape))  # nothing counts: left empty
    assert (state.images, state.without_foreground, state.both_empty) == (4, 3, 2)
    scores = state.compute()
    assert scores["image_dice"] == pytest.approx((alone + 0 + 1 + 1) / 4)
    assert scores["image_dice_nonempty"] == pytest.approx(alone)


def test_undefined_binary_scores_are_none() -> None:
    assert set(BinaryState().compute().values()) == {None}
    state = BinaryState()
    state.update(np.zeros((3, 3)), np.zeros((3, 3), np.uint8))
    scores = state.compute()
    assert (scores["image_dice"], scores["accuracy"]) == (1.0, 1.0)
    others = ("dice", "iou", "image_dice_nonempty", "precision", "recall", "auroc")
    assert {scores[name] for name in others} == {None}


def test_a_mask_without_logits_leaves_no_auroc() -> None:
    state, (logits, target) = BinaryState(), mask_pair(0)
    state.update(logits > 0, target, logits)
    assert state.compute()["auroc"] is not None
    state.update(logits > 0, target)
    assert state.compute()["auroc"] is None


def test_a_logit_that_is_no_number_adds_nothing() -> None:
    state, (logits, target) = BinaryState(), mask_pair(0)
    logits[0] = np.nan
    with pytest.raises(SegtuneError, match="NaN"):
        state.update(logits > 0, target, logits)
    assert state.images == 0


def test_binary_states_add_up_and_travel_as_json() -> None:
    pairs = [mask_pair(seed, empty=seed == 2) for seed in range(4)]
    whole, a, b = BinaryState(), BinaryState(), BinaryState()
    for index, (logits, target) in enumerate(pairs):
        for state in (whole, a if index % 2 else b):
            state.update(logits > 0, target, logits)
    a = BinaryState.from_dict(json.loads(json.dumps(a.to_dict())))
    a.merge(b)
    assert a.compute() == pytest.approx(whole.compute())
    assert (a.images, a.without_foreground, a.both_empty) == (whole.images, 1, whole.both_empty)
