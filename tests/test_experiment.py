"""Whole runs in this process, of a second each: what outlives a step, an epoch and an interruption."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from tests.factory import tiny_base
from tests.interrupting import checkpoint_names, history_without_times, interrupted
from tests.models.hub_layout import write_llava, write_sam

from segtune import experiment
from segtune.config import ExperimentConfig, load_recipe
from segtune.core.errors import ConfigError, DataError, SegtuneError
from segtune.core.files import read_json, read_jsonl
from segtune.data import loader
from segtune.data.sources.synthetic.corpus import training_texts
from segtune.data.sources.synthetic.write import write_dataset
from segtune.engine import loop
from segtune.engine.checkpoint import load_training, open_checkpoint
from segtune.engine.loading import load
from segtune.experiment import reasoning
from segtune.models.trainable import canonical_name
from segtune.reports.facts import read_run

TENSORS = ("trained.safetensors", "adapter_model.safetensors")

# Everything that has a state of its own, with accumulation, rates of components and a validation every other epoch.
WATCHING = (
    "optim.schedule=plateau", "optim.plateau_metric=val_accuracy", "optim.plateau_patience=1",
    "optim.rates={mask_decoder: 2e-3}", "train.ema=0.9", "train.keep=2", "train.accumulate=2",
    "train.early_stopping={metric: val_emission_rate, patience: 2}", "train.best=val_loss", "train.epochs=12",
    "train.validate_every=2",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _place(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that all of these share, so that the scenes are drawn once; no accelerator."""
    monkeypatch.chdir(tmp_path_factory.getbasetemp())
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")


def config(name: str, *settings: str) -> ExperimentConfig:
    """A run of two epochs over eight images."""
    return load_recipe("quickstart", [
        "data.train=synth:scenes@train", "data.val=synth:scenes@val", "data.synth={scenes: 12, seed: 3}",
        f"model.base={tiny_base()}", "model.train={llm: lora, embeddings: frozen}", "data.queries_per_image=1",
        "train={epochs: 2, batch_size: 2, log_every: 1, validate_every: 1, best: val_gIoU}", "losses.ce=1.0",
        "optim={lr: 5e-3, warmup_steps: 2}", "eval={final: false, before: false, max_new_tokens: 3, batch_size: 4}",
        f"run={{name: {name}, threads: 1}}", *settings,
    ])  # fmt: skip


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run with all that has a state; only read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.getbasetemp())
        patch.setenv("ACCELERATE_USE_CPU", "true")
        return experiment.train(config("straight", *WATCHING)).path.absolute()


# in the middle of an epoch, in its last window, and after the plateau has lowered the rate
@pytest.mark.parametrize("after", [3, 4, 13])
def test_resumed_is_uninterrupted_whatever_has_a_state(after: int, watched: Path, monkeypatch) -> None:
    run = interrupted(monkeypatch, config(f"stopped-{after}", *WATCHING), after=after)
    assert read_json(run / "checkpoints/last/trainer_state.json")["step"] == after
    experiment.resume(run)
    names = checkpoint_names(watched)
    assert names == checkpoint_names(run)
    for name in names:
        extra = ("optimizer.safetensors", "ema.safetensors") if name == "last" else ()
        for file in (*TENSORS, *extra):
            ours, theirs = (load_file(place / "checkpoints" / name / file) for place in (run, watched))
            assert ours.keys() == theirs.keys()
            assert all(np.array_equal(ours[key], theirs[key]) for key in ours), f"{name}/{file}"
    assert history_without_times(run) == history_without_times(watched)
    assert read_jsonl(run / "metrics.jsonl") == read_jsonl(watched / "metrics.jsonl")
    states = [load_training(open_checkpoint(place / "checkpoints" / "last"))[1] for place in (run, watched)]
    for state in states:
        assert state.pop("tracker") is None
    assert states[0] == states[1]


def test_a_plateau_lowers_the_rate_by_what_the_history_says(watched: Path) -> None:
    history = read_json(watched / "training_history.json")
    best, reductions, wanted = -1.0, 0, []
    values = {row["epoch"]: row["val_accuracy"] for row in history["val"]}
    for epoch in range(1, len(history["train"]) + 1):
        wanted.append(5e-3 * 0.5**reductions)
        if epoch in values:
            reductions += values[epoch] <= best
            best = max(best, values[epoch])
    assert wanted[-1] < wanted[0]
    assert [row["lr"] for row in history["train"]][1:] == pytest.approx(wanted[1:])  # the first is a warm-up


