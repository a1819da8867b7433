"""The scores file of dense segmentation: its shape, its numbers from scratch, its intervals, and bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, roc_auc_score

from segtune.core.errors import ConfigError, DataError, SegtuneError
from segtune.core.records import IGNORE
from segtune.metrics.boundary import BoundaryIouState
from segtune.metrics.dense import BinaryState
from segtune.metrics.dense_protocol import DenseScorer
from segtune.metrics.dense_scores import draw_images

CLASSES = ("background", "wound", "scar", "hair", "cloth")
C, FOREGROUND = len(CLASSES), (1, 2)
METRICS = ("mIoU", "accuracy", "f1_macro", "f1_micro", "f1_weighted", "boundary_mIoU", "boundary_mIoU_images")
MASK_METRICS = tuple(
    f"foreground_{name}"
    for name in (
        *("dice", "iou", "image_dice", "image_dice_nonempty", "accuracy", "precision", "recall"),
        *("boundary_iou", "boundary_iou_images"),
    )
)


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, predicted classes and logits of one image; every third has no foreground, `cloth` is never there."""
    generator = np.random.default_rng(seed)
    size = (20 + seed, 30)
    classes = [0, 3] if seed % 3 == 0 else [0, 1, 2, 3]
    labels = generator.choice(np.array(classes, np.uint8), size)
    prediction = np.where(generator.random(size) < 0.3 + 0.05 * (seed % 8), labels, generator.choice(4, size))
    logits = generator.normal(0, 2, size) + np.isin(labels, FOREGROUND)
    labels[generator.random(size) < 0.1] = IGNORE
    return labels, prediction.astype(np.uint8), logits.astype(np.float32)


def filled(seeds: range, **options) -> DenseScorer:
    scorer = DenseScorer(CLASSES, options.pop("binary", FOREGROUND), **options)
    for seed in seeds:
        labels, prediction, logits = drawn(seed)
        scorer.add(f"image{seed:02}", labels, predicted_classes=prediction, binary_logits=logits)
    return scorer


def result(scorer: DenseScorer, **options) -> dict:
    return scorer.result(data="photos", split="val", **options)


