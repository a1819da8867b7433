"""Checkpoints: written completely or not at all, free of pickle, and loaded strictly.

A checkpoint is a directory. It holds what trained (adapters in PEFT's own files, everything else by name in
`trained.safetensors`) and the bridge between the two models, which a base may lack; it says which base it belongs to
and, where training may continue from it, holds the optimiser. It is written beside its place, flushed, hashed into a
manifest and renamed; the previous one goes only when the new one is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from segtune.core.errors import CheckpointError
from segtune.core.files import read_json, sync_directory
from segtune.models.adapters import adapter_state, load_adapter_state
from segtune.models.reasoning import ReasoningSegmenter
from segtune.models.trainable import ADAPTERS, BRIDGE, canonical_name, component_of

FORMAT = 1
MANIFEST = "manifest.json"
ABOUT = "checkpoint.json"
TRAINED = "trained.safetensors"
ADAPTER = "adapter_model.safetensors"
OPTIMIZER = "optimizer.safetensors"
AVERAGES = "ema.safetensors"
STATE = "trainer_state.json"
_REPLACED = ".replaced-"
_ANOTHER = "use another checkpoint of the run (RUN@last or RUN@best), or copy it again"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A verified checkpoint on disk.

    Attributes:
        path: The directory.
        about: What `checkpoint.json` says: format, base, fingerprint, model and conversation config, step, epoch.
    """

    path: Path
    about: dict[str, Any]


def trained_names(model: nn.Module) -> frozenset[str]:
    """The names of the parameters that train now."""
    return frozenset(name for name, parameter in model.named_parameters() if parameter.requires_grad)


def trained_state(model: nn.Module, trained: Collection[str] | None = None) -> dict[str, Tensor]:
    """What a checkpoint holds apart from adapters, by canonical name.

    Args:
        model: The model.
        trained: Names of the parameters that train in any stage; None for those that train now.

    Returns:
        These parameters, always the bridge, and the buffers of modules with such parameters (what a batch norm has
        seen); on the CPU, and views of the model where it is there.
    """
    return {canonical_name(name): value.detach().cpu().contiguous() for name, value in _kept(model, trained)}


def _is_kept(component: str, trains: bool) -> bool:
    """The bridge always is, because a base may lack it; adapters have files of their own."""
    return component in BRIDGE or (trains and component not in ADAPTERS)


def _kept(model: nn.Module, trained: Collection[str] | None) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers that a checkpoint holds by name."""
    chosen = trained_names(model) if trained is None else trained
    first = {name for name, _ in model.named_parameters()}  # one that two modules share has one name
    for path, module in model.named_modules():
        place = f"{path}." if path else ""
        named = ((f"{place}{name}", value) for name, value in module.named_parameters(recurse=False))
        own = [(name, value) for name, value in named if name in first]
        kept = [
            (n, v) for n, v in own if component_of(n) in BRIDGE or (n in chosen and component_of(n) not in ADAPTERS)
        ]
        yield from kept
        if kept:
            lasting = module._buffers.keys() - module._non_persistent_buffers_set
            yield from ((f"{place}{name}", b) for name, b in module.named_buffers(recurse=False) if name in lasting)


def _adapted(model: nn.Module) -> nn.Module:
    """The part of a model whose adapters go into PEFT's own files."""
    return model.vlm.vlm if isinstance(model, ReasoningSegmenter) else model