STAGES = (
    "train.epochs=4", "train.best=val_loss", "train.ema=0.9", "optim.rates={mask_decoder: 2e-3}",
    "train.stages=[{epochs: 1, train: {llm: frozen, mask_decoder: frozen}, name: projection},"
    " {epochs: 2, train: {mask_decoder: frozen}, lr_factor: 0.5, optim: {schedule: constant, warmup_steps: 0}},"
    " {epochs: null, lr_factor: 0.1}]",
)  # fmt: skip


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in three stages: projection, then LoRA, then the decoder too; only read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.getbasetemp())
        patch.setenv("ACCELERATE_USE_CPU", "true")
        return experiment.train(config("staged", *STAGES)).path.absolute()


def test_a_stage_trains_what_it_declares_and_nothing_else(staged: Path) -> None:
    tables = [read_json(staged / f"parameters_stage_{stage}.json")["components"] for stage in (1, 2, 3)]
    trains = [{name for name, row in table.items() if row["trainable"]} for table in tables]
    assert trains[0] == {"seg_token", "seg_projection"}
    assert trains[1] == trains[0] | {"lora"}
    assert trains[2] == trains[1] | {"mask_decoder"}
    bests = [staged / f"checkpoints/stage-{stage}-best" for stage in (1, 2, 3)]
    first, second, third = ({**load_file(best / TENSORS[0]), **load_file(best / TENSORS[1])} for best in bests)
    assert first.keys() == second.keys() == third.keys()
    moved = {name for name in first if not np.array_equal(first[name], second[name])}
    assert any("lora" in name for name in moved)
    assert not any("mask_decoder" in name for name in moved)
    assert any("mask_decoder" in name for name in third if not np.array_equal(second[name], third[name]))
    assert all((first[name] == 0).all() for name in first if "lora_B" in name)


def test_a_stage_that_trains_otherwise_than_declared_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasoning, "apply_trainable", lambda model, settings: None)
    with pytest.raises(AssertionError, match=r"otherwise than declared: .*lora"):  # at rest in the first stage
        experiment.train(config("otherwise", *STAGES))


def test_each_stage_has_its_own_rate_and_schedule(staged: Path) -> None:
    rows = read_json(staged / "training_history.json")["train"]
    assert [row["stage"] for row in rows] == [1, 2, 2, 3]
    rates = {row["step"]: row["lr"] for row in read_jsonl(staged / "metrics.jsonl")}
    assert [rates[step] for step in range(5, 13)] == pytest.approx([2.5e-3] * 8)
    assert [rates[step] for step in (1, 2, 13, 14)] == pytest.approx([2.5e-3, 5e-3, 2.5e-4, 5e-4])  # warm-ups of two


