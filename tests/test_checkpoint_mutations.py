"""Damaged checkpoints are refused by file, or give what was saved; see `tests/mutations.py`.

Each file of a checkpoint is changed twice: with the manifest as it was, where nothing but white space in the manifest
itself may pass, and with a manifest that was written anew, as somebody does who edits a checkpoint. Then a changed
value is still refused where anybody can know that it is wrong. What nobody can know, and is read as the file says:

- a weight, a moment or an average that is another finite number (a second moment: that is not negative);
- of the state: values of metrics (the sums of the epoch) that contradict nothing else;
- of a model for questions: its wording, the length of its answers, its precision, and settings that build the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from tests.factory import tiny_loaded
from tests.interrupting import interrupted
from tests.mutations import Layout, Mutation, Reading, by_outcome, byte_mutations, edited, flipped, json_mutations, run
from tests.photos import write_photos
from tests.test_dense_experiment import config as dense_config
from torch import Tensor

from segtune import experiment
from segtune.core.input_spec import ConversationConfig
from segtune.core.pointers import resolve
from segtune.core.rundir import RunDir
from segtune.engine import loading
from segtune.engine.checkpoint import open_checkpoint, save_checkpoint
from segtune.engine.checkpoint_files import (
    ABOUT,
    ADAPTER,
    ADAPTER_CONFIG,
    AVERAGES,
    MANIFEST,
    OPTIMIZER,
    STATE,
    TRAINED,
    entry,
)
from segtune.engine.optim import optimizer_state
from segtune.engine.trained import trained_state
from segtune.experiment import continuing, dense
from segtune.experiment import run as course
from segtune.experiment.again import load_run
from segtune.models.adapters import adapter_state
from segtune.models.config import ModelConfig

RUN = Path("runs/a")
LAST = RUN / "checkpoints" / "step-00000003"


def _digests(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Name, type, shape and bits of tensors."""
    return {
        name: f"{value.dtype} {list(value.shape)} {hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()}"
        for name, value in sorted((name, value.detach()) for name, value in tensors.items())
    }


def _resealed(checkpoint: Path) -> None:
    """Makes the manifest tell what lies there now."""
    files = {path.name: entry(path) for path in sorted(checkpoint.iterdir()) if path.name != MANIFEST}
    (checkpoint / MANIFEST).write_text(json.dumps({"files": files}))


# --- a dense run that goes on in the middle of an epoch


@cache
def _stopped() -> Path:
    """A folder with photos and a run that was stopped after its third step; only copied."""
    place = Path(tempfile.mkdtemp(prefix="segtune-mutations-"))
    write_photos(place / "photos")
    before = Path.cwd()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()):
        patch.chdir(place)
        patch.setenv("ACCELERATE_USE_CPU", "true")
        patch.setattr(course, "write_report", lambda path: None)
        interrupted(patch, dense_config("a", "train.ema=0.5"), after=3)
    assert Path.cwd() == before
    return place


def _write_run(folder: Path) -> None:
    shutil.copytree(_stopped(), folder, symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(folder / LAST.parent / "step-00000002")  # or a damaged checkpoint would give way to it


class _Stopped(Exception):
    """Raised where training would go on."""


@contextmanager
def _in_place(folder: Path) -> Iterator[None]:
    """There, with data and model made once: what is read of a checkpoint replaces all that trains."""
    data, sessions, packages = dense.read_data, course._open, continuing.describe()
    found, kept = load_run(RunDir.open(folder / RUN)), dict[str, Any]()

    def once(make: Callable[..., Any], config: Any, *rest: Any) -> Any:
        key = f"{make.__name__} {config.model_dump_json()}"
        if key not in kept:
            kept[key] = make(config, *rest)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()):
        patch.chdir(folder)
        patch.setenv("ACCELERATE_USE_CPU", "true")
        patch.setattr(dense, "read_data", lambda config: once(data, config))
        patch.setattr(course, "_open", lambda config, *rest: once(sessions, config, *rest))
        patch.setattr(course, "load_run", lambda run: found)
        patch.setattr(continuing, "describe", lambda: packages)
        yield