def pooled(seeds: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, prediction and logits of all counted pixels."""
    parts = [[values[labels != IGNORE] for values in (labels, *rest)] for labels, *rest in map(drawn, seeds)]
    truth, prediction, logits = (np.concatenate(values) for values in zip(*parts, strict=True))
    return truth, prediction, logits


def test_the_shape_of_the_scores_file() -> None:
    scores = result(filled(range(9)), frequent_class=3, skipped=2, deviations=["first_9_images"], mode="tta")
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    assert list(scores) == [
        *["protocol", "data", "split", "mode", "classes", "binary_classes", "counts", "metrics", "by_class"],
        *["confusion", "ci95", "baselines", "deviations", "undefined"],
    ]
    assert (scores["protocol"], scores["mode"]) == ("segtune-dense-1", "tta")
    assert (scores["classes"], scores["binary_classes"]) == (list(CLASSES), ["wound", "scar"])
    labels = [drawn(seed)[0] for seed in range(9)]
    assert scores["counts"] == {
        "images": 9, "pixels": sum(one.size for one in labels),
        "ignored_pixels": sum(int((one == IGNORE).sum()) for one in labels), "without_foreground": 3, "skipped": 2,
    }  # fmt: skip
    assert list(scores["metrics"]) == [*METRICS, *MASK_METRICS, "foreground_auroc"]
    assert list(scores["ci95"]) == [*METRICS, *MASK_METRICS]
    assert list(scores["by_class"]) == list(CLASSES)
    assert list(scores["baselines"]) == ["most_frequent_class", "everything", "nothing"]
    assert scores["deviations"] == ["first_9_images"]
    assert scores["undefined"] == {}
    for name, (low, high) in scores["ci95"].items():
        assert 0 <= low <= scores["metrics"][name] <= high <= 1, name


def test_metrics_are_those_of_sklearn() -> None:
    truth, prediction, logits = pooled(list(range(9)))
    wanted = np.isin(truth, FOREGROUND)
    expected = {
        "mIoU": jaccard_score(truth, prediction, average="macro"),
        "accuracy": accuracy_score(truth, prediction),
        "f1_weighted": f1_score(truth, prediction, average="weighted"),
        "foreground_dice": f1_score(wanted, logits > 0),
        "foreground_iou": jaccard_score(wanted, logits > 0),
        "foreground_accuracy": accuracy_score(wanted, logits > 0),
        "foreground_auroc": roc_auc_score(wanted, logits.astype(np.float16)),
    }
    scores = result(filled(range(9)))
    assert {name: scores["metrics"][name] for name in expected} == pytest.approx(expected, abs=1e-12)
    confusion = np.zeros((C, C), int)
    np.add.at(confusion, (truth, prediction), 1)
    assert scores["confusion"] == confusion.tolist()


def test_the_file_says_the_same_as_the_running_states() -> None:
    binary, boundary, edge = BinaryState(), BoundaryIouState(C), BoundaryIouState(2)
    for labels, prediction, logits in map(drawn, range(9)):
        target = np.where(labels == IGNORE, IGNORE, np.isin(labels, FOREGROUND)).astype(np.uint8)
        binary.update(logits > 0, target, logits)
        boundary.update(prediction, labels)
        edge.update((logits > 0).astype(np.uint8), target)
    scores = result(filled(range(9)))
    expected = {f"foreground_{name}": value for name, value in binary.compute().items()} | boundary.compute()
    expected |= {f"foreground_{name}": value for name, value in edge.by_class()[1].items()}
    assert {name: scores["metrics"][name] for name in expected} == pytest.approx(expected)
    for name, row in zip(CLASSES, boundary.by_class(), strict=True):
        assert {key: scores["by_class"][name][key] for key in row} == pytest.approx(row)


def test_a_class_that_is_nowhere_has_no_score_and_leaves_the_means() -> None:
    scores = result(filled(range(9)))
    nowhere = scores["by_class"]["cloth"]
    assert {key for key, value in nowhere.items() if value is None} == {
        *("iou", "dice", "precision", "recall", "boundary_iou", "boundary_iou_images")
    }
    assert (nowhere["truth"], nowhere["predicted"], nowhere["images"], nowhere["ci95"]) == (0, 0, 0, {"iou": None})
    known = [scores["by_class"][name] for name in CLASSES[:4]]
    assert scores["metrics"]["mIoU"] == pytest.approx(np.mean([row["iou"] for row in known]))
    assert [row["images"] for row in known] == [9, 6, 6, 9]
    low, high = known[1]["ci95"]["iou"]
    assert low < known[1]["iou"] < high


def test_intervals_are_those_of_drawing_images_again_and_again() -> None:
    """A hundred of the draws, each as a split of its own, image by image."""
    rows, ids = draw_images(6)[:100], range(6)
    values = {"mIoU": [], "foreground_image_dice": [], "foreground_image_dice_nonempty": []}
    for times in rows:
        scorer = DenseScorer(CLASSES, FOREGROUND)
        for index, seed in enumerate(np.repeat(ids, times.astype(int))):
            labels, prediction, logits = drawn(int(seed))
            scorer.add(str(index), labels, predicted_classes=prediction, binary_logits=logits)
        metrics = result_metrics(scorer)
        for name, column in values.items():
            column.append(np.nan if metrics[name] is None else metrics[name])
    scorer = filled(range(6))
    drawn_scores = scorer._scores(rows)
    for name, column in values.items():
        np.testing.assert_allclose(drawn_scores[name], column, err_msg=name)


def result_metrics(scorer: DenseScorer) -> dict:
    return {name: float(value) for name, value in scorer._scores(np.ones(len(scorer))).items()}


def test_draws_are_of_as_many_images_as_there_are() -> None:
    times = draw_images(7)
    assert times.shape == (1000, 7)
    assert set(times.sum(1)) == {7.0}
    assert abs(times.mean() - 1) < 1e-12
    np.testing.assert_array_equal(times, draw_images(7))
    assert not np.array_equal(times, draw_images(7, seed=1))


def test_neither_order_nor_processes_change_a_number() -> None:
    whole, first, second = filled(range(9)), filled(range(8, 3, -1)), filled(range(4))
    second = DenseScorer.from_dict(json.loads(json.dumps(second.to_dict())))
    first.merge(second)
    assert result(first, frequent_class=0) == result(whole, frequent_class=0)
    first.merge(DenseScorer(CLASSES, FOREGROUND))  # a process without images
    assert result(first, frequent_class=0) == result(whole, frequent_class=0)


def test_baselines_are_scored_on_the_same_images() -> None:
    truth, _, _ = pooled(list(range(9)))
    wanted = np.isin(truth, FOREGROUND)
    baselines = result(filled(range(9)), frequent_class=3)["baselines"]
    frequent = baselines["most_frequent_class"]
    always = np.full_like(truth, 3)
    assert frequent["class"] == "hair"
    assert frequent["mIoU"] == pytest.approx(jaccard_score(truth, always, average="macro"))
    assert frequent["accuracy"] == pytest.approx(accuracy_score(truth, always))
    assert baselines["everything"]["foreground_dice"] == pytest.approx(f1_score(wanted, np.ones_like(wanted)))
    assert baselines["everything"]["foreground_recall"] == 1
    nothing = baselines["nothing"]
    assert (nothing["foreground_dice"], nothing["foreground_image_dice_nonempty"]) == (0, 0)
    assert nothing["foreground_image_dice"] == pytest.approx(3 / 9), "three images have no foreground"
    assert nothing["foreground_precision"] is None
    scorer = DenseScorer(CLASSES, FOREGROUND)
    for seed in range(9):
        labels = drawn(seed)[0]
        scorer.add(str(seed), labels, predicted_classes=np.full_like(labels, 3), binary_mask=np.ones_like(labels))
    model = result(scorer)["metrics"]
    for row in (frequent, baselines["everything"]):
        assert {name: model[name] for name in row if name != "class"} == pytest.approx(
            {name: value for name, value in row.items() if name != "class"}
        )
    assert "most_frequent_class" not in result(filled(range(2)))["baselines"]


def test_classes_alone_and_a_mask_alone() -> None:
    classes = DenseScorer(CLASSES)
    mask = DenseScorer(CLASSES, FOREGROUND, multiclass=False)
    for seed in range(4):
        labels, prediction, logits = drawn(seed)
        classes.add(str(seed), labels, predicted_classes=prediction)
        mask.add(str(seed), labels, binary_mask=logits > 0)
    assert list(result(classes)["metrics"]) == list(METRICS)
    assert "without_foreground" not in result(classes)["counts"]
    scores = result(mask)
    assert list(scores["metrics"]) == [*MASK_METRICS, "foreground_auroc"]
    assert (scores["by_class"], scores["confusion"]) == ({}, [])
    assert scores["undefined"] == {"foreground_auroc": "4 of 4 predicted masks came without logits"}


def test_a_split_without_images_has_no_scores() -> None:
    scores = result(DenseScorer(CLASSES, FOREGROUND), frequent_class=0)
    json.dumps(scores, allow_nan=False)
    assert set(scores["metrics"].values()) == {None} == set(scores["ci95"].values())
    assert set(scores["undefined"]) == set(scores["metrics"])


def test_everything_ignored_and_one_class() -> None:
    ignored, one = DenseScorer(CLASSES, FOREGROUND), DenseScorer(CLASSES, FOREGROUND)
    empty = np.zeros((4, 5), np.uint8)
    ignored.add("a", np.full((4, 5), IGNORE, np.uint8), predicted_classes=empty, binary_mask=empty)
    one.add("a", empty, predicted_classes=empty, binary_mask=empty)
    assert result(ignored)["counts"]["ignored_pixels"] == result(ignored)["counts"]["pixels"] == 20
    defined = {name: value for name, value in result(ignored)["metrics"].items() if value is not None}
    assert defined == {"foreground_image_dice": 1.0}, "nothing wanted and nothing predicted"
    assert result(one)["metrics"]["mIoU"] == 1.0
    assert result(one)["metrics"]["foreground_dice"] is None
    assert result(one)["ci95"]["mIoU"] == [1.0, 1.0]


def test_scores_of_single_images() -> None:
    scores = filled(range(3)).image_scores()
    assert list(scores) == ["image00", "image01", "image02"]
    alone = result(filled(range(1, 2)))["metrics"]
    assert scores["image01"] == pytest.approx(
        {"mIoU": alone["mIoU"], "foreground_dice": alone["foreground_image_dice"]}
    )


FULL = {"labels": np.zeros((4, 5), np.uint8), "predicted_classes": np.zeros((4, 5), np.uint8)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"predicted_classes": None}, "no predicted classes"),
        ({"predicted_classes": np.zeros((5, 4), np.uint8)}, r"expected: \[4, 5\] \(height, width\)\n  found: \[5, 4\]"),
        ({"predicted_classes": np.full((4, 5), 9)}, "a predicted value is no class\n  expected: 0 to 4"),
        ({"predicted_classes": np.full((4, 5), IGNORE)}, "a predicted value is no class"),
        ({"labels": np.full((4, 5), 7, np.uint8)}, "a label value is no class"),
        ({"binary_mask": None}, "no predicted binary mask"),
        ({"binary_mask": np.zeros((4, 6))}, "a predicted binary mask does not fit its image"),
    ],
)
def test_predictions_that_do_not_fit_are_told_with_the_image(changes, message) -> None:
    scorer = filled(range(2))
    before = result(scorer)
    values = {**FULL, "binary_mask": np.zeros((4, 5)), **changes}
    with pytest.raises(DataError, match=message) as error:
        scorer.add("bad/one", values.pop("labels"), **values)
    assert error.value.where == "bad/one"
    assert result(scorer) == before, "nothing of a refused image is kept"


def test_a_logit_that_is_no_number_is_told_and_not_kept() -> None:
    scorer = filled(range(2))
    before = result(scorer)
    with pytest.raises(SegtuneError, match="NaN"):
        scorer.add("bad", FULL["labels"], predicted_classes=FULL["labels"], binary_logits=np.full((4, 5), np.nan))
    assert result(scorer) == before


def test_no_image_counts_twice() -> None:
    scorer = filled(range(2))
    labels, prediction, logits = drawn(0)
    with pytest.raises(DataError, match="scored twice"):
        scorer.add("image00", labels, predicted_classes=prediction, binary_logits=logits)
    before = result(scorer)
    with pytest.raises(DataError, match="scored twice"):
        scorer.merge(filled(range(1, 4)))
    assert result(scorer) == before
    with pytest.raises(ConfigError, match="different classes"):
        scorer.merge(DenseScorer(CLASSES))


@pytest.mark.parametrize(
    "arguments",
    [
        {"classes": CLASSES, "multiclass": False},
        {"classes": ()},
        {"classes": tuple(map(str, range(255)))},
        {"classes": CLASSES, "binary": (5,)},
        {"classes": CLASSES, "binary": ()},
    ],
)
def test_scorers_of_nothing_are_refused(arguments) -> None:
    with pytest.raises(ConfigError):
        DenseScorer(**arguments)