def save_checkpoint(
    directory: Path,
    model: nn.Module,
    about: dict[str, Any],
    *,
    trained: Collection[str] | None = None,
    optimizer: dict[str, Tensor] | None = None,
    state: dict[str, Any] | None = None,
    averages: dict[str, Tensor] | None = None,
) -> None:
    """Writes a checkpoint in the place of `directory`, atomically.

    Args:
        directory: Where it will be; what is there stays until the new one is complete.
        model: What trained in it is saved.
        about: Facts for `checkpoint.json`.
        trained: Names of the parameters that train in any stage; None for those that train now.
        optimizer: Optimiser state by name, where training may continue from here.
        state: Trainer state, likewise.
        averages: Averaged weights, likewise, where there are any.

    Raises:
        OSError: No space or no permission; the old checkpoint is untouched and nothing half-written is left.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    clean_leftovers(directory.parent)
    beside = directory.parent / f".writing-{directory.name}-{os.getpid()}"
    try:
        beside.mkdir()
        save_file(trained_state(model, trained), beside / TRAINED)
        adapters = adapter_state(adapted := _adapted(model))
        if adapters:
            save_file({name: value.cpu().contiguous() for name, value in adapters.items()}, beside / ADAPTER)
            adapted.peft_config["default"].save_pretrained(beside)  # type: ignore[union-attr, index]
        _write_json(beside / ABOUT, {"format": FORMAT, **about})
        if optimizer is not None:
            save_file(optimizer, beside / OPTIMIZER)
        if averages is not None:
            save_file(averages, beside / AVERAGES)
        if state is not None:
            _write_json(beside / STATE, state)
        _seal(beside)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    _exchange(beside, directory)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _seal(directory: Path) -> None:
    """Flushes every file to the disk, then writes the manifest, last of all."""
    files = {}
    for path in sorted(directory.iterdir()):
        _flush(path)
        files[path.name] = _entry(path)
    _write_json(directory / MANIFEST, {"files": files})
    _flush(directory / MANIFEST)
    sync_directory(directory)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _entry(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def _exchange(new: Path, place: Path) -> None:
    """Renames a complete directory into its place. A crash between the two renames leaves both, under other names."""
    old = place.parent / f"{_REPLACED}{place.name}"
    if place.exists():
        place.rename(old)
    new.rename(place)
    sync_directory(place.parent)
    shutil.rmtree(old, ignore_errors=True)


def clean_leftovers(checkpoints: Path) -> None:
    """Removes what a killed process left half-written, and puts back what it had already moved aside.

    Only for whoever holds the run's lock: a process that is writing would lose its work. Readers use `present`.
    """
    if not checkpoints.is_dir():
        return
    for replaced in checkpoints.glob(f"{_REPLACED}*"):
        place = checkpoints / replaced.name.removeprefix(_REPLACED)
        if place.exists():
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            replaced.rename(place)
    for unfinished in checkpoints.glob(".writing-*"):
        shutil.rmtree(unfinished, ignore_errors=True)


def present(checkpoints: Path) -> dict[str, Path]:
    """The complete checkpoints of a run by name, also the one that a writer has just moved aside; changes nothing."""
    if not checkpoints.is_dir():
        return {}
    complete = sorted(path for path in checkpoints.iterdir() if (path / MANIFEST).is_file())
    aside = {path.name.removeprefix(_REPLACED): path for path in complete if path.name.startswith(_REPLACED)}
    return aside | {path.name: path for path in complete if not path.name.startswith(".")}


def open_checkpoint(path: Path) -> Checkpoint:
    """Verifies a checkpoint against its manifest.

    Raises:
        CheckpointError: It is none, or a file is missing or damaged; the file is named.
    """
    if not (path / MANIFEST).is_file():
        raise CheckpointError(
            "this is no complete checkpoint", where=str(path), expected=f"a directory with {MANIFEST}",
            found="no such directory" if not path.exists() else f"no {MANIFEST}",
        )  # fmt: skip
    for name, entry in _listed(path).items():
        file = path / name
        if not file.is_file() or _entry(file) != entry:
            raise CheckpointError(
                "this checkpoint is damaged", where=str(file), expected=f"the content that {MANIFEST} tells",
                found="no such file" if not file.is_file() else "other content", fix=_ANOTHER,
            )  # fmt: skip
    about = read_json(path / ABOUT)
    if about.get("format") != FORMAT:
        raise CheckpointError(
            "this checkpoint has another format", where=str(path), expected=str(FORMAT), found=str(about.get("format"))
        )
    return Checkpoint(path, about)


def _listed(path: Path) -> dict[str, Any]:
    """The files that the manifest of a checkpoint lists."""
    manifest = read_json(path / MANIFEST)
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict) or not {ABOUT, TRAINED} <= files.keys() or any(Path(n).name != n for n in files):
        raise CheckpointError(
            "this checkpoint is damaged", where=str(path / MANIFEST), expected="a list of the checkpoint's files",
            found=str(manifest)[:80], fix=_ANOTHER,
        )  # fmt: skip
    return files


def load_weights(
    checkpoint: Checkpoint, model: nn.Module, base_fingerprint: str, trained: Collection[str] | None = None
) -> None:
    """Puts a checkpoint's weights into a freshly assembled model, strictly.

    Args:
        checkpoint: From `open_checkpoint`.
        model: Assembled from the same config; changed in place.
        base_fingerprint: `models.weights.fingerprint` of that model.
        trained: Names of the parameters that train in any stage; None for those that train now.

    Raises:
        CheckpointError: Another base, or names and shapes that differ; both lists are given.
    """
    where = str(checkpoint.path)
    expected = trained_state(model, trained)
    saved = _read(checkpoint.path / TRAINED)
    problems = [f"missing {name}" for name in expected.keys() - saved.keys()]
    problems += [f"unexpected {name}" for name in saved.keys() - expected.keys()]
    problems += [
        f"{name}: shape {tuple(saved[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected.keys() & saved.keys()
        if saved[name].shape != expected[name].shape
    ]
    if problems:
        raise CheckpointError("this checkpoint does not fit the model", where=where, found="; ".join(problems[:20]))
    if checkpoint.about.get("fingerprint") != base_fingerprint:
        raise CheckpointError(
            "this checkpoint belongs to another base", where=where,
            expected=f"the base {checkpoint.about.get('base')} with fingerprint {checkpoint.about.get('fingerprint')}",
            found=f"fingerprint {base_fingerprint}",
            fix="the frozen weights changed since it was trained; restore them",
        )  # fmt: skip
    adapters = _read(checkpoint.path / ADAPTER) if (checkpoint.path / ADAPTER).is_file() else {}
    load_adapter_state(_adapted(model), adapters, where)
    own = {canonical_name(name): value for name, value in _kept(model, trained)}
    with torch.no_grad():
        for name, value in saved.items():
            own[name].copy_(value)


def load_training(checkpoint: Checkpoint) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The optimiser's and the trainer's state.

    Raises:
        CheckpointError: This checkpoint was not made to continue from; nothing starts afresh silently.
    """
    missing = [name for name in (OPTIMIZER, STATE) if not (checkpoint.path / name).is_file()]
    if missing:
        raise CheckpointError(
            "training cannot continue from this checkpoint", where=str(checkpoint.path),
            expected=f"{OPTIMIZER} and {STATE}", found=f"no {' and no '.join(missing)}", fix="resume from RUN@last",
        )  # fmt: skip
    state = json.loads((checkpoint.path / STATE).read_text(encoding="utf-8"))
    return _read(checkpoint.path / OPTIMIZER), state


def load_averages(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The averaged weights.

    Raises:
        CheckpointError: There are none: the run did not average when it was saved.
    """
    return _read(checkpoint.path / AVERAGES)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own type for damage, OSError for absence
        raise CheckpointError("this file cannot be read", where=str(path), found=str(error)) from error
