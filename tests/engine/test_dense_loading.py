"""Checkpoints of dense models: whole, by name, and refused where they belong to something else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.factory import tiny_base
from tests.models.dense.encoders import CLASSES, dense_config, pixels, write_hub

from segtune.core.config import validate
from segtune.core.errors import CheckpointError
from segtune.engine.checkpoint import (
    TRAINED,
    Checkpoint,
    load_weights,
    open_checkpoint,
    save_checkpoint,
)
from segtune.engine.dense_config import DenseEvalConfig, DenseInferenceConfig, TtaConfig
from segtune.engine.dense_loading import (
    DenseLoaded,
    absolute_paths,
    build_loaded,
    is_dense,
    load_dense,
    load_dense_model,
)
from segtune.engine.dense_predictor import DensePredictor
from segtune.engine.loading import find_checkpoint, load
from segtune.engine.predictor import Predictor
from segtune.models.dense.blocks import Blocks, unfreeze
from segtune.models.dense.config import DenseModelConfig

SMALL = {"image_size": (32, 64), "width": 8}


def _config(encoder: Path | str = "segtune/tiny-cnn", **settings) -> DenseModelConfig:
    return dense_config(str(encoder), **{**SMALL, **settings})


def _built(config: DenseModelConfig, blocks: Blocks = "all", *, seed: int = 0, classes=CLASSES) -> DenseLoaded:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_loaded(config, classes, blocks)


def _learned(loaded: DenseLoaded) -> DenseLoaded:
    """Moves every parameter that trains, and what batch norms have seen."""
    loaded.model.train()
    output = loaded.model.decode(pixels(size=(32, 64)))
    total = sum(part.square().mean() for part in (output.classes, output.binary) if part is not None)
    total.backward()
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            if parameter.grad is not None:
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)), alpha=0.1)
    return loaded


def _saved(loaded: DenseLoaded, place: Path) -> Checkpoint:
    shutil.rmtree(place, ignore_errors=True)
    save_checkpoint(place, loaded.model, loaded.about(), trained=loaded.trained)
    return open_checkpoint(place)


def _equal(one: DenseLoaded, other: DenseLoaded) -> bool:
    ours, theirs = one.model.state_dict(), other.model.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("encoder", "blocks", "heads"),
    [
        ("segtune/tiny-cnn", "all", {}),
        ("segtune/tiny-cnn", 2, {"binary_classes": ("car", "tree")}),  # random, so a checkpoint holds the rest as well
        ("segtune/tiny-vit", 0, {"binary_classes": ("car",), "multiclass": False}),
        ("dinov2", "all", {"drop_path": 0.2}),  # with a mask token, which never trains
        ("resnet", 3, {}),
        ("swinv2", 1, {"decoder": "linear"}),
    ],
)
def test_what_was_saved_is_what_is_loaded_bit_for_bit(encoder: str, blocks: Blocks, heads, tmp_path) -> None:
    if "/" not in encoder:
        write_hub(tmp_path / "encoder", encoder)
        encoder = str(tmp_path / "encoder")
    start = _built(_config(encoder, **heads), blocks)
    trained = _learned(_built(_config(encoder, **heads), blocks))
    assert not _equal(start, trained)
    loaded = load_dense(_saved(trained, tmp_path / "saved"))
    assert _equal(loaded, trained)
    assert not loaded.model.training
    assert (loaded.config, loaded.blocks, loaded.foreground) == (trained.config, blocks, trained.foreground)
    assert (loaded.trained, loaded.fingerprint) == (trained.trained, trained.fingerprint)
    ours, theirs = (one.model.eval().decode(pixels(size=(32, 64))) for one in (loaded, trained))
    for one, other in ((ours.classes, theirs.classes), (ours.binary, theirs.binary)):
        assert (one is None and other is None) or torch.equal(one, other)


def test_what_training_knew_of_sides_is_saved(tmp_path) -> None:
    loaded = _built(_config())
    loaded.model.sided_classes = (CLASSES[1],)
    settings = {"config": {"eval": {"tta": {"mirror": "always"}}}}
    save_checkpoint(tmp_path / "new", loaded.model, {**loaded.about(), **settings}, trained=loaded.trained)
    found = load_dense(open_checkpoint(tmp_path / "new"))
    assert (found.model.sided_classes, found.mirror) == ((CLASSES[1],), "always")
    usual, told = DenseEvalConfig(), validate(DenseEvalConfig, {"tta": {"mirror": "auto"}}, where="")
    assert (found.as_trained(usual).tta.mirror, found.as_trained(told).tta.mirror) == ("always", "auto")
    predictor = DensePredictor.from_pretrained(tmp_path / "new", config=DenseInferenceConfig(tta=TtaConfig(flip=True)))
    assert predictor.config.tta == TtaConfig(flip=True, mirror="always")
    before = {key: value for key, value in loaded.about().items() if key != "sided"}
    save_checkpoint(tmp_path / "old", loaded.model, before, trained=loaded.trained)
    found = load_dense(open_checkpoint(tmp_path / "old"))
    assert (found.model.sided_classes, found.mirror) == ((), "auto")


def test_what_batch_norms_have_seen_is_saved(tmp_path) -> None:
    trained = _learned(_built(_config()))
    seen = {name for name in load_file(_saved(trained, tmp_path / "saved").path / TRAINED) if "running_" in name}
    assert any(name.startswith("encoder.") for name in seen)
    assert seen == {name for name in trained.model.state_dict() if "running_" in name}


def test_a_partly_frozen_encoder_stays_where_it_was(tmp_path) -> None:
    """Only what any stage trains is in the checkpoint; the rest comes from the encoder's own files."""
    write_hub(tmp_path / "encoder", "resnet")
    trained = _learned(_built(_config(tmp_path / "encoder"), 2))
    saved = load_file(_saved(trained, tmp_path / "saved").path / TRAINED)
    last = {id(p) for part in trained.model.encoder.last_blocks(2) for p in part.parameters()}
    wanted = {n for n, p in trained.model.named_parameters() if not n.startswith("encoder.") or id(p) in last}
    assert {name for name in saved if "running_" not in name and "num_batches" not in name} == wanted
    assert len(wanted) < len(list(trained.model.parameters()))
    unfreeze(trained.model, 0)  # what a stage lets rest is saved all the same
    assert load_file(_saved(trained, tmp_path / "saved").path / TRAINED).keys() == saved.keys()


