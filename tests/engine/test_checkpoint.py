from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch
from tests.factory import batch_of, groups, tiny_base, tiny_config, tiny_loaded
from torch import nn

from segtune.core.errors import CheckpointError
from segtune.engine import checkpoint as module
from segtune.engine.checkpoint import (
    ADAPTER,
    MANIFEST,
    TRAINED,
    clean_leftovers,
    load_training,
    load_weights,
    open_checkpoint,
    save_checkpoint,
)
from segtune.engine.config import OptimConfig
from segtune.engine.loading import NOTHING_TRAINS, Loaded, build, find_checkpoint, load
from segtune.engine.optim import build_optimizer, optimizer_state
from segtune.models.config import TrainSettings

ROWS_AND_ENCODER = NOTHING_TRAINS.model_copy(update={"seg_token": True, "mask_encoder": "full"})
WHOLE = NOTHING_TRAINS.model_copy(update={"llm": "full", "embeddings": "full", "projector": "full"})


def _stirred(loaded: Loaded, seed: int = 3) -> Loaded:
    """Every trained weight moved, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return loaded


def _about(loaded: Loaded, **more) -> dict:
    return {
        "model": loaded.config.model_dump(mode="json"), "base": loaded.config.base, "fingerprint": loaded.fingerprint,
        "conversation": loaded.conversation.wording.model_dump(mode="json"), "epoch": 1, "step": 7, **more,
    }  # fmt: skip


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def trained() -> Loaded:
    return _stirred(tiny_loaded())


@pytest.fixture
def place(tmp_path, trained) -> Path:
    """A checkpoint that training may continue from."""
    path = tmp_path / "run" / "checkpoints" / "last"
    save_checkpoint(
        path, trained.model, _about(trained), optimizer={"a|exp_avg": torch.ones(3)}, state={"epoch": 1, "step": 7}
    )
    return path


@pytest.mark.parametrize("train", [TrainSettings(), ROWS_AND_ENCODER, WHOLE], ids=["lora", "rows", "whole"])
@pytest.mark.parametrize("mask_features", ["encoder", "shared"])
def test_what_trained_comes_back_bit_for_bit(tmp_path, train, mask_features):
    if mask_features == "shared":
        train = train.model_copy(update={"mask_encoder": "frozen", "connector": "full"})
    loaded = _stirred(tiny_loaded(mask_features, train))
    save_checkpoint(tmp_path / "checkpoints" / "best", loaded.model, _about(loaded))
    again = load(str(tmp_path))
    again.model.eval()
    assert _same(_weights(loaded.model), _weights(again.model))
    with torch.no_grad():
        before, after = (x.model(batch_of(x, groups(2))) for x in (loaded, again))
    assert torch.equal(before.masks.logits, after.masks.logits)
    assert torch.equal(before.answer_logits, after.answer_logits)


def test_only_what_trained_is_stored_and_nothing_is_a_pickle(place, trained):
    names = {path.name for path in place.iterdir()}
    assert {ADAPTER, TRAINED, MANIFEST, "adapter_config.json", "checkpoint.json"} <= names
    assert all(name.endswith((".safetensors", ".json")) for name in names)
    assert not any(path.read_bytes().startswith(b"\x80") or b"\x80\x04\x95" in path.read_bytes()[:64]
                   for path in place.iterdir())  # fmt: skip
    trainable = sum(p.numel() for p in trained.model.parameters() if p.requires_grad)
    stored = sum((place / name).stat().st_size for name in (ADAPTER, TRAINED))
    assert 4 * trainable <= stored < 4 * trainable + 60_000, "weights and headers, and no frozen matrix"


def test_the_checkpoint_says_what_it_is(place, trained):
    about = open_checkpoint(place).about
    assert (about["format"], about["step"], about["fingerprint"]) == (1, 7, trained.fingerprint)
    tensors, state = load_training(open_checkpoint(place))
    assert tensors["a|exp_avg"].tolist() == [1, 1, 1]
    assert state == {"epoch": 1, "step": 7}


def test_a_flipped_byte_in_any_file_is_found_and_the_file_named(place):
    files = sorted(path for path in place.iterdir())
    assert len(files) == 7
    for path in files:
        whole = path.read_bytes()
        for position in {len(whole) // 2, len(whole) - 2, 5}:
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x01]) + whole[position + 1 :])
            with pytest.raises(CheckpointError) as caught:
                open_checkpoint(place)
            assert path.name in str(caught.value), (path.name, position)
        path.write_bytes(whole)
    open_checkpoint(place)


def test_every_damage_of_the_manifest_is_one_clear_error(place):
    manifest = place / MANIFEST
    whole = json.loads(manifest.read_text())
    name = TRAINED
    damaged = [
        "", "{", "[]", "null", '{"files": []}', '{"files": {}}', '{"other": {}}',
        json.dumps({"files": {**whole["files"], name: {}}}),
        json.dumps({"files": {**whole["files"], name: "text"}}),
        json.dumps({"files": {**whole["files"], "../../outside": whole["files"][name]}}),
        json.dumps({"files": {key: value for key, value in whole["files"].items() if key != name}}),
    ]  # fmt: skip
    for text in damaged:
        manifest.write_text(text)
        with pytest.raises(CheckpointError):
            open_checkpoint(place)


@pytest.mark.parametrize("name", ["trained.safetensors", "checkpoint.json", "adapter_model.safetensors"])
def test_a_missing_file_is_named(place, name):
    (place / name).unlink()
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(place)
    assert name in caught.value.where
    assert caught.value.found == "no such file"


def test_what_is_no_checkpoint_is_said(tmp_path):
    with pytest.raises(CheckpointError, match="no such directory"):
        open_checkpoint(tmp_path / "absent")
    with pytest.raises(CheckpointError, match=r"no manifest\.json"):
        open_checkpoint(tmp_path)


def test_another_format_is_refused(tmp_path, trained):
    save_checkpoint(tmp_path / "c", trained.model, {**_about(trained), "format": 99})
    with pytest.raises(CheckpointError, match="another format"):
        open_checkpoint(tmp_path / "c")


def test_training_does_not_continue_from_a_checkpoint_without_optimiser(tmp_path, trained):
    save_checkpoint(tmp_path / "best", trained.model, _about(trained))
    with pytest.raises(CheckpointError, match=r"no optimizer\.safetensors and no trainer_state\.json"):
        load_training(open_checkpoint(tmp_path / "best"))


def test_another_base_is_refused_before_anything_is_loaded(place):
    other = build(tiny_config(base=str(tiny_base(1))), None)
    before = _weights(other.model)
    with pytest.raises(CheckpointError, match="another base") as caught:
        load_weights(open_checkpoint(place), other.model, other.fingerprint)
    assert other.fingerprint in caught.value.found
    assert _same(before, _weights(other.model))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": TrainSettings(mask_decoder="frozen")}, "unexpected mask_model.sam.mask_decoder"),
        ({"train": TrainSettings(prompt_encoder="full")}, "missing mask_model.sam.prompt_encoder"),
        ({"seg_hidden": 32}, r"shape \(64,\) instead of \(32,\)"),
        ({"mask_features": "shared"}, "missing connector.mix.weight"),
        ({"train": TrainSettings(llm="frozen")}, "another base|adapters do not fit"),
        ({"lora": {"r": 4}}, "adapters do not fit"),
    ],
)
def test_a_model_made_otherwise_is_refused_by_name(place, changes, words):
    other = build(tiny_config(**changes), None)
    before = _weights(other.model)
    with pytest.raises(CheckpointError, match=words):
        load_weights(open_checkpoint(place), other.model, other.fingerprint)
    assert _same(before, _weights(other.model))


def test_leftovers_of_a_killed_process_are_cleaned(place, trained):
    checkpoints = place.parent
    (checkpoints / ".writing-last-123").mkdir()
    (checkpoints / ".writing-last-123" / TRAINED).write_bytes(b"half")
    place.rename(checkpoints / ".replaced-last")  # killed between the two renames
    clean_leftovers(checkpoints)
    assert [path.name for path in checkpoints.iterdir()] == ["last"]
    open_checkpoint(place)
    (checkpoints / ".replaced-last").mkdir()  # killed before the old one was removed
    save_checkpoint(place, trained.model, _about(trained, step=8))
    assert [path.name for path in checkpoints.iterdir()] == ["last"]
    assert open_checkpoint(place).about["step"] == 8


def test_reading_a_run_disturbs_no_writer(place):
    """Scoring a run while it trains must neither remove what is being written nor miss what was moved aside."""
    checkpoints = place.parent
    writing = checkpoints / ".writing-last-123"
    writing.mkdir()
    place.rename(checkpoints / ".replaced-last")
    found = find_checkpoint(str(checkpoints.parent))
    assert found.about["step"] == 7
    assert writing.is_dir()
    assert (checkpoints / ".replaced-last").is_dir()
    assert not place.exists()


@pytest.mark.parametrize("victim", ["save_file", "_write_json", "_seal", "_flush"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_checkpoint(place, trained, monkeypatch, victim, error):
    before = {path.name: path.read_bytes() for path in place.iterdir()}

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(module, victim, fail)
    with pytest.raises(type(error)):
        save_checkpoint(place, trained.model, _about(trained, step=99))
    monkeypatch.undo()
    assert [path.name for path in place.parent.iterdir()] == ["last"]
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


@pytest.mark.parametrize("call", [1, 2])
def test_a_failed_rename_loses_nothing(place, trained, monkeypatch, call):
    rename, calls = Path.rename, []

    def fail(self, target):
        calls.append(self)
        if len(calls) == call:
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="Input/output"):
        save_checkpoint(place, trained.model, _about(trained, step=99))
    monkeypatch.undo()
    clean_leftovers(place.parent)
    assert [path.name for path in place.parent.iterdir()] == ["last"]
    assert open_checkpoint(place).about["step"] == 7


def test_a_saved_optimiser_fits_the_model_it_came_from(tmp_path, trained):
    optimizer = build_optimizer(trained.model, OptimConfig())
    trained.model.zero_grad()
    trained.model(batch_of(trained, groups(1))).masks.logits.mean().backward()
    optimizer.zero_grad(set_to_none=False)
    state = optimizer_state(trained.model, optimizer)
    save_checkpoint(tmp_path / "last", trained.model, _about(trained), optimizer=state, state={"step": 0})
    tensors, _ = load_training(open_checkpoint(tmp_path / "last"))
    assert _same(tensors, state)


@pytest.mark.parametrize("mask_features", ["encoder", "shared"])
def test_training_may_start_from_a_checkpoint(tmp_path, mask_features):
    loaded = _stirred(tiny_loaded(mask_features))
    save_checkpoint(tmp_path / "checkpoints" / "best", loaded.model, _about(loaded))
    again = build(tiny_config(base=str(tmp_path), mask_features=mask_features), None)
    again.model.eval()
    with torch.no_grad():
        before, after = (x.model(batch_of(x, groups(1))) for x in (loaded, again))
    torch.testing.assert_close(before.masks.logits, after.masks.logits, rtol=1e-3, atol=1e-3)
    assert sum(p.numel() for p in again.model.parameters() if p.requires_grad) == sum(
        p.numel() for p in loaded.model.parameters() if p.requires_grad
    )
