"""Running scores against scikit-learn, and their merging."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score

from segtune.core.errors import SegtuneError
from segtune.core.records import IGNORE
from segtune.metrics.counts import Counts, count_pixels, iou
from segtune.metrics.states import PRECISION_AT, AurocState, FoundState, IouState, PixelState


def drawn(seed: int, *, spread: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    target = generator.choice(np.array([0, 1, IGNORE], np.uint8), (40, 30), p=[0.6, 0.3, 0.1])
    logits = generator.normal(0, spread, target.shape).astype(np.float32) + (target == 1)
    return logits, target


def test_pixel_scores_are_those_of_sklearn() -> None:
    logits, target = drawn(0)
    state = PixelState()
    state.update(count_pixels(logits > 0, target))
    wanted, predicted = target[target != IGNORE], (logits > 0)[target != IGNORE]
    expected = {
        "accuracy": accuracy_score(wanted, predicted),
        "precision": precision_score(wanted, predicted),
        "recall": recall_score(wanted, predicted),
        "f1": f1_score(wanted, predicted),
    }
    assert state.compute() == pytest.approx(expected, abs=1e-12)


def test_without_any_mask_the_reason_is_that_and_not_missing_logits() -> None:
    state = AurocState()
    state.update_without_mask(count_pixels(np.zeros((2, 2), bool), np.eye(2, dtype=np.uint8)))
    assert state.compute() is None
    assert state.undefined == "no query was answered with a mask"


def test_undefined_pixel_scores_are_none() -> None:
    assert set(PixelState().compute().values()) == {None}
    nothing_predicted = PixelState(fn=5, tn=5).compute()
    assert nothing_predicted == {"accuracy": 0.5, "precision": None, "recall": 0.0, "f1": 0.0}
    assert PixelState(tn=5).compute()["f1"] is None


def test_iou_state_is_mean_and_ratio() -> None:
    counts = [Counts(2, 2, 0, 9), Counts(0, 0, 0, 9), Counts(0, 3, 0, 9)]
    state = IouState()
    state.update(counts)
    assert state.compute() == {"gIoU": np.mean([iou(c) for c in counts]), "cIoU": 2 / 7}
    assert IouState().compute() == {"gIoU": None, "cIoU": None}


def test_found_is_the_share_of_queries_from_an_iou_on() -> None:
    counts = [Counts(5, 5, 0, 9), Counts(7, 0, 3, 9), Counts(9, 0, 1, 9), Counts(0, 0, 0, 9), Counts(0, 1, 4, 9)]
    state = FoundState()
    assert state.compute() == {"P@0.5": None, "P@0.7": None, "P@0.9": None}
    state.update(counts)  # exactly 0.5, 0.7 and 0.9, an empty target left empty, a miss
    assert state.compute() == {"P@0.5": 4 / 5, "P@0.7": 3 / 5, "P@0.9": 2 / 5}
    assert state.compute() == {f"P@{t}": np.mean([iou(c) >= t for c in counts]) for t in PRECISION_AT}


@pytest.mark.parametrize("wanted_share", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("predicted_share", [0.0, 0.3, 1.0])
def test_degenerate_masks_score_as_sklearn_says_or_not_at_all(wanted_share: float, predicted_share: float) -> None:
    """Where scikit-learn warns that a score is undefined and says 0, there is none; everywhere else they agree."""
    generator = np.random.default_rng(7)
    target = (generator.random((30, 40)) < wanted_share).astype(np.uint8)
    logits = np.where(generator.random(target.shape) < predicted_share, 2.0, -2.0)
    target[:3] = IGNORE
    pixels, auroc = PixelState(), AurocState()
    pixels.update(count_pixels(logits > 0, target))
    auroc.update(logits, target)
    wanted, scored = target[target != IGNORE], logits[target != IGNORE]
    predicted = (scored > 0).astype(np.uint8)
    some_wanted, some_predicted = bool(wanted.any()), bool(predicted.any())
    one_class = wanted.min() == wanted.max()
    expected = {
        "accuracy": accuracy_score(wanted, predicted),
        "precision": precision_score(wanted, predicted, zero_division=0) if some_predicted else None,
        "recall": recall_score(wanted, predicted, zero_division=0) if some_wanted else None,
        "f1": f1_score(wanted, predicted, zero_division=0) if some_wanted or some_predicted else None,
    }
    assert pixels.compute() == pytest.approx(expected, abs=1e-12)
    assert auroc.compute() == (None if one_class else pytest.approx(roc_auc_score(wanted, scored), abs=1e-12))


@pytest.mark.parametrize("spread", [0.001, 3.0, 1000.0, 1e6])
def test_auroc_is_that_of_sklearn_on_half_precision(spread: float) -> None:
    state, all_logits, all_targets = AurocState(), [], []
    for seed in range(3):
        logits, target = drawn(seed, spread=spread)
        state.update(logits, target)
        all_logits.append(logits[target != IGNORE])
        all_targets.append(target[target != IGNORE])
    with np.errstate(over="ignore"):
        rounded = np.concatenate(all_logits).astype(np.float16).astype(np.float64)
    rounded = np.clip(rounded, -1e5, 1e5)  # sklearn refuses infinities; beyond half precision the order is the same
    assert state.compute() == pytest.approx(roc_auc_score(np.concatenate(all_targets), rounded), abs=1e-12)


def test_auroc_with_ties_zeros_of_both_signs_and_infinities() -> None:
    state = AurocState()
    state.update(np.array([0.0, -0.0]), np.array([1, 0]))
    assert state.compute() == 0.5
    state = AurocState()
    state.update(np.array([np.inf, 1.0, -np.inf, -1.0]), np.array([1, 1, 0, 0]))
    assert state.compute() == 1.0
    state = AurocState()
    state.update(np.array([-1e30, -65000.0, 1e30]), np.array([1, 0, 0]))
    assert state.compute() == 0.0


def test_auroc_does_not_overflow() -> None:
    state = AurocState(scored=1)
    state.positives[0x3C00] = state.negatives[0x3C00] = 10**11  # logit 1.0
    state.positives[0x4000] = state.negatives[0xC000] = 10**11  # logits 2.0 and -2.0
    assert state.compute() == 0.875


def test_auroc_of_one_class_or_of_binary_masks_is_none_with_a_reason() -> None:
    state = AurocState()
    assert state.compute() is None
    state.update(np.array([1.0, 2.0]), np.array([0, IGNORE]))
    assert state.compute() is None
    assert "one class" in state.undefined
    state.update(np.array([1.0, 2.0]), np.array([0, 1]))
    assert state.compute() == 1.0
    assert state.undefined == ""
    state.update_binary()
    assert state.compute() is None
    assert "1 of 3" in state.undefined


def test_a_missing_mask_ranks_last() -> None:
    state = AurocState()
    state.update(np.array([1.0, -3.0]), np.array([1, 0]))
    state.update_without_mask(Counts(tp=0, fp=0, fn=1, tn=0))
    assert state.compute() == 0.5


def test_nan_logits_are_an_error() -> None:
    with pytest.raises(SegtuneError, match="NaN"):
        AurocState().update(np.array([1.0, np.nan]), np.array([0, 1]))


def test_states_merge_and_travel_as_json() -> None:
    whole, *parts = [(PixelState(), IouState(), AurocState(), FoundState()) for _ in range(3)]
    for seed in range(4):
        logits, target = drawn(seed)
        counts = count_pixels(logits > 0, target)
        for pixels, ious, auroc, found in (whole, parts[seed % 2]):
            pixels.update(counts)
            ious.update([counts])
            found.update([counts])
            auroc.update(logits, target)
    for together, first, second in zip(whole, *parts, strict=True):
        first.merge(type(second).from_dict(json.loads(json.dumps(second.to_dict()))))
        assert first.compute() == pytest.approx(together.compute(), abs=1e-15)