# in the first stage, on its last step, in the second, and in the third
@pytest.mark.parametrize("after", [2, 4, 7, 14])
def test_a_staged_run_that_was_stopped_ends_as_one_that_was_not(after: int, staged: Path, monkeypatch) -> None:
    run = interrupted(monkeypatch, config(f"staged-{after}", *STAGES), after=after)
    experiment.resume(run)
    names = checkpoint_names(staged)
    assert names == checkpoint_names(run)
    for name in names:
        for file in TENSORS:
            ours, theirs = (load_file(place / "checkpoints" / name / file) for place in (run, staged))
            assert all(np.array_equal(ours[key], theirs[key]) for key in ours), f"{name}/{file}"
    assert history_without_times(run) == history_without_times(staged)
    assert read_jsonl(run / "metrics.jsonl") == read_jsonl(staged / "metrics.jsonl")


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ("[{epochs: 2, train: {llm: full}}]", "model.train.llm=lora"),
        ("[{epochs: 2, train: {lm: frozen}}]", "no such component"),
        ("[{epochs: 2, unfreeze: 3}]", "dense"),
        ("[{epochs: 2, optim: {rates: {mask_encoder: 1.0}}}]", "mask_encoder"),
    ],
)
def test_stages_that_cannot_be_are_refused_before_anything_is_trained(stages: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        experiment.train(config("no-stages", f"train.stages={stages}"))
    assert not Path("runs/no-stages").exists()


def test_adapters_of_projector_and_mask_decoder_are_saved_and_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ("model.train={llm: lora, embeddings: frozen, projector: lora, mask_decoder: lora}",)
    straight = experiment.train(config("adapted", *settings)).path
    run = interrupted(monkeypatch, config("adapted-stopped", *settings), after=3)
    experiment.resume(run)
    saved = {}
    for file in TENSORS:
        ours, theirs = (load_file(place / "checkpoints" / "last" / file) for place in (run, straight))
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[key], theirs[key]) for key in ours), file
        saved |= ours
    for part in ("multi_modal_projector", "mask_decoder"):
        assert any(part in name and "lora_B" in name and values.any() for name, values in saved.items()), part
        assert all("lora_" in name for name in saved if part in name), part
    loaded = load(str(run / "checkpoints" / "last")).model.state_dict()
    kept = load_file(run / "checkpoints" / "last" / "trained.safetensors")
    decoder = {canonical_name(name): values.numpy() for name, values in loaded.items() if "mask_decoder" in name}
    assert all(np.array_equal(decoder[name], kept[name]) for name in kept if "mask_decoder" in name)


QUARTER = math.sqrt(0.5)
CURVES = {
    "cosine": (["optim.warmup_steps=2", "optim.floor=0.1"],
               [0.5, 1, 1, 0.1 + 0.45 * (1 + QUARTER), 0.55, 0.1 + 0.45 * (1 - QUARTER)]),
    "linear": (["optim.warmup_steps=2"], [0.5, 1, 1, 0.75, 0.5, 0.25]),
    "restarts": (["optim.warmup_steps=1", "optim.burn_in_steps=1", "optim.period=2", "optim.floor=0.2"],
                 [1, 1, 1, 0.6, 1, 0.6]),
    "exponential": (["optim.warmup_steps=0", "optim.gamma=0.5"], [1, 1, 0.5, 0.5, 0.25, 0.25]),
}  # fmt: skip
"""Rates by hand, as shares of the peak, of three epochs of two optimiser steps of two micro-batches each."""


@pytest.mark.parametrize("schedule", CURVES)
def test_accumulation_and_a_resume_leave_the_curve_as_it_is_by_hand(
    schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, shares = CURVES[schedule]
    fixed = ("data.val=null", "train.accumulate=2", "train.epochs=3", f"optim.schedule={schedule}")
    run = interrupted(monkeypatch, config(f"curve-{schedule}", *fixed, *settings), after=3)  # within the second epoch
    experiment.resume(run)
    rows = read_jsonl(run / "metrics.jsonl")
    assert [(row["step"], row["epoch"]) for row in rows] == [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3)]
    assert [row["lr"] for row in rows] == pytest.approx([5e-3 * share for share in shares])
    state = load_training(open_checkpoint(run / "checkpoints/last"))[1]
    assert (state["step"], state["epoch"]) == (6, 3)


def test_early_stopping_counts_validations(watched: Path) -> None:
    history = read_json(watched / "training_history.json")
    rates = [row["val_emission_rate"] for row in history["val"]]
    stalls = [max(rates[:i], default=-1.0) >= value for i, value in enumerate(rates)]
    first = next((i for i in range(1, len(stalls)) if stalls[i - 1] and stalls[i]), len(stalls) - 1)
    assert len(rates) == first + 1 < 6
    assert len(history["train"]) == 2 * len(rates) == history["val"][-1]["epoch"]


def test_a_plateau_on_a_metric_of_training_needs_no_validation(capsys: pytest.CaptureFixture[str]) -> None:
    settings = ("data.val=null", "optim.schedule=plateau", "optim.plateau_metric=precision", "optim.plateau_patience=1",
                "train.early_stopping={metric: recall, patience: 1, min_gain: 1.0}", "train.epochs=5")  # fmt: skip
    run = experiment.train(config("unvalidated", *settings))
    assert len(history_without_times(run.path)["train"]) == 2  # no recall gains more than 1
    assert "stopped early: recall had no gain in 1 values" in capsys.readouterr().out