def _resumed(folder: Path, *, reseal: bool) -> Reading:
    """What training goes on with, read from a copy, because a resume writes into its run."""
    scratch = folder.parent / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)

    def copied(source: str, target: str) -> None:
        (os.link if source.endswith(".safetensors") else shutil.copyfile)(source, target)

    shutil.copytree(folder / RUN, scratch, symlinks=True, copy_function=copied)
    if reseal:
        _resealed(scratch / "checkpoints" / LAST.name)
    items: dict[str, Any] = {}

    class Trainer:
        def __init__(self, model: Any, optimizer: Any, *rest: Any, state: Any, ema: Any, **named: Any) -> None:
            items["weights"] = _digests(trained_state(model, rest[4].trained))
            items["optimizer"] = _digests(optimizer_state(model, optimizer.optimizer))
            items["averages"] = _digests(ema.state())
            items["state"] = asdict(state)

        def fit(self) -> None:
            raise _Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(course, "Trainer", Trainer)
        with pytest.raises(_Stopped):
            experiment.resume(scratch)
    about = open_checkpoint(scratch / "checkpoints/last").about
    items["about"] = {key: about.get(key) for key in ("format", "epoch", "step")}
    items["names"] = sorted(
        (path.name, resolve(path).name) for path in (scratch / "checkpoints").iterdir() if path.is_symlink()
    )
    return Reading(items)


def _plain_run(folder: Path) -> dict[str, Any]:
    place = folder / LAST
    about = json.loads((place / ABOUT).read_bytes())
    return {
        "weights": _digests(load((place / TRAINED).read_bytes())),
        "optimizer": _digests(load((place / OPTIMIZER).read_bytes())),
        "averages": _digests(load((place / AVERAGES).read_bytes())),
        "state": json.loads((place / STATE).read_bytes()),
        "about": {key: about[key] for key in ("format", "epoch", "step")},
        "names": sorted([*about["names"].items(), ("last", LAST.name)]),
    }


def _as_they_are(rng: random.Random, files: Mapping[str, bytes]) -> Iterator[tuple[str, Mutation]]:
    for file in sorted(file for file in files if Path(file).parent == LAST):
        few = not file.endswith(MANIFEST)
        for one in byte_mutations(rng, len(files[file]), flips=5 if few else 25, cuts=1 if few else 4):
            yield file, Mutation(one.name, one.apply, wrong=True)
        if file.endswith(".json"):
            for one in json_mutations(rng, files[file], 1 if few else 6):
                yield file, Mutation(one.name, one.apply, wrong=True)


def _rewritten(rng: random.Random, files: Mapping[str, bytes]) -> Iterator[tuple[str, Mutation]]:
    about, state = str(LAST / ABOUT), str(LAST / STATE)
    for one in json_mutations(rng, files[about], 5):
        yield about, Mutation(one.name, one.apply, wrong=True)
    for key in ("epoch", "step", "fingerprint", "names", "config", "data", "model", "classes", "blocks", "encoder"):
        yield about, Mutation(f"{key} is of another kind", edited("", _other(key)).apply, wrong=True)
    yield about, Mutation("white space", lambda raw: json.dumps(json.loads(raw)).encode())
    for one in json_mutations(rng, files[state], 6):
        yield state, Mutation(one.name, one.apply)
    for key in json.loads(files[state]):
        yield state, Mutation(f"{key} is a text", edited("", lambda v, k=key: v.update({k: "x"})).apply, wrong=True)
    for key in ("epoch", "step", "window", "stage", "stage_epoch", "stage_step", "best_epoch", "processes"):
        for by in (1, -5, 10**6):
            moved = edited("", lambda v, k=key, n=by: v.update({k: v[k] + n}))
            yield state, Mutation(f"{key} moved by {by}", moved.apply, wrong=True)
    for values in (
        {"best": 0.999}, {"best": -7.5}, {"best": None}, {"skipped": 10**9}, {"skipped": 2}, {"reductions": 1},
        {"plateau": {"best": 0.5, "waited": 0}}, {"stopping": {"best": None, "waited": 1}},
        {"stage_best": {"best": 0.5, "waited": 0}}, {"best_forced": 0.5}, {"processes": 2},
    ):  # fmt: skip
        yield state, Mutation(f"{values}", edited("", lambda v, new=values: v.update(new)).apply, wrong=True)
    for name in (TRAINED, OPTIMIZER, AVERAGES):
        yield from ((str(LAST / name), mutation) for mutation in _tensor_mutations(rng, files[str(LAST / name)]))
    optimizer = str(LAST / OPTIMIZER)
    for field, value in (("exp_avg_sq", -1.0), ("step", 0.0), ("step", 4.0), ("step", 1.5), ("step", -1.0)):
        yield optimizer, Mutation(f"{field} is {value}", _tensors(_filled(f"|{field}", value)), wrong=True)


