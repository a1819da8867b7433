from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from tests.factory import batch_of, groups, tiny_base, tiny_config, tiny_loaded
from torch import nn

from segtune.core.errors import CheckpointError
from segtune.engine import checkpoint as module
from segtune.engine import checkpoint_files, loading
from segtune.engine.adapter_config import write_adapter_config
from segtune.engine.checkpoint import (
    load_averages,
    load_training,
    load_weights,
    open_checkpoint,
    restate_checkpoint,
    save_checkpoint,
)
from segtune.engine.checkpoint_files import (
    ABOUT,
    ADAPTER,
    ADAPTER_CONFIG,
    AVERAGES,
    MANIFEST,
    OPTIMIZER,
    STATE,
    TRAINED,
    NotFinite,
    entry,
)
from segtune.engine.config import OptimConfig
from segtune.engine.loading import NOTHING_TRAINS, Loaded, build, load
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


def test_a_base_that_is_configured_otherwise_is_refused_by_part(tmp_path):
    base = Path(shutil.copytree(tiny_base(), tmp_path / "base"))
    loaded = build(tiny_config(base=str(base)), None)
    about = {**loaded.about(), "epoch": 1, "step": 7}
    save_checkpoint(tmp_path / "run/checkpoints/best", loaded.model, about)
    old = {key: value for key, value in about.items() if key != "described"}
    save_checkpoint(tmp_path / "old/checkpoints/best", loaded.model, old)
    assert load(str(tmp_path / "run")).fingerprint == loaded.fingerprint
    for file, change, part in (
        ("vlm/config.json", {"vision_feature_layer": -1}, "vlm/config.json"),
        ("mask_model/preprocessor_config.json", {"image_mean": [0.1, 0.2, 0.3]}, "how it wants images"),
        ("vlm/tokenizer.json", {"normalizer": {"type": "Lowercase"}}, "tokenizer"),
    ):
        whole = (base / file).read_text()
        (base / file).write_text(json.dumps({**json.loads(whole), **change}))
        with pytest.raises(CheckpointError, match="no longer the one that this checkpoint was trained on") as caught:
            load(str(tmp_path / "run"))
        assert caught.value.exit_code == 3
        assert part in caught.value.found
        assert ";" not in caught.value.found, "one part changed"
        assert "run/checkpoints/best/checkpoint.json" in caught.value.where
        assert load(str(tmp_path / "old")).fingerprint == loaded.fingerprint, "from before: nothing to compare"
        (base / file).write_text(whole)


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


@pytest.mark.parametrize("victim", ["save_file", "write_json_file", "seal", "flush"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_nothing(place, trained, monkeypatch, victim, error):
    def fail(*args, **kwargs):
        raise error

    for where in (module, checkpoint_files):
        monkeypatch.setattr(where, victim, fail, raising=False)
    with pytest.raises(type(error)):
        save_checkpoint(place.with_name("other"), trained.model, _about(trained, step=99))
    assert [path.name for path in place.parent.iterdir()] == ["last"]


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_weights_are_readable_as_the_umask_says(mask, tmp_path, trained):
    before = os.umask(mask)
    try:
        save_checkpoint(tmp_path / "c", trained.model, _about(trained), optimizer={"a|": torch.zeros(0)}, state={})
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "c").iterdir()}
    assert set(modes.values()) == {0o666 & ~mask}, modes


def test_adapters_are_described_in_the_same_order_by_every_process(tmp_path):
    """PEFT holds targets as a set, whose order depends on the hash seed of the process."""
    targets = [f"layer{index}.q_proj" for index in range(30)]
    model = SimpleNamespace(peft_config={"default": LoraConfig(target_modules=targets)})
    write_adapter_config(tmp_path / ADAPTER_CONFIG, model)
    assert json.loads((tmp_path / ADAPTER_CONFIG).read_text())["target_modules"] == sorted(targets)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["weights", "optimizer", "averages"])
def test_what_is_not_finite_is_not_saved(part, value, tmp_path):
    loaded = tiny_loaded()
    tensors = {"optimizer": {"a|exp_avg": torch.ones(3)}, "averages": {"a": torch.ones(3)}}
    name = "a"
    if part == "weights":
        name, parameter = next((n, p) for n, p in loaded.model.named_parameters() if n.startswith("seg_projection"))
        parameter.data.view(-1)[0] = value
    else:
        next(iter(tensors[part].values()))[1] = value
    with pytest.raises(NotFinite, match=name) as caught:
        save_checkpoint(tmp_path / "c", loaded.model, _about(loaded), state={}, **tensors)
    assert caught.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_a_new_state_is_written_beside_the_same_tensors(place, trained):
    newer = place.with_name("newer")
    restate_checkpoint(place, newer, _about(trained, epoch=2), {"epoch": 2})
    assert open_checkpoint(newer).about["epoch"] == 2
    assert load_training(open_checkpoint(newer))[1] == {"epoch": 2}
    assert open_checkpoint(place).about["epoch"] == 1
    assert (newer / OPTIMIZER).stat().st_ino == (place / OPTIMIZER).stat().st_ino
    shutil.rmtree(place)
    load_weights(open_checkpoint(newer), tiny_loaded().model, trained.fingerprint)


