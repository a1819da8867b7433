"""Scores of a model on a split against scikit-learn, shared work, and the files beside the scores."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score, jaccard_score
from tests.data.dense.labelled import Drawn
from tests.engine.dense_toys import CLASSES, Toy, transform

from segtune.core.errors import DataError
from segtune.core.files import read_json, read_jsonl
from segtune.core.records import IGNORE
from segtune.data.dense.loader import DenseScoringLoader
from segtune.engine import dense_evaluator
from segtune.engine.dense_config import DenseEvalConfig, TtaConfig
from segtune.engine.dense_evaluator import evaluate_dense, write_dense_evaluation, write_dense_pictures
from segtune.engine.dense_inference import segment
from segtune.metrics.dense_predictions import PredictedImage

COUNT = 5
CONFIGS = {
    "plain": DenseEvalConfig(batch_size=2),
    "mirrored": DenseEvalConfig(batch_size=2, tta=TtaConfig(flip=True)),
    "windows": DenseEvalConfig(batch_size=2, window=(20, 30), tta=TtaConfig(scales=(1.0, 1.5))),
}


def _evaluate(model=None, config=CONFIGS["plain"], source=None, **options):
    source = Drawn(COUNT) if source is None else source
    model = Toy() if model is None else model
    loader = DenseScoringLoader(source, transform(), batch_size=config.batch_size)
    binary = None if model.binary_head is None else model.binary_indices
    return evaluate_dense(model, loader, transform(), config, CLASSES, binary, **options)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_scores_are_those_of_single_answers_by_sklearn(config) -> None:
    model, source, told = Toy(), Drawn(COUNT), []
    evaluation = _evaluate(model, config, progress=lambda done, total: told.append((done, total)))
    truth, found, foreground = [], [], []
    model.eval()
    for index in range(COUNT):
        item = source.item(index)
        answer, kept = segment(model, transform(), item.image, config), item.labels != IGNORE
        truth.append(item.labels[kept])
        found.append(answer.labels[kept])
        foreground.append(answer.binary_logits[kept] > 0)
    t, p, m = map(np.concatenate, (truth, found, foreground))
    metrics = evaluation.scorer.result(data="drawn", split="val")["metrics"]
    expected = {
        "mIoU": jaccard_score(t, p, average="macro"), "accuracy": accuracy_score(t, p),
        "f1_macro": f1_score(t, p, average="macro"), "foreground_dice": f1_score(t == 1, m),
        "foreground_iou": jaccard_score(t == 1, m),
    }  # fmt: skip
    assert 0.2 < expected["mIoU"] < 1
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, abs=1e-3)
    assert told == [(2, 5), (4, 5), (5, 5)]
    assert evaluation.seconds > 0


def test_predictions_stand_in_the_order_of_the_split_and_give_the_same_scores_again(tmp_path) -> None:
    evaluation, source = _evaluate(), Drawn(COUNT)
    write_dense_evaluation(evaluation, tmp_path / "predictions" / "p.jsonl")
    rows = read_jsonl(tmp_path / "predictions" / "p.jsonl")
    assert [row["id"] for row in rows] == [source.item_id(index) for index in range(COUNT)]
    again = type(evaluation.scorer)(CLASSES, (1,))
    for index, row in enumerate(rows):
        read = PredictedImage(row["id"], tuple(row["size"]), row["classes"], row["mask"])
        labels = source.item(index).labels
        again.add(row["id"], labels, predicted_classes=read.labels(CLASSES), binary_mask=read.foreground())
    one, other = (scorer.result(data="d", split="s") for scorer in (evaluation.scorer, again))
    assert one["confusion"] == other["confusion"]
    assert one["metrics"]["foreground_dice"] == other["metrics"]["foreground_dice"]
    assert _evaluate(keep_predictions=False).predictions == []


def test_processes_share_the_images_and_get_the_whole(monkeypatch) -> None:
    alone = _evaluate()
    shares = []
    for rank in range(2):
        monkeypatch.setattr(dense_evaluator, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(dense_evaluator, "world", lambda: 2)
        monkeypatch.setattr(dense_evaluator, "gather", lambda value: shares.append(value) or [value])
        _evaluate()
    assert [len(scorer) for scorer, _, _ in shares] == [3, 2]
    monkeypatch.setattr(dense_evaluator, "gather", lambda value: list(shares))
    whole = dense_evaluator._whole(*shares[0])
    assert whole.predictions == alone.predictions
    results = [one.scorer.result(data="d", split="s") for one in (whole, alone)]
    assert results[0] == results[1]


def test_the_modes_of_a_model_are_as_before() -> None:
    for training in (True, False):
        model = Toy().train(training)
        _evaluate(model)
        assert model.training == training


@pytest.mark.parametrize(
    ("heads", "rows"), [({}, 2), ({"binary": False}, 1), ({"multiclass": False}, 1)], ids=["both", "classes", "binary"]
)
def test_pictures_of_best_median_and_worst(heads, rows, tmp_path) -> None:
    model, source = Toy(**heads), Drawn(COUNT)
    evaluation = _evaluate(model)
    (tmp_path / "best-9_old.png").write_text("of an earlier evaluation")
    write_dense_pictures(tmp_path, 3, evaluation, source)
    listed = read_json(tmp_path / "index.json")["pictures"]
    assert [row["rank"] for row in listed] == ["best", "median", "worst"]
    scores = evaluation.scorer.image_scores()
    if model.class_head is not None:
        ious = {item_id: row["mIoU"] for item_id, row in scores.items()}
    else:
        ious = {item_id: row["foreground_dice"] / (2 - row["foreground_dice"]) for item_id, row in scores.items()}
    assert listed[0]["iou"] == max(ious.values())
    assert listed[-1]["iou"] == min(ious.values())
    for row in listed:
        assert {"file", "rank", "iou", "query", "answer"} <= row.keys()  # what a report asks for
        assert ious[row["id"]] == row["iou"]
        picture = Image.open(tmp_path / row["file"])
        height = source.item(int(row["id"][1:])).image.shape[0]
        assert picture.width == 3 * 48
        assert rows * (height + 20) < picture.height < rows * (height + 170)
    assert {path.name for path in tmp_path.glob("*.png")} == {row["file"] for row in listed}
    write_dense_pictures(tmp_path / "none", 0, evaluation, source)
    assert not (tmp_path / "none").exists()


def test_right_silence_is_shown_only_where_there_is_nothing_else(tmp_path) -> None:
    class Half(Drawn):
        """The even images have no foreground."""

        def item(self, index, epoch=0):
            item = super().item(index, epoch)
            if index % 2 == 0:
                item.labels[item.labels == 1] = 0
                item.image[:] = 250  # a colour that is no foreground
            return item

    source = Half(COUNT)
    evaluation = _evaluate(Toy(multiclass=False), source=source)
    assert evaluation.scorer.image_scores()["i0"]["foreground_dice"] == 1
    write_dense_pictures(tmp_path, 9, evaluation, source)
    assert {row["id"] for row in read_json(tmp_path / "index.json")["pictures"]} == {"i1", "i3"}


def test_a_label_that_is_no_class_is_told_by_its_image() -> None:
    class Wrong(Drawn):
        def item(self, index, epoch=0):
            item = super().item(index, epoch)
            item.labels[5, 5] = 7
            return item

    with pytest.raises(DataError, match=r"i0: a label value is no class(.|\n)*found: 7"):
        _evaluate(source=Wrong(1))