def _another_seed(encoder: Path) -> None:
    write_hub(encoder, "resnet", seed=1)


def _another_batch_norm(encoder: Path) -> None:
    model = write_hub(encoder, "resnet")
    norm = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))
    norm.running_mean += 1
    model.save_pretrained(encoder)


def _another_family(encoder: Path) -> None:
    shutil.rmtree(encoder)
    write_hub(encoder, "convnext")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_another_seed, "another base"),
        (_another_batch_norm, "another base"),
        (_another_family, "does not fit the model"),
        (shutil.rmtree, "not there any more"),
    ],
)
def test_another_encoder_below_a_checkpoint_is_refused(change: Callable[[Path], None], words: str, tmp_path) -> None:
    write_hub(encoder := tmp_path / "encoder", "resnet")
    saved = _saved(_learned(_built(_config(encoder), 2)), tmp_path / "saved")
    load_dense(saved)
    change(encoder)
    with pytest.raises(CheckpointError, match=words):
        load_dense(saved)


def test_an_encoder_that_trained_whole_is_rebuilt_without_its_files(tmp_path) -> None:
    for family in ("dinov2", "resnet"):
        write_hub(tmp_path / family, family)
        trained = _learned(_built(_config(tmp_path / family)))
        saved = _saved(trained, tmp_path / f"saved-{family}")
        shutil.rmtree(tmp_path / family)
        assert _equal(load_dense(saved), trained)


def _flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [_flipped, Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:-9])])
def test_a_damaged_checkpoint_is_refused_by_the_name_of_the_file(damage: Callable[[Path], None], tmp_path) -> None:
    saved = _saved(_built(_config()), tmp_path / "saved")
    for name in (TRAINED, "checkpoint.json"):
        place = shutil.copytree(saved.path, tmp_path / name)
        damage(place / name)
        with pytest.raises(CheckpointError, match=f"{name}: this checkpoint is damaged"):
            load_dense_model(str(place))