@pytest.mark.parametrize(("settings", "epoch"), [(["train.best=loss", "train.best_goal=max"], 1), ([], 2)])
def test_without_validation_the_best_is_that_of_a_key_of_training_or_the_newest(
    settings: list[str], epoch: int, capsys: pytest.CaptureFixture[str]
) -> None:
    run = experiment.train(config(f"unvalidated-best-{epoch}", "data.val=null", *settings))
    losses = [row["loss"] for row in history_without_times(run.path)["train"]]
    assert losses[1] < losses[0]  # so that the highest loss, asked for as the best, is not the newest
    assert open_checkpoint(run.path / "checkpoints/best").about["epoch"] == epoch
    assert ("the best is that by loss" if settings else "the newest checkpoint counts") in capsys.readouterr().out


def test_a_run_that_stopped_early_is_complete(watched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (watched / "checkpoints/last/manifest.json").stat().st_mtime_ns
    experiment.resume(watched)
    assert "is complete" in capsys.readouterr().out
    assert read_run(watched).stopped_early  # the report counts for itself
    assert (watched / "checkpoints/last/manifest.json").stat().st_mtime_ns == before


def test_the_newest_epochs_are_kept_besides_last_and_best(watched: Path) -> None:
    epochs = len(read_json(watched / "training_history.json")["train"])
    kept = checkpoint_names(watched)
    assert kept == ["best", f"epoch-{epochs - 1:04}", f"epoch-{epochs:04}", "last"]
    about = open_checkpoint(watched / "checkpoints" / kept[2]).about
    assert (about["epoch"], about["step"]) == (epochs, 2 * epochs)


def test_every_epoch_has_its_metrics_in_a_file(watched: Path) -> None:
    history = read_json(watched / "training_history.json")
    validated = {row["epoch"]: row for row in history["val"]}
    for row in history["train"]:
        file = read_json(watched / f"metrics_epoch_{row['epoch']}.json")
        assert file == {**row, **validated.get(row["epoch"], {})}
        assert {"lr", "iter_per_sec", "avg_iter_time", "epoch_time", "peak_memory_gb"} <= file.keys()


def test_best_has_the_averaged_weights_and_last_has_both(watched: Path) -> None:
    newest = sorted((watched / "checkpoints").glob("epoch-*"))[-1]
    averages = load_file(watched / "checkpoints/last/ema.safetensors")
    raw, averaged = (load_file(place / TENSORS[0]) for place in (watched / "checkpoints/last", newest))
    names = averages.keys() & averaged.keys()
    assert names
    assert all(np.array_equal(averages[name], averaged[name]) for name in names)
    assert any(not np.array_equal(raw[name], averaged[name]) for name in names)


def test_a_run_is_scored_and_asked_with_the_length_of_answer_that_it_was_trained_with(tmp_path: Path) -> None:
    settings = ("train.epochs=1", "eval.final=true", "eval.max_new_tokens=2", f"run.export={tmp_path / 'base'}")
    run = experiment.train(config("short-answers", *settings)).path
    experiment.evaluate(str(run), "synth:scenes@val", modes=["generate"], out=tmp_path)
    for name in ("eval_scenes_val_generate.json", "predictions/scenes_val_generate.jsonl"):
        read = read_jsonl if name.endswith("l") else read_json
        ours, theirs = (read(place / name) for place in (tmp_path, run))
        assert ours == theirs
    picture = next(Path("scenes/val").glob("*.jpg"))
    texts = {}
    for model in (run, run / "checkpoints/last", tmp_path / "base"):
        predictor = experiment.Predictor.from_pretrained(model)
        texts[model] = predictor.predict(picture, "the red one").text
        assert predictor.max_new_tokens == 2
        predictor.max_new_tokens = 32
        assert predictor.predict(picture, "the red one").text.startswith(texts[model])
        assert predictor.predict(picture, "the red one").text != texts[model]
    assert experiment.Predictor.from_pretrained("segtune/tiny").max_new_tokens == 32


def test_without_averages_nothing_of_them_is_there() -> None:
    run = experiment.train(config("plain", "train.epochs=1", "optim.schedule=exponential"))
    assert not (run.path / "checkpoints/last/ema.safetensors").exists()
    assert checkpoint_names(run.path) == ["best", "last"]


def test_workers_prepare_what_is_validated_and_scored_too(monkeypatch: pytest.MonkeyPatch) -> None:
    made: set[tuple[str, int]] = set()

    own = loader.load_batches

    def watched(samples, keys, collate, num_workers):
        made.add((type(samples).__name__, num_workers))
        return own(samples, keys, collate, num_workers)

    monkeypatch.setattr(loader, "load_batches", watched)
    runs = []
    for workers in (0, 1):
        made.clear()
        settings = (f"data.num_workers={workers}", "eval.final=true", "eval.before=true", "train.epochs=1")
        runs.append(experiment.train(config(f"workers-{workers}", *settings)).path)
        assert made == {("_TrainingSamples", workers), ("_ScoredSamples", workers)}
    assert history_without_times(runs[0]) == history_without_times(runs[1])
    for name in ("eval_scenes_val_generate.json", "before/eval_scenes_val_forced.json"):
        assert read_json(runs[0] / name) == read_json(runs[1] / name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.precision=fp16"], "fp16 needs an accelerator"),
        (["optim.rates={mask_decoders: 1e-3}"], "did you mean mask_decoder?"),
        (["train.gradient_checkpointing=99"], "more layers than the language model has"),
        (["model.mask_features=shared", "model.train.connector=frozen"], "the connector starts from random weights"),
        (["model.prompting=query_tokens", "model.train.seg_projection=frozen"], "seg_projection starts from random"),
    ],
)
def test_what_cannot_be_done_is_told_before_training(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        experiment.train(config("refused", *settings))
    assert message in str(caught.value)
    assert caught.value.exit_code == 2
    assert not Path("runs/refused").exists()


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over data of its own that was stopped in its second epoch; copy it and its data (`place`)."""
    place = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("ACCELERATE_USE_CPU", "true")
        settings = ("data.max_bad_fraction=0.5", "train.validate_generate=false")
        interrupted(patch, config("stopped", *settings), after=5)
    return place


def _renamed(train: Path) -> None:
    """The same number of pictures, one of them by another name."""
    last = sorted(train.glob("*.json"))[-1]
    for path in (last, last.with_suffix(".jpg")):
        path.rename(path.with_stem("zebra"))


def _without_pictures(train: Path) -> None:
    for picture in train.glob("scene_0000[01]_*.jpg"):
        picture.unlink()


@pytest.mark.parametrize(
    ("change", "found"),
    [(_without_pictures, " -> 6 images, "), (_renamed, "but not the same ones: 1 of 8 changed (")],
)
def test_a_resume_refuses_changed_data(
    change: Callable[[Path], None], found: str, stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shutil.copytree(stopped, tmp_path / "copy"))
    run, facts = Path("runs/stopped"), Path("runs/stopped/data.json").read_text()
    change(Path("scenes/train"))
    with pytest.raises(DataError) as caught:
        experiment.resume(run)
    message = str(caught.value)
    assert "data.json: the data are no longer those that this run was trained on" in message
    assert "train: 8 images, " in message
    assert found in caught.value.found
    assert ("the annotation has no image" in message) == (change is _without_pictures)
    assert "segtune train runs/stopped run.name=NAME" in message
    assert caught.value.exit_code == 3
    assert (run / "data.json").read_text() == facts
    assert open_checkpoint(run / "checkpoints/last").about["step"] == 5


def test_a_run_from_before_the_digest_goes_on(stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shutil.copytree(stopped, tmp_path / "copy"))
    run = Path("runs/stopped")
    facts = read_json(run / "data.json")
    old = {part: {k: v for k, v in row.items() if "sha256" not in k} for part, row in facts.items()}
    (run / "data.json").write_text(json.dumps(old))
    experiment.resume(run)
    assert open_checkpoint(run / "checkpoints/last").about["step"] == 8
    now = read_json(run / "data.json")
    for part, row in facts.items():
        assert {**row, "path": now[part]["path"]} == now[part]  # the folder is a copy


@pytest.mark.parametrize(
    ("good", "left"), [(4, "runs/{}@last has the weights after step 4"), (2, "no weights had been")]
)
def test_a_run_that_diverged_tells_what_is_left_of_it(good: int, left: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own, made, name = loop.train_step, 0, f"diverged-{good}"

    def step(model, window, *arguments, **named):
        nonlocal made
        made += 1
        if made > good:  # the loss becomes NaN
            with torch.no_grad():
                next(model.seg_projection.parameters()).fill_(math.nan)
        return own(model, window, *arguments, **named)

    settings = ("train.max_skipped=2", "train.precision=bf16", "train.validate_generate=false")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", step)
        with pytest.raises(SegtuneError, match="2 steps in a row gave a loss or gradient") as caught:
            experiment.train(config(name, *settings))
    assert caught.value.exit_code == 1
    assert f"segtune train runs/{name} run.name=NAME optim.lr=0.002` or train.precision=fp32; " in caught.value.fix
    assert caught.value.fix.endswith(f". {left.format(name)}" if good == 4 else "no weights had been saved yet")
    assert "undamaged" not in str(caught.value)
    last = Path("runs", name, "checkpoints/last")
    assert last.exists() == (good == 4)
    if last.exists():
        assert all(np.isfinite(value).all() for value in load_file(last / TENSORS[0]).values())
        again = experiment.train(
            config(f"{name}-again", f"model.base=runs/{name}@last", "train.validate_generate=false")
        )
        assert read_jsonl(again.path / "metrics.jsonl")[0]["loss"] > 0


def test_a_run_that_never_says_seg_keeps_the_epoch_with_the_best_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it was stopped between two epochs that only the masks with the answer given can tell apart."""
    forced = iter([0.2, 0.5, 0.4])

    def validated(trainer: loop.Trainer) -> dict:
        return {"val_gIoU": next(forced), "val_generate_gIoU": 0.0}

    monkeypatch.setattr(loop.Trainer, "_validate", validated)
    settings = ("train.best=val_generate_gIoU", "train.epochs=3")
    run = interrupted(monkeypatch, config("silent", *settings), after=10)
    assert read_json(run / "checkpoints/last/trainer_state.json")["best_forced"] == 0.5
    experiment.resume(run)
    assert open_checkpoint(run / "checkpoints/best").about["epoch"] == 2
    assert load_training(open_checkpoint(run / "checkpoints/last"))[1]["best_epoch"] == 2


@pytest.mark.parametrize(("steps", "warnings"), [(4, 0), (9, 1)])
def test_a_warm_up_longer_than_the_run_is_told_once(steps: int, warnings: int, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    settings = (f"optim.warmup_steps={steps}", "train.epochs=1", "train.validate_generate=false")
    monkeypatch.setattr(loop._log, "warning", told.append)
    experiment.train(config(f"warm-{steps}", *settings))
    assert len(told) == warnings
    assert all("optim.warmup_steps=9 is more than the 4 steps of this run" in line for line in told)


def test_the_recipe_of_the_7b_trains_from_its_layout_in_small(tmp_path: Path) -> None:
    """Everything of `llava15-7b-qlora` but its size and its 4 bits, which need a GPU: by path, from data to scores."""
    write_llava(tmp_path / "llava", training_texts(0, 40))
    write_sam(tmp_path / "sam")
    write_dataset(tmp_path / "photos", scenes=12, seed=3)
    run = experiment.train(load_recipe("llava15-7b-qlora", [
        f"data.root={tmp_path / 'photos'}", f"model.vlm={tmp_path / 'llava'}", f"model.mask_model={tmp_path / 'sam'}",
        "model.quantize={llm: none}", "model.dtype=float32", "train={epochs: 1, accumulate: 2, precision: fp32}",
        "optim.warmup_steps=1", "data.max_train_samples=40", "data.max_val_samples=8", "run={name: hub, threads: 1}",
        "eval.max_new_tokens=4", "eval.overlays=1",
    ])).path  # fmt: skip
    trains = {name for name, row in read_json(run / "parameters.json")["components"].items() if row["trainable"]}
    assert trains == {"lora", "seg_token", "seg_projection", "mask_decoder"}
    assert {path.name for path in run.glob("eval_*.json")} == {
        f"eval_photos_val_{mode}.json" for mode in ("forced", "generate")
    }
    about = load(str(run)).about()
    assert about["model"]["vlm"] == str(tmp_path / "llava")