def _other(key: str) -> Callable[[Any], None]:
    return lambda values: values.update({key: [values[key]]})


def _tensor_mutations(rng: random.Random, raw: bytes) -> Iterator[Mutation]:
    """Of a safetensors file: its header, its tensors, and their numbers, which alone may be others."""
    start = 8 + int.from_bytes(raw[:8], "little")
    for _ in range(6):
        place, bit = rng.randrange(start), rng.randrange(8)
        yield Mutation(f"bit {bit} of byte {place} (header) flipped", lambda r, p=place, b=bit: flipped(r, p, b), True)
    for _ in range(4):
        place, bit = rng.randrange(start, len(raw)), rng.randrange(8)
        yield Mutation(f"bit {bit} of byte {place} flipped", lambda r, p=place, b=bit: flipped(r, p, b))
    for one in byte_mutations(rng, len(raw), flips=0, cuts=1):
        yield Mutation(one.name, one.apply, wrong=not one.name.startswith("zeros"))
    for value in (float("nan"), float("inf"), float("-inf")):
        yield Mutation(f"{value} in one", _tensors(_filled("", value)), wrong=True)
    yield Mutation("one gone", _tensors(lambda t: t.pop(max(t)) is None), wrong=True)
    yield Mutation("one more", _tensors(lambda t: t.update(more=torch.zeros(2))), wrong=True)
    yield Mutation("one renamed", _tensors(lambda t: t.update(x=t.pop(max(t)))), wrong=True)
    for name, change in _CHANGES.items():
        yield Mutation(f"{name} in one", _tensors(_changed(change)), wrong=True)
    yield Mutation("another number", _tensors(_filled("", 0.125)))
    yield Mutation("in another order", lambda r: save(dict(reversed(load(r).items()))))
    yield Mutation("with metadata", lambda r: save(load(r), metadata={"by": "somebody"}))


_CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "half": Tensor.half, "bfloat16": Tensor.bfloat16, "double": Tensor.double, "whole numbers": Tensor.long,
    "a flat shape": lambda t: t.reshape(-1, 1, 1), "one number less": lambda t: t.flatten()[1:].clone(),
    "no number": lambda t: t.new_zeros(0), "one axis more": lambda t: t[None],
}  # fmt: skip


def _tensors(change: Callable[[dict[str, Tensor]], Any]) -> Callable[[bytes], bytes]:
    def apply(raw: bytes) -> bytes:
        tensors = load(raw)
        change(tensors)
        return save({name: value.contiguous() for name, value in tensors.items()})

    return apply


def _chosen(tensors: dict[str, Tensor], ending: str = "") -> str:
    """The name of the largest tensor with such an end."""
    return max((t for t in tensors if t.endswith(ending)), key=lambda name: (tensors[name].numel(), name))


def _changed(change: Callable[[Tensor], Tensor]) -> Callable[[dict[str, Tensor]], None]:
    return lambda tensors: tensors.update({(name := _chosen(tensors)): change(tensors[name])})


def _filled(ending: str, value: float) -> Callable[[dict[str, Tensor]], None]:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors[_chosen(tensors, ending)].view(-1)[0] = value

    return change


_RUN_FILES = (ABOUT, STATE, TRAINED, OPTIMIZER, AVERAGES, MANIFEST)
_USED = ("weights", "optimizer", "averages", "state", "about", "names")


def _of_run(name: str, mutations: Any, *, reseal: bool) -> Layout:
    return Layout(
        name, _write_run, lambda folder: _resumed(folder, reseal=reseal), _plain_run, mutations, _named,
        lambda file: _USED, kind=lambda file: "checkpoint", around=_in_place,
    )  # fmt: skip