def test_a_saved_optimiser_fits_the_model_it_came_from(tmp_path, trained):
    optimizer = build_optimizer(trained.model, OptimConfig())
    trained.model.zero_grad()
    trained.model(batch_of(trained, groups(1))).masks.logits.mean().backward()
    optimizer.zero_grad(set_to_none=False)
    state = optimizer_state(trained.model, optimizer)
    save_checkpoint(tmp_path / "last", trained.model, _about(trained), optimizer=state, state={"step": 7})
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


# --- values that cannot be, with the manifest rewritten to match them


def _reseal(place: Path) -> None:
    """Makes the manifest tell what lies there now, as somebody does who forges a checkpoint."""
    files = {path.name: entry(path) for path in sorted(place.iterdir()) if path.name != MANIFEST}
    (place / MANIFEST).write_text(json.dumps({"files": files}))


def _json(name: str, change: Callable[[dict], object]) -> Callable[[Path], None]:
    def forge(place: Path) -> None:
        values = json.loads((place / name).read_text())
        new = change(values)
        (place / name).write_text(json.dumps(values if new is None else new))

    return forge


def _text(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda place: (place / name).write_bytes(content) and None


def _tensors(name: str, change: Callable[[dict], object]) -> Callable[[Path], None]:
    def forge(place: Path) -> None:
        tensors = load_file(place / name)
        change(tensors)
        save_file(tensors, place / name)

    return forge


def _first(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[dict], None]:
    def apply(tensors: dict) -> None:
        name = sorted(tensors)[0]
        tensors[name] = change(tensors[name]).contiguous()

    return apply


def _broken(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor.view(-1)[0] = value
        return tensor

    return change


FORGED = {
    "format text": _json(ABOUT, lambda v: v.update(format="1")),
    "epoch -5": _json(ABOUT, lambda v: v.update(epoch=-5)),
    "epoch text": _json(ABOUT, lambda v: v.update(epoch="3")),
    "step huge": _json(ABOUT, lambda v: v.update(step=10**400)),
    "step float": _json(ABOUT, lambda v: v.update(step=7.0)),
    "unknown key": _json(ABOUT, lambda v: v.update(auto_map={"AutoModel": "evil.Model"})),
    "a list": _json(ABOUT, lambda v: [v]),
    "names outside": _json(ABOUT, lambda v: v.update(names={"best": "../../step-00000001-weights"})),
    "name of another": _json(ABOUT, lambda v: v.update(names={"../config.yaml": "step-00000001-weights"})),
    "no model": _json(ABOUT, lambda v: v.pop("model") and None),
    "model unknown": _json(ABOUT, lambda v: v["model"].update(colour="red")),
    "model text": _json(ABOUT, lambda v: v.update(model="tiny")),
    "no conversation": _json(ABOUT, lambda v: v.pop("conversation") and None),
    "conversation": _json(ABOUT, lambda v: v["conversation"].update(forced_answer=7)),
    "no fingerprint": _json(ABOUT, lambda v: v.pop("fingerprint") and None),
    "answers of no length": _json(ABOUT, lambda v: v.update(max_new_tokens=0)),
    "metric": _json(ABOUT, lambda v: v.update(metrics={"loss": "low"})),
    "not UTF-8": _text(ABOUT, b'{"format": 1, "base": "\xff\xfe"}'),
    "not JSON": _text(ABOUT, b"{'format': 1}"),
    "empty": _text(ABOUT, b""),
    "NaN": _text(ABOUT, b'{"format": 1, "metrics": {"loss": NaN}}'),
    "twice": _text(ABOUT, b'{"format": 1, "format": 1}'),
    "deep": _text(ABOUT, b'{"format": 1, "model": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "many digits": _text(ABOUT, b'{"format": 1, "step": ' + b"9" * 6000 + b"}"),
    "foreign base": _json(ADAPTER_CONFIG, lambda v: v.update(base_model_name_or_path="somebody/else")),
    "adapter rank": _json(ADAPTER_CONFIG, lambda v: v.update(r=64)),
    "adapter alpha": _json(ADAPTER_CONFIG, lambda v: v.update(lora_alpha=1.0)),
    "adapter type": _json(ADAPTER_CONFIG, lambda v: v.update(peft_type="EVIL")),
    "adapter key": _json(ADAPTER_CONFIG, lambda v: v.update(auto_mapping={"base_model_class": "os.system"})),
    "adapter unknown": _json(ADAPTER_CONFIG, lambda v: v.update(colour="red")),
    "adapter missing": _json(ADAPTER_CONFIG, lambda v: v.pop("r") and None),
    "adapter list": _json(ADAPTER_CONFIG, lambda v: [1]),
    "adapter targets": _json(ADAPTER_CONFIG, lambda v: v.update(target_modules=[["q_proj"]])),
    "no tensors": _text(TRAINED, b""),
    "header": _text(TRAINED, b"\xff" * 64),
    "weights NaN": _tensors(TRAINED, _first(_broken(float("nan")))),
    "weights inf": _tensors(TRAINED, _first(_broken(float("-inf")))),
    "weights half": _tensors(TRAINED, _first(lambda t: t.half())),
    "weights shape": _tensors(TRAINED, _first(lambda t: t.flatten()[:-1])),
    "weights missing": _tensors(TRAINED, lambda t: t.pop(sorted(t)[0]) is None),
    "weights more": _tensors(TRAINED, lambda t: t.update(more=torch.zeros(2))),
    "adapter NaN": _tensors(ADAPTER, _first(_broken(float("nan")))),
    "adapter double": _tensors(ADAPTER, _first(lambda t: t.double())),
    "adapter shape": _tensors(ADAPTER, _first(lambda t: t.flatten()[:-1])),
    "adapter gone": lambda place: (place / ADAPTER).unlink(),
}  # fmt: skip


@pytest.fixture
def _built_once(trained, monkeypatch):
    """Building the model is the slow part of loading, and what is refused leaves it as it is."""
    monkeypatch.setattr(loading, "build", lambda *arguments, **named: trained)


@pytest.mark.usefixtures("_built_once")
@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_checkpoint_is_refused_whatever_its_manifest_says(forged, place):
    FORGED[forged](place)
    _reseal(place)
    with pytest.raises(CheckpointError) as caught:
        load(str(place))
    assert caught.value.exit_code == 3
    assert caught.value.where


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["files"].pop(ADAPTER),
        lambda m: m["files"].pop(STATE),
        lambda m: m["files"].update({MANIFEST: m["files"][TRAINED]}),
        lambda m: m["files"].update({"../x": m["files"][TRAINED]}),
        lambda m: m["files"].update({"extra": m["files"][TRAINED]}),
        lambda m: m["files"][TRAINED].update(bytes=-1),
        lambda m: m["files"][TRAINED].update(bytes="7"),
        lambda m: m["files"][TRAINED].update(sha256="x"),
        lambda m: m["files"][TRAINED].update(more=1),
        lambda m: m.update(more=1),
    ],
)
@pytest.mark.usefixtures("_built_once")
def test_a_forged_manifest_is_refused(change, place):
    manifest = json.loads((place / MANIFEST).read_text())
    change(manifest)
    (place / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError):
        load(str(place))


def test_files_that_nobody_reads_may_lie_beside(place):
    (place / ".DS_Store").write_text("")
    (place / "notes.txt").write_text("the good one")
    load(str(place))


@pytest.mark.parametrize("content", [b"", b"[]", b"7", b'{"epoch": NaN}', b"\xff"])
def test_a_state_that_is_none_is_refused(content, place):
    (place / STATE).write_bytes(content)
    _reseal(place)
    with pytest.raises(CheckpointError):
        load_training(open_checkpoint(place))


@pytest.mark.parametrize("read", [load_training, load_averages])
def test_moments_and_averages_that_are_not_finite_are_refused(read, tmp_path, trained):
    place, ones = tmp_path / "c", {"a": torch.ones(3)}
    save_checkpoint(place, trained.model, _about(trained), optimizer=ones, state={}, averages=dict(ones))
    _tensors(OPTIMIZER if read is load_training else AVERAGES, _first(_broken(float("nan"))))(place)
    _reseal(place)
    with pytest.raises(CheckpointError, match="NaN or infinity"):
        read(open_checkpoint(place))


# --- a refusal names the file


@pytest.mark.parametrize("key", ["epoch", "step"])
def test_two_files_that_tell_other_steps_are_refused(key, place):
    _json(ABOUT, lambda values: values.update({key: values[key] + 1}))(place)
    _reseal(place)
    with pytest.raises(CheckpointError, match=f"contradict each other[\\s\\S]*{key}") as caught:
        load_training(open_checkpoint(place))
    assert caught.value.where == str(place / ABOUT)


@pytest.mark.parametrize("name", [TRAINED, ADAPTER])
@pytest.mark.usefixtures("_built_once")
def test_tensors_that_do_not_fit_are_told_with_their_file(name, place):
    _tensors(name, _first(lambda tensor: tensor.flatten()[1:].clone()))(place)
    _reseal(place)
    with pytest.raises(CheckpointError) as caught:
        load(str(place))
    assert caught.value.where == str(place / name)


@pytest.mark.parametrize(("change", "words"), [({"r": 10**7}, "65536"), ({"targets": ["odd"]}, "odd")])
def test_a_model_that_cannot_be_built_is_the_fault_of_the_checkpoint(change, words, place):
    """A forged rank would take all memory, and a layer that is not there is no mistake in a recipe."""
    _json(ABOUT, lambda values: values["model"]["lora"].update(change))(place)
    _reseal(place)
    with pytest.raises(CheckpointError, match=words) as caught:
        load(str(place))
    assert ABOUT in caught.value.where
