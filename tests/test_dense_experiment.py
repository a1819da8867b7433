"""Whole runs of dense segmentation in this process, of a second or two each: stages, resume, heads, files."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from tests.float64 import TOLERANCE, use_float64
from tests.interrupting import checkpoint_names, history_without_times, interrupted
from tests.photos import CLASSES, SIZE, write_photos

import segtune
from segtune import experiment
from segtune.config import DenseExperimentConfig, load_recipe
from segtune.core.errors import CheckpointError, ConfigError, DataError, Interrupted
from segtune.core.files import read_json, read_jsonl
from segtune.engine import loop
from segtune.engine.checkpoint import load_training, open_checkpoint
from segtune.engine.dense_loading import load_dense_model
from segtune.experiment import dense
from segtune.experiment import run as course
from segtune.losses.dense import DenseObjective
from segtune.reports.page import write_report

TENSORS = "trained.safetensors"
STEPS = 2  # of an epoch: eight images, two at a time, two micro-batches


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `photos` in it, in which all of these run."""
    place = tmp_path_factory.mktemp("dense")
    write_photos(place / "photos")
    return place


@pytest.fixture(autouse=True)
def _place(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, without an accelerator, and without reports: a figure takes longer than a run."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr(course, "write_report", lambda path: None)


def config(name: str, *settings: str) -> DenseExperimentConfig:
    """A run of two epochs over eight images."""
    found = load_recipe("shapes", [
        "data.train=masks:photos@train", "data.val=masks:photos@val", "data.class_weights=none",
        f"model={{encoder: segtune/tiny-cnn, width: 16, image_size: {list(SIZE)}}}",
        "train={epochs: 2, batch_size: 2, accumulate: 2, log_every: 1}", "optim={lr: 5e-3, warmup_steps: 2}",
        "eval={final: false, batch_size: 2, overlays: 2}", f"run={{name: {name}, threads: 1}}", *settings,
    ])  # fmt: skip
    assert isinstance(found, DenseExperimentConfig)
    return found


def _trained(place: Path, name: str, *settings: str, report: bool = False) -> Path:
    """A run for a fixture of the module, which has no `_place` yet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        if not report:
            patch.setattr(course, "write_report", lambda path: None)
        patch.setenv("ACCELERATE_USE_CPU", "true")
        return experiment.train(config(name, *settings)).path.absolute()


def _weights(run: Path, name: str, file: str = TENSORS) -> dict[str, np.ndarray]:
    return load_file(run / "checkpoints" / name / file)


def assert_same_run(run: Path, other: Path) -> None:
    """Bit-equal checkpoints, optimiser and averages, equal rows, and states that would go on alike."""
    names = checkpoint_names(other)
    assert names == checkpoint_names(run)
    for name in names:
        files = sorted(path.name for path in (other / "checkpoints" / name).glob("*.safetensors"))
        for file in files:
            ours, theirs = _weights(run, name, file), _weights(other, name, file)
            assert ours.keys() == theirs.keys()
            assert all(np.array_equal(ours[key], theirs[key]) for key in ours), f"{name}/{file}"
    assert history_without_times(run) == history_without_times(other)
    assert read_jsonl(run / "metrics.jsonl") == read_jsonl(other / "metrics.jsonl")
    states = [load_training(open_checkpoint(one / "checkpoints/last"))[1] for one in (run, other)]
    assert states[0] == states[1]


# --- a step that is skipped


def test_a_batch_that_is_not_finite_is_counted_and_spoils_nothing(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    own, made = loop.train_step, 0

    def step(model, window, *arguments, **named):
        nonlocal made
        made += 1
        if made == 2:
            window[0].pixels[0, 0, 3, 3] = float("nan")
        return own(model, window, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", step)
        run = experiment.train(config("skipped", "model.norm=batch")).path
    assert [name for name, values in _weights(run, "last").items() if not np.isfinite(values).all()] == []
    rows = history_without_times(run)
    assert [row["skipped_steps"] for row in rows["train"]] == [1, 0]
    assert all(row["val_loss"] is not None for row in rows["val"])
    assert all(row[key] is not None for row in rows["train"] for key in ("loss", "mIoU", "accuracy"))
    assert [row["step"] for row in read_jsonl(run / "metrics.jsonl") if row.get("skipped")] == [2]
    assert "1 of 2 steps of this epoch were skipped" in capsys.readouterr().out


# --- files


FILES = {
    "README.md", "checkpoints/best/manifest.json", "checkpoints/last/manifest.json", "config.yaml", "data.json",
    "environment.json", "eval_photos_val_dense.json", "metrics.jsonl", "metrics_epoch_1.json", "metrics_epoch_2.json",
    "parameters.json", "predictions/photos_val_dense.jsonl", "predictions/photos_val_dense/index.json", "report.html",
    "training_history.json", "training_history.png",
}  # fmt: skip
MEASURED = {"mIoU", "accuracy", "f1_macro", "f1_micro", "f1_weighted"}
FOREGROUND = {
    f"foreground_{name}"
    for name in ("dice", "iou", "image_dice", "image_dice_nonempty", "accuracy", "precision", "recall", "auroc")
}


@pytest.fixture(scope="module")
def both(place: Path) -> Path:
    """A run of both heads to its end; only read it."""
    return _trained(place, "both", "model.binary_classes=[red, green]", "eval.final=true", report=True)


def test_a_run_leaves_every_file(both: Path) -> None:
    assert {name for name in FILES if not (both / name).is_file()} == set()
    assert [path.name for path in both.rglob(".*") if path.name != ".lock"] == []
    assert list((both / "predictions/photos_val_dense").glob("*.png"))
    facts = read_json(both / "data.json")
    assert facts["train"]["classes"] == list(CLASSES)
    assert facts["train"]["counts"]["classes"]["red"]["images"] == 8
    table = read_json(both / "parameters.json")
    assert set(table["components"]) == {"encoder", "decoder", "class_head", "binary_head"}
    assert table["trainable"] == table["total"] == sum(
        tensor.size for name, tensor in _weights(both, "last").items() if "running" not in name and "num_b" not in name
    )  # fmt: skip


def test_the_history_has_the_keys_of_both_heads(both: Path) -> None:
    rows = history_without_times(both)
    terms = {"loss", "ce", "dice", "binary_bce", "binary_dice"}
    assert set(rows["train"][0]) == {"epoch", "lr", "memory_kind", "skipped_steps", *terms, *MEASURED, *FOREGROUND}
    assert set(rows["val"][0]) == {"epoch", *(f"val_{name}" for name in terms | MEASURED | FOREGROUND)}
    assert rows["train"][1]["loss"] < rows["train"][0]["loss"]
    best = open_checkpoint(both / "checkpoints/best").about
    assert best["metrics"]["val_mIoU"] == max(row["val_mIoU"] for row in rows["val"])


def test_validation_while_training_is_the_score_of_its_checkpoint(both: Path) -> None:
    """Where the photographs have the size that the model sees, model pixels are original ones."""
    scores = read_json(both / "eval_photos_val_dense.json")["metrics"]
    values = open_checkpoint(both / "checkpoints/best").about["metrics"]
    for name in (*MEASURED, "foreground_dice", "foreground_iou"):
        assert scores[name] == pytest.approx(values[f"val_{name}"], abs=1e-3), name


def test_evaluate_and_predict_by_the_name_of_a_run(both: Path, tmp_path: Path) -> None:
    (document,) = segtune.evaluate(str(both), "masks:photos@val", out=tmp_path, batch_size=2)
    written = read_json(both / "eval_photos_val_dense.json")
    assert {k: v for k, v in document.items() if k != "inference"} == {
        k: v for k, v in written.items() if k != "inference"
    }
    rows = {row["id"]: row for row in read_jsonl(tmp_path / "predictions/photos_val_dense.jsonl")}
    assert rows == {row["id"]: row for row in read_jsonl(both / "predictions/photos_val_dense.jsonl")}
    prediction = segtune.DensePredictor.from_pretrained(both).predict("photos/val/images/val1.png")
    assert prediction.labels is not None
    assert prediction.mask is not None
    assert prediction.classes == CLASSES
    # of a checkpoint alone nobody knows what it was trained on: the data that are scored are no baseline
    copied = shutil.copytree(both / "checkpoints/best", tmp_path / "copied")
    for model, known in ((both / "checkpoints/best", True), (copied, False)):
        (alone,) = segtune.evaluate(str(model), "masks:photos@val", out=tmp_path / "alone")
        assert ("most_frequent_class" in alone["baselines"]) == known
        assert alone["metrics"] == document["metrics"]
    assert "most_frequent_class" in document["baselines"]


@pytest.mark.parametrize("head", ["binary", "classes"])
def test_one_head_alone(head: str) -> None:
    binary = ("model.multiclass=false", "model.binary_classes=[red]", "train.best=val_foreground_dice")
    run = experiment.train(config(f"only-{head}", "eval.final=true", *(binary if head == "binary" else ()))).path
    row = history_without_times(run)["val"][-1]
    assert ("val_mIoU" in row) == ("val_ce" in row) == (head == "classes")
    assert ("val_foreground_dice" in row) == ("val_binary_bce" in row) == (head == "binary")
    metrics = read_json(run / "eval_photos_val_dense.json")["metrics"]
    assert ("mIoU" in metrics) == (head == "classes")
    if head == "binary":
        assert write_report(run)


def test_weights_of_classes_reach_the_loss(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    made = []

    class Watched(DenseObjective):
        def __init__(self, *arguments, **named) -> None:
            made.append(named["class_weights"])
            super().__init__(*arguments, **named)

    monkeypatch.setattr(dense, "DenseObjective", Watched)
    settings = ("data.class_weights=inverse", "data.weight_range=[2, 6]", "train.epochs=1")
    run = experiment.train(config("weighted", *settings)).path
    pixels = {k: v["pixels"] for k, v in read_json(run / "data.json")["train"]["counts"]["classes"].items()}
    assert pixels["green"] < pixels["red"] < pixels["background"]
    assert made[0].tolist() == [1, 2, 6]  # background, the commonest, the rarest
    assert "weight" in capsys.readouterr().out
    plain = experiment.train(config("unweighted", "train.epochs=1")).path
    losses = [read_jsonl(one / "metrics.jsonl")[0]["ce"] for one in (run, plain)]
    assert losses[0] != losses[1]


# --- stages


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict, dict]]:
    """All weights and buffers before and after each stage that is trained."""
    seen: list[tuple[dict, dict]] = []

    class Watched(loop.Trainer):
        def fit(self) -> loop.History:
            before = _copied(self.model)
            history = super().fit()
            seen.append((before, _copied(self.model)))
            return history

    monkeypatch.setattr(course, "Trainer", Watched)
    return seen


def _copied(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def _moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if name.startswith("encoder.") and not torch.equal(before[name], after[name])}


PROGRESSIVE = (
    "train.epochs=3", "train.accumulate=1",
    "train.stages=[{epochs: 1, unfreeze: 0}, {epochs: 1, unfreeze: 2, lr_factor: 0.3, optim: {warmup_steps: 0}},"
    " {unfreeze: all, lr_factor: 0.05}]",
)  # fmt: skip
LAST_TWO = {
    "segtune/tiny-cnn": ("encoder.backbone.encoder.stages.2.", "encoder.backbone.encoder.stages.3."),
    "segtune/tiny-vit": (
        "encoder.backbone.encoder.layer.6.", "encoder.backbone.encoder.layer.7.", "encoder.backbone.layernorm.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("encoder", LAST_TWO)
def test_a_stage_moves_exactly_the_blocks_that_it_declares(encoder: str, states: list) -> None:
    name = f"progressive-{encoder[-3:]}"
    run = experiment.train(config(name, *PROGRESSIVE, f"model.encoder={encoder}")).path
    assert len(states) == 3
    assert _moved(*states[0]) == set()
    allowed = {name for name in states[1][0] if name.startswith(LAST_TWO[encoder])}
    assert any("running_mean" in name for name in allowed) == ("cnn" in encoder)
    assert _moved(*states[1]) == allowed
    assert _moved(*states[2]) > allowed
    for one, following in itertools.pairwise(states):  # nothing happens between two stages
        assert all(torch.equal(one[1][name], following[0][name]) for name in one[1])
    tables = [read_json(run / f"parameters_stage_{stage}.json")["components"]["encoder"] for stage in (1, 2, 3)]
    assert [row["trainable"] for row in tables] == [
        0, sum(states[1][0][name].numel() for name in allowed if "running" not in name and "num_b" not in name),
        tables[0]["total"],
    ]  # fmt: skip
    for stage, (_, after) in enumerate(states, start=1):  # one epoch each, so the best is the newest
        loaded = load_dense_model(f"{run}@stage-{stage}-best").model.state_dict()
        assert all(torch.equal(loaded[name], after[name]) for name in after)


def test_a_stage_that_unfreezes_too_much_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """What trains is asserted at the boundary itself, whoever declared it."""
    monkeypatch.setattr(dense, "unfreeze", lambda model, blocks: model.requires_grad_(True))
    with pytest.raises(AssertionError, match=r"declared: blocks=0; of another requires_grad: encoder\."):
        experiment.train(config("too-much", *PROGRESSIVE))


def test_the_optimiser_of_a_stage_is_new_and_over_exactly_what_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    original, seen = course.build_optimizer, []

    def watching(model, *arguments):
        optimizer = original(model, *arguments)
        held = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
        trains = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
        seen.append((len(held) == len(set(held)), set(held) == trains, len(trains), len(optimizer.state)))
        return optimizer

    monkeypatch.setattr(course, "build_optimizer", watching)
    experiment.train(config("optimisers", *PROGRESSIVE))
    assert [(once, exact, moments) for once, exact, _, moments in seen] == [(True, True, 0)] * 3
    counts = [count for _, _, count, _ in seen]
    assert counts == sorted(set(counts))


def test_an_encoder_with_files_of_its_own_stays_as_they_are(states: list, tmp_path: Path) -> None:
    exported = experiment.train(config("exporting", "train.epochs=1", f"run.export={tmp_path / 'encoder'}")).path
    name, stages = "from-files", "[{epochs: 1, unfreeze: 0}, {epochs: 1, unfreeze: 1}]"
    settings = (f"model.encoder={tmp_path / 'encoder'}", f"train.stages={stages}")
    run = experiment.train(config(name, *settings)).path
    best = load_dense_model(str(exported)).model.state_dict()
    assert all(torch.equal(states[1][0][key], value) for key, value in best.items() if key.startswith("encoder."))
    assert _moved(*states[1]) == set()
    assert _moved(*states[2]) == {key for key in best if key.startswith("encoder.backbone.encoder.stages.3.")}
    saved = {key for key in _weights(run, "last") if key.startswith("encoder.")}
    assert saved == _moved(*states[2])
    loaded = load_dense_model(f"{run}@stage-1-best").model.state_dict()
    assert all(torch.equal(loaded[key], states[1][1][key]) for key in loaded)
    (document,) = experiment.evaluate(f"{run}@stage-1-best", "masks:photos@val")
    assert read_json(run / "evaluations/stage-1-best/eval_photos_val_dense.json") == document


# Everything that has a state of its own. No gain reaches 0.6, so the second stage is stopped after three of its epochs,
# by when a plateau has lowered its rate twice.
WATCHING = (
    "train.epochs=9", "train.ema=0.9", "train.keep=2", "data.balanced=true", "model.dropout=0.2",
    "data.augment={flip: 0.5, zoom: [0.8, 1.3], rotate: 10, color: 0.2}", "model.binary_classes=[green]",
    "train.early_stopping={metric: val_accuracy, patience: 2, min_gain: 0.6}",
    "train.stages=[{epochs: 1, unfreeze: 0}, {epochs: 6, unfreeze: 2, lr_factor: 0.5, optim: {schedule: plateau,"
    " plateau_metric: val_loss, plateau_patience: 1, warmup_steps: 0}},"
    " {unfreeze: all, lr_factor: 0.1, optim: {schedule: restarts, period: 2, burn_in_steps: 1, warmup_steps: 0}}]",
)  # fmt: skip


@pytest.fixture(scope="module")
def watched(place: Path) -> Path:
    """An uninterrupted run with all that has a state; only read it."""
    return _trained(place, "straight", *WATCHING)


def test_early_stopping_ends_a_stage_and_the_next_one_begins(watched: Path) -> None:
    rows = history_without_times(watched)["train"]
    assert [row["stage"] for row in rows] == [1, 2, 2, 2, 3, 3]
    kept = checkpoint_names(watched)
    assert kept == [
        "best", "epoch-0005", "epoch-0006", "last", "stage-1-best", "stage-2-best", "stage-3-best",
    ]  # fmt: skip
    values = {row["epoch"]: row["val_mIoU"] for row in history_without_times(watched)["val"]}
    for stage, epochs in ((1, [1]), (2, [2, 3, 4]), (3, [5, 6])):
        about = open_checkpoint(watched / f"checkpoints/stage-{stage}-best").about
        assert about["metrics"]["val_mIoU"] == max(values[epoch] for epoch in epochs)
    state = load_training(open_checkpoint(watched / "checkpoints/last"))[1]
    assert (state["stage"], state["epoch"], state["step"]) == (3, 6, 6 * STEPS)


def test_each_stage_has_its_own_rate_schedule_and_plateau(watched: Path) -> None:
    rates = [row["lr"] for row in read_jsonl(watched / "metrics.jsonl")]
    assert rates[:2] == pytest.approx([2.5e-3, 5e-3])  # a warm-up of two steps
    losses = [row["val_loss"] for row in history_without_times(watched)["val"]]
    rate, best = 2.5e-3, float("inf")
    for epoch in (1, 2, 3):  # the second stage
        assert rates[epoch * STEPS : (epoch + 1) * STEPS] == pytest.approx([rate] * STEPS)
        rate, best = (rate, losses[epoch]) if losses[epoch] < best else (rate / 2, best)
    low = 0.01 + 0.99 * 0.5  # half way down a cosine of two steps
    assert rates[8:] == pytest.approx([5e-4, 5e-4, 5e-4 * low, 5e-4])


# in the first stage, on the last step of the first, in the second, on the last of the second, in the third, on its last
@pytest.mark.parametrize("after", [1, 2, 5, 8, 9, 12])
def test_resumed_is_uninterrupted_whatever_has_a_state(after: int, watched: Path, monkeypatch) -> None:
    run = interrupted(monkeypatch, config(f"stopped-{after}", *WATCHING), after=after)
    state = read_json(run / "checkpoints/last/trainer_state.json")
    assert (state["step"], state["stage"]) == (after, (after > 2) + (after > 8))
    experiment.resume(run)
    assert_same_run(run, watched)


def test_stopped_in_a_validation_and_between_two_stages(watched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal during the validation that ends the first stage, then one after it, when the second has not begun."""
    own, written = loop.Trainer._validate, loop.Trainer._write_history
    name = "twice"

    def validate(trainer: loop.Trainer) -> dict:
        values = own(trainer)
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError(f"it goes on after the signal: {values}")

    def write(trainer: loop.Trainer) -> None:
        written(trainer)
        os.kill(os.getpid(), signal.SIGTERM)

    def stopped(part: str, instead: Callable, run: Callable[[], object]) -> tuple[int, int, int, int]:
        with monkeypatch.context() as patch:
            patch.setattr(loop.Trainer, part, instead)
            with pytest.raises(Interrupted) as caught:
                run()
        assert caught.value.exit_code == 143
        state = read_json(Path(f"runs/{name}/checkpoints/last/trainer_state.json"))
        return state["stage"], state["stage_step"], state["epoch"], state["window"]

    assert stopped("_validate", validate, lambda: experiment.train(config(name, *WATCHING))) == (0, STEPS, 0, STEPS)
    assert checkpoint_names(Path("runs", name)) == ["last"]
    assert stopped("_write_history", write, lambda: experiment.resume(f"runs/{name}")) == (1, 0, 1, 0)
    assert stopped("_write_history", write, lambda: experiment.resume(f"runs/{name}")) == (1, STEPS, 2, 0)
    experiment.resume(f"runs/{name}")
    assert_same_run(Path("runs", name), watched)


DRAWING = {
    "vit": ("model.encoder=segtune/tiny-vit", "model.drop_path=0.3", "model.dropout=0.3", "train.precision=bf16",
            "train.gradient_checkpointing=all", "model.decoder=dpt"),
    "stream": ("data.train=stream:shapes@train", "data.stream_length=8", "data.val=null", "model.image_size=[64, 64]"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DRAWING)
def test_what_is_drawn_afresh_is_drawn_again(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stochastic depth, dropout, images of a stream: within the second epoch."""
    straight = experiment.train(config(f"straight-{kind}", *DRAWING[kind])).path
    run = interrupted(monkeypatch, config(f"stopped-{kind}", *DRAWING[kind]), after=3)
    experiment.resume(run)
    assert_same_run(run, straight)


def test_killed_while_the_end_was_scored(both: Path, tmp_path: Path) -> None:
    left_out = ("README.md", "eval_*", "predictions")
    run = shutil.copytree(both, tmp_path / "copy", ignore=shutil.ignore_patterns(*left_out))
    experiment.resume(run)
    assert_same_run(run, both)
    assert {name for name in FILES if not (run / name).is_file()} == set()
    assert read_json(run / "eval_photos_val_dense.json") == read_json(both / "eval_photos_val_dense.json")


def test_a_complete_run_is_left_alone(watched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (watched / "checkpoints/last/manifest.json").stat().st_mtime_ns
    experiment.resume(watched)
    assert "is complete" in capsys.readouterr().out
    assert (watched / "checkpoints/last/manifest.json").stat().st_mtime_ns == before


def test_workers_change_nothing(watched: Path) -> None:
    run = experiment.train(config("workers", *WATCHING, "data.num_workers=1")).path
    assert_same_run(run, watched)


# --- steps


def test_micro_batches_are_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without batch norm, which sees micro-batches one by one, and without dropout, which draws for each."""
    use_float64(monkeypatch)
    runs = []
    for batch, accumulate in ((4, 1), (1, 4)):
        settings = (f"train.batch_size={batch}", f"train.accumulate={accumulate}", "model.dropout=0",
                    "model.encoder=segtune/tiny-vit", "model.binary_classes=[red]", "optim.lr=1e-3")  # fmt: skip
        runs.append(experiment.train(config(f"batch-{batch}", *settings)).path)
    steps = [read_jsonl(run / "metrics.jsonl") for run in runs]
    assert [row["step"] for row in steps[1]] == [1, 2, 3, 4]
    for ours, theirs in zip(*steps, strict=True):
        assert theirs == pytest.approx(ours, rel=TOLERANCE)
    histories = [history_without_times(run)["val"][-1] for run in runs]
    assert histories[1] == pytest.approx(histories[0], rel=TOLERANCE)


def test_bf16_trains_weights_of_float32() -> None:
    run = experiment.train(config("bf16", "train.precision=bf16", "model.binary_classes=[red]")).path
    rows = history_without_times(run)
    assert all(np.isfinite(row["loss"]) for row in rows["train"])
    assert np.isfinite(rows["val"][-1]["val_loss"])
    saved = {name: tensor.dtype for name, tensor in _weights(run, "last").items() if "num_batches" not in name}
    assert set(saved.values()) == {np.dtype(np.float32)}


# --- starting from another run


def test_a_run_starts_from_another_and_is_loaded_without_it(states: list) -> None:
    first = experiment.train(config("first", "train.epochs=1")).path
    second = experiment.train(config("second", "model.start=runs/first", "model.unfreeze=0", "run.seed=5")).path
    assert _moved(*states[1]) == set()
    best = load_dense_model(str(first)).model.state_dict()
    assert all(torch.equal(states[1][0][name], value) for name, value in best.items())
    shutil.rmtree(first)
    loaded = load_dense_model(f"{second}@last").model.state_dict()
    assert all(torch.equal(loaded[name], states[1][1][name]) for name in loaded)


def test_a_run_goes_on_without_what_it_started_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = experiment.train(config("origin", "train.epochs=1", f"run.export={tmp_path / 'encoder'}")).path
    settings = (f"model.encoder={tmp_path / 'encoder'}", f"model.start={first}", "model.unfreeze=1")
    straight = experiment.train(config("on-straight", *settings)).path
    run = interrupted(monkeypatch, config("on-stopped", *settings), after=3)
    for gone in (first, tmp_path / "encoder"):
        shutil.rmtree(gone)
    experiment.resume(run)
    assert_same_run(run, straight)


def test_other_classes_are_refused_by_name(both: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        experiment.train(config("other-classes", f"model.start={both}", "data.exclude=[green]"))
    assert "background, red, green" in str(caught.value)
    assert caught.value.exit_code == 3
    assert not Path("runs/other-classes").exists()


def test_the_best_of_a_second_stage_is_refused_by_its_classes_too() -> None:
    run = experiment.train(config("of-three-classes", *PROGRESSIVE)).path
    with pytest.raises(CheckpointError, match="background, red, green"):
        experiment.train(config("of-two-classes", f"model.start={run}@stage-2-best", "data.exclude=[green]"))


# --- what cannot be


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["model.unfreeze=99"], ["unfreeze=99", "4 blocks"]),
        (["train.stages=[{epochs: 1}, {epochs: 1, unfreeze: 5}]"], ["train.stages, stage-2: unfreeze=5", "4 blocks"]),
        (["train.stages=[{epochs: 2, train: {llm: frozen}}]"], ["train.stages[0].train", "reasoning"]),
        (["train.stages=[{epochs: 2, optim: {rates: {encodr: 1}}}]"], ["encodr", "did you mean encoder"]),
        (["model.binary_classes=[reed]"], ["no class 'reed'", "did you mean 'red'"]),
        (["model.binary_classes=[background, red, green]"], ["everything"]),
        (["train.best=val_foreground_dice"], ["train.best=val_foreground_dice never comes"]),
        (["train.early_stopping={metric: binary_bce}"], ["train.early_stopping.metric=binary_bce never comes"]),
        (["model.multiclass=false", "model.binary_classes=[red]"], ["train.best=val_mIoU never comes"]),
        (["model.image_size=[33, 48]"], ["model.image_size", "[32, 48] or [36, 48]"]),
        (["model.image_size=[32, 32]"], ["model.image_size", "[32, 36]"]),
        (["model.drop_path=0.1"], ["no stochastic depth"]),
        (["model.encoder=segtune/tiny-cn"], ["did you mean segtune/tiny-cnn"]),
        (["train.gradient_checkpointing=1"], ["train.gradient_checkpointing"]),
        (["train.gradient_checkpointing=all"], ["train.gradient_checkpointing", "a ViT"]),
        (["data.exclude=[blue]"], ["blue"]),
        (["losses={ce: 0, dice: 0}"], ["head 'classes'", "weight 0"]),
    ],
)
def test_what_cannot_be_is_told_before_training(settings: list[str], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        experiment.train(config("refused", *settings))
    assert [word for word in words if word not in str(caught.value)] == []
    assert not Path("runs/refused").exists()


def test_a_class_without_pixels_has_no_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos", train=1)
    with pytest.raises(DataError, match="green") as caught:
        experiment.train(config("no-pixel", "data.class_weights=inverse"))
    assert caught.value.exit_code == 3
    assert not Path("runs/no-pixel").exists()
    experiment.train(config("no-weight", "train.epochs=1", "train.accumulate=1"))  # without weights it is a warning


def _rename(photos: Path) -> None:
    for folder in ("images", "masks"):
        path = photos / "train" / folder / "train7.png"
        path.rename(path.with_stem("zebra"))


def _exchange_classes(photos: Path) -> None:
    (photos / "classes.json").write_text(json.dumps({"classes": ["background", "green", "red"], "ignore_index": 255}))


def _paint(photos: Path) -> None:
    path = photos / "val/masks/val0.png"
    Image.fromarray(np.full(SIZE, 2, np.uint8)).save(path)


@pytest.mark.parametrize(
    ("change", "expected", "found"),
    [
        (_rename, "train: 8 images", "8 images, but not the same ones"),
        (
            _exchange_classes,
            "9140 pixels of background, 1644 pixels of red,",
            "9140 pixels of background, 1644 pixels of green,",
        ),
        (_paint, "val: 3 images with ", "1984 pixels of green"),
    ],
)
def test_a_resume_refuses_changed_data(change, expected, found, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos")
    with monkeypatch.context() as patch:
        run = interrupted(patch, config("stopped"), after=3)
    change(tmp_path / "photos")
    with pytest.raises(DataError, match="no longer those that this run was trained on") as caught:
        experiment.resume(run)
    assert expected in caught.value.found
    assert found in caught.value.found
    assert open_checkpoint(run / "checkpoints/last").about["step"] == 3