def _named(file: str) -> tuple[str, ...]:
    """What a refusal names: the file, or the other side of a contradiction, which may as well be the wrong one."""
    name = Path(file).name
    others = {ABOUT: (TRAINED, ADAPTER, ADAPTER_CONFIG), STATE: (ABOUT,)}
    return (name, *others.get(name, ()))


AS_THEY_ARE = _of_run("checkpoint", _as_they_are, reseal=False)
REWRITTEN = _of_run("checkpoint with its manifest written anew", _rewritten, reseal=True)


# --- a model for questions that is loaded


@cache
def _answering() -> loading.Loaded:
    """A tiny model whose trained weights have moved."""
    loaded = tiny_loaded()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return loaded


def _write_model(folder: Path) -> None:
    loaded = _answering()
    save_checkpoint(folder / "m" / "checkpoints" / "best", loaded.model, {**loaded.about(), "epoch": 1, "step": 7})


@contextmanager
def _built_once(folder: Path) -> Iterator[None]:
    """The model of the same settings is made once; others are built each time."""
    own, kept = loading.build, tiny_loaded()

    def build(config: ModelConfig, wording: ConversationConfig | None, *rest: Any) -> loading.Loaded:
        if config != kept.config or wording != kept.conversation.wording:
            return own(config, wording, *rest)
        with torch.no_grad():
            for parameter in kept.model.parameters():
                if parameter.requires_grad:
                    parameter.zero_()
        return kept

    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()):
        patch.setattr(loading, "build", build)
        yield


def _read_model(folder: Path) -> Reading:
    _resealed(folder / "m/checkpoints/best")
    loaded = loading.load(str(folder / "m"))
    return Reading(
        {
            "model": loaded.config.model_dump(mode="json"), "precision": loaded.precision,
            "conversation": loaded.conversation.wording.model_dump(mode="json"),
            "max_new_tokens": loaded.max_new_tokens, "weights": _digests(trained_state(loaded.model)),
            "adapters": _digests(adapter_state(loaded.model.vlm.vlm)),
        }
    )  # fmt: skip


def _plain_model(folder: Path) -> dict[str, Any]:
    place = folder / "m/checkpoints/best"
    about = json.loads((place / ABOUT).read_bytes())
    return {
        "model": ModelConfig(**about["model"]).model_dump(mode="json"),
        "precision": about.get("precision") or "fp32",
        "conversation": ConversationConfig(**about["conversation"]).model_dump(mode="json"),
        "max_new_tokens": about.get("max_new_tokens") or 32, "weights": _digests(load((place / TRAINED).read_bytes())),
        "adapters": _digests(load((place / ADAPTER).read_bytes())),
    }  # fmt: skip


def _model_mutations(rng: random.Random, files: Mapping[str, bytes]) -> Iterator[tuple[str, Mutation]]:
    place = Path("m/checkpoints/best")
    yield from ((str(place / ABOUT), one) for one in json_mutations(rng, files[str(place / ABOUT)], 6))
    for one in json_mutations(rng, files[str(place / ADAPTER_CONFIG)], 8):
        yield str(place / ADAPTER_CONFIG), Mutation(one.name, one.apply, wrong=True)
    for name in (TRAINED, ADAPTER):
        for one in _tensor_mutations(rng, files[str(place / name)]):
            yield str(place / name), one


MODEL = Layout(
    "model for questions with its manifest written anew", _write_model, _read_model, _plain_model, _model_mutations,
    _named,
    lambda file: ("model", "precision", "conversation", "max_new_tokens", "weights", "adapters"),
    kind=lambda file: "checkpoint", around=_built_once,
)  # fmt: skip

LAYOUTS = (AS_THEY_ARE, REWRITTEN, MODEL)


@pytest.mark.parametrize("layout", LAYOUTS, ids=["as-it-is", "rewritten", "model"])
def test_nothing_of_a_checkpoint_is_misread_in_silence(layout: Layout, tmp_path: Path) -> None:
    found, failures = run(layout, tmp_path / "data")
    outcomes = by_outcome(found)
    assert not failures, "\n".join(failures)
    assert outcomes.total() >= 60
    assert outcomes["refused"] >= 50
    assert (outcomes["honest"] == 0) == (layout is AS_THEY_ARE)