def test_weights_of_other_classes_are_refused_by_name(tmp_path) -> None:
    saved = _saved(_built(_config()), tmp_path / "saved")
    other = _built(_config(), classes=("background", "tree", "car", "dog"))
    with pytest.raises(CheckpointError, match=r"class_head\S*: shape \(3, .*instead of \(4, "):
        load_weights(saved, other.model, other.fingerprint, other.trained)
    other = _built(_config(binary_classes=("car",)))
    with pytest.raises(CheckpointError, match="missing binary_head"):
        load_weights(saved, other.model, other.fingerprint, other.trained)


# --- model.start


@pytest.fixture
def started(tmp_path: Path) -> tuple[DenseLoaded, str]:
    """A trained model, and the name by which another may start from it."""
    trained = _learned(_built(_config()))
    _saved(trained, tmp_path / "run" / "checkpoints" / "best")
    return trained, str(tmp_path / "run")


def test_a_run_starts_with_the_weights_of_another(started) -> None:
    trained, run = started
    for name in (run, f"{run}@best", f"{run}/checkpoints/best"):
        assert _equal(_built(_config(start=name), seed=9), trained)


def test_a_model_that_started_from_another_is_loaded_without_it(tmp_path) -> None:
    """Its frozen encoder is that of the model it started from, which no file but its checkpoint has."""
    write_hub(tmp_path / "encoder", "resnet")
    first = _learned(_built(_config(tmp_path / "encoder")))
    _saved(first, tmp_path / "first" / "checkpoints" / "best")
    second = _learned(_built(_config(tmp_path / "encoder", start=str(tmp_path / "first")), 0, seed=2))
    ours, theirs = (one.model.encoder.state_dict() for one in (first, second))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    saved = _saved(second, tmp_path / "second")
    for gone in ("first", "encoder"):
        shutil.rmtree(tmp_path / gone)
    assert _equal(load_dense(saved), second)


@pytest.mark.parametrize(
    ("classes", "settings", "words"),
    [
        (("background", "tree", "bus"), {}, ["other classes", "background, tree, bus", "background, tree, car"]),
        (("background", "car", "tree"), {}, ["other classes", "in the same order"]),
        (CLASSES, {"width": 16}, ["another shape", "decoder.", "instead of"]),
        (CLASSES, {"binary_classes": ("car",)}, ["another shape", "missing: binary_head."]),
        (CLASSES, {"encoder": "segtune/tiny-vit"}, ["another shape", "unexpected: encoder."]),
    ],
)
def test_what_cannot_start_from_another_is_refused_by_name(classes, settings, words, started) -> None:
    _, run = started
    with pytest.raises(CheckpointError) as caught:
        _built(_config(**{"start": run, **settings}), classes=classes)
    assert str(caught.value).startswith(f"model.start={run}: ")
    assert [word for word in words if word not in str(caught.value)] == []
    assert caught.value.fix


def test_paths_become_absolute(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    config = absolute_paths(_config("run", start="run@stage-1-best"))
    assert (config.encoder, config.start) == (str(tmp_path / "run"), f"{tmp_path}/run@stage-1-best")
    same = absolute_paths(_config("facebook/dinov2-small"))
    assert (same.encoder, same.start) == ("facebook/dinov2-small", None)


# --- models of the other kind


def test_each_kind_of_model_is_refused_where_the_other_is_wanted(started, tmp_path) -> None:
    _, run = started
    assert is_dense(find_checkpoint(run))
    for refusing in (load, Predictor.from_pretrained):
        with pytest.raises(CheckpointError, match=r"tells classes apart(.|\n)*segtune\.DensePredictor"):
            refusing(run)
    base = str(tiny_base())
    for refusing in (load_dense_model, DensePredictor.from_pretrained):
        for name in (base, "segtune/tiny"):
            with pytest.raises(CheckpointError, match=r"answers questions(.|\n)*segtune\.Predictor"):
                refusing(name)
        with pytest.raises(CheckpointError, match="this is no model"):
            refusing(str(tmp_path / "nothing"))
    with pytest.raises(CheckpointError, match="answers questions") as caught:
        _built(_config(start=base))
    assert caught.value.where == f"model.start={base}"
