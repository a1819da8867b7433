"""Checkpoints: directories that are written completely or not at all, never change, and are loaded strictly.

A checkpoint holds what trained (adapters in PEFT's own files, everything else by name in `trained.safetensors`) and the
bridge between the two models, which a base may lack; it says which base it belongs to and, where training may continue
from it, holds the optimiser. It is written beside its place, flushed, hashed into a manifest and renamed. Which names
point to it, and how long it stays, is decided in `checkpoint_store`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segtune.core import pointers
from segtune.core.config import ConfigT, validate
from segtune.core.errors import CheckpointError, ConfigError
from segtune.core.files import read_json, sync_directory
from segtune.engine.adapter_config import require_adapter_config, write_adapter_config
from segtune.engine.checkpoint_files import (
    ABOUT,
    ADAPTER,
    ADAPTER_CONFIG,
    AVERAGES,
    DESCRIBED,
    FORMAT,
    MANIFEST,
    OPTIMIZER,
    STATE,
    TRAINED,
    About,
    Damaged,
    listed,
    read_about,
    read_tensors,
    seal,
    verify,
    write_json_file,
    write_tensors,
)
from segtune.engine.trained import adapted_part, kept_tensors, trained_state
from segtune.models.adapters import adapter_state, load_adapter_state
from segtune.models.described import PARTS

_TRIES = 10
"""How often a reader looks again where the checkpoint that a name meant has been replaced while it was being read."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A verified checkpoint on disk.

    Attributes:
        path: The directory, which never changes; no pointer.
        about: What `checkpoint.json` says: format, base, fingerprint, model and conversation config, step, epoch.
        files: The files that its manifest lists; only these are read.
    """

    path: Path
    about: dict[str, Any]
    files: frozenset[str]

    def fact(self, name: str) -> Any:
        """A value of `checkpoint.json` that a model of this kind must have.

        Raises:
            CheckpointError: It is not there.
        """
        if (value := self.about.get(name)) is None:
            raise CheckpointError(
                "this checkpoint is damaged", where=str(self.path / ABOUT), expected=f"the key {name}", found="none"
            )
        return value

    def setting(self, name: str, cls: type[ConfigT]) -> ConfigT:
        """A part of the configuration that the model was built from.

        Raises:
            CheckpointError: It is not there, or has keys or values that it cannot have.
        """
        try:
            return validate(cls, self.fact(name), where=f"{self.path / ABOUT}, {name}")
        except ConfigError as error:  # nobody's recipe is wrong
            raise CheckpointError(
                error.message, where=error.where, fix="it was changed or written by another version of segtune"
            ) from error


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
    """Writes a new checkpoint, atomically.

    Args:
        directory: Where it will be; there is nothing yet.
        model: What trained in it is saved.
        about: Facts for `checkpoint.json`.
        trained: Names of the parameters that train in any stage; None for those that train now.
        optimizer: Optimiser state by name, where training may continue from here.
        state: Trainer state, likewise.
        averages: Averaged weights, likewise, where there are any.

    Raises:
        NotFinite: A tensor holds NaN or infinity.
        OSError: No space or no permission. In both cases nothing half-written is left.
    """
    with _new(directory) as beside:
        write_tensors(beside / TRAINED, trained_state(model, trained))
        adapters = adapter_state(adapted := adapted_part(model))
        if adapters:
            write_tensors(beside / ADAPTER, {name: value.cpu().contiguous() for name, value in adapters.items()})
            write_adapter_config(beside / ADAPTER_CONFIG, adapted)
        write_json_file(beside / ABOUT, {"format": FORMAT, **about})
        if optimizer is not None:
            write_tensors(beside / OPTIMIZER, optimizer)
        if averages is not None:
            write_tensors(beside / AVERAGES, averages)
        if state is not None:
            write_json_file(beside / STATE, state)
        seal(beside)


def restate_checkpoint(source: Path, directory: Path, about: dict[str, Any], state: dict[str, Any]) -> None:
    """Writes a checkpoint with the tensors of another one and a newer state: what a validation adds is no weights.

    Args:
        source: A checkpoint that training may continue from; its tensors are linked, or copied where links cannot be.
        directory: Where the new one will be; there is nothing yet.
        about: Facts for `checkpoint.json`.
        state: Trainer state.

    Raises:
        CheckpointError: The manifest of the source is damaged.
        OSError: No space or no permission; nothing half-written is left.
    """
    kept = {name: entry for name, entry in listed(source).items() if name not in (ABOUT, STATE)}
    with _new(directory) as beside:
        for name in kept:
            try:
                os.link(source / name, beside / name)
            except OSError:
                shutil.copyfile(source / name, beside / name)
        write_json_file(beside / ABOUT, {"format": FORMAT, **about})
        write_json_file(beside / STATE, state)
        seal(beside, known=kept)


@contextmanager
def _new(directory: Path) -> Iterator[Path]:
    """A folder beside `directory` that takes its place at the end; it goes where anything fails."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    beside = directory.parent / f".writing-{directory.name}-{os.getpid()}"
    shutil.rmtree(beside, ignore_errors=True)  # of a process that had this number before
    try:
        beside.mkdir()
        yield beside
        beside.rename(directory)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    sync_directory(directory.parent)


def open_checkpoint(path: Path) -> Checkpoint:
    """Verifies a checkpoint against its manifest.

    Args:
        path: Its directory, or a name that points to it (`checkpoints/best`). A name is resolved once, and what it
            meant is read; only where that was removed meanwhile is the name resolved again.

    Raises:
        Damaged: It is none, or a file is missing or damaged; the file is named.
        CheckpointError: It says of itself what cannot be.
    """
    for _ in range(_TRIES):
        directory = pointers.resolve(path)
        try:
            return _opened(directory)
        except CheckpointError:  # also a file that was there a moment ago
            if pointers.resolve(path) == directory:
                raise
    return _opened(pointers.resolve(path))


def _opened(path: Path) -> Checkpoint:
    if not (path / MANIFEST).is_file():
        raise Damaged(
            "this is no complete checkpoint", where=str(path), expected=f"a directory with {MANIFEST}",
            found="no such directory" if not path.exists() else f"no {MANIFEST}",
        )  # fmt: skip
    files = listed(path)
    verify(path, files)
    about: About = read_about(path)
    return Checkpoint(path, about.model_dump(exclude_unset=True), frozenset(files))


def load_weights(
    checkpoint: Checkpoint,
    model: nn.Module,
    base_fingerprint: str,
    trained: Collection[str] | None = None,
    *,
    described: Mapping[str, str] | None = None,
) -> None:
    """Puts a checkpoint's weights into a freshly assembled model, strictly.

    Args:
        checkpoint: From `open_checkpoint`.
        model: Assembled from the same config; changed in place.
        base_fingerprint: `models.weights.fingerprint` of that model.
        trained: Names of the parameters that train in any stage; None for those that train now.
        described: `models.described.digests` of its base; None where it has none.

    Raises:
        CheckpointError: Another base, or names, shapes and types that differ; both lists are given.
    """
    place = checkpoint.path
    saved = read_tensors(place / TRAINED)
    if problems := differences(trained_state(model, trained), saved):
        raise CheckpointError(
            "this checkpoint does not fit the model", where=str(place / TRAINED), found="; ".join(problems[:20])
        )
    if checkpoint.about.get("fingerprint") != base_fingerprint:
        raise CheckpointError(
            "this checkpoint belongs to another base", where=str(place / ABOUT),
            expected=f"the base {checkpoint.about.get('base')} with fingerprint {checkpoint.about.get('fingerprint')}",
            found=f"fingerprint {base_fingerprint}",
            fix="the frozen weights changed since it was trained; restore them",
        )  # fmt: skip
    require_same_description(checkpoint.about, described or {}, str(place / ABOUT))
    adapted = adapted_part(model)
    adapters = read_tensors(place / ADAPTER) if ADAPTER in checkpoint.files else {}
    if ADAPTER_CONFIG in checkpoint.files:
        require_adapter_config(place / ADAPTER_CONFIG, adapted)
    load_adapter_state(adapted, adapters, str(place / ADAPTER))
    own = kept_tensors(model, trained)
    with torch.no_grad():
        for name, value in saved.items():
            own[name].copy_(value)


def require_same_description(about: Mapping[str, Any], described: Mapping[str, str], where: str) -> None:
    """Makes sure that a base is the one of a checkpoint in what decides answers beside the weights.

    Args:
        about: What the checkpoint says; one from before these digests says nothing and is taken.
        described: `models.described.digests` of the base as it is.
        where: The checkpoint's file, for the message.

    Raises:
        CheckpointError: A part of it is another; it is named.
    """
    saved = about.get(DESCRIBED) or {}
    changed = [name for name in described if name in saved and described[name] != saved[name]]
    if changed:
        raise CheckpointError(
            "the base is no longer the one that this checkpoint was trained on", where=where,
            expected=f"the base {about.get('base')} as it was",
            found="changed: " + "; ".join(PARTS[name] for name in changed),
            fix="put these files of the base back as they were",
        )  # fmt: skip


def differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """What is missing, unexpected, or of another shape or type, one line each."""
    problems = [f"missing {name}" for name in expected if name not in found]
    problems += [f"unexpected {name}" for name in found if name not in expected]
    for name in expected.keys() & found.keys():
        ours, theirs = expected[name], found[name]
        if ours.shape != theirs.shape:
            problems.append(f"{name}: shape {tuple(theirs.shape)} instead of {tuple(ours.shape)}")
        elif ours.dtype != theirs.dtype:
            problems.append(f"{name}: {theirs.dtype} instead of {ours.dtype}".replace("torch.", ""))
    return problems


def load_training(checkpoint: Checkpoint) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The optimiser's and the trainer's state.

    Raises:
        CheckpointError: This checkpoint was not made to continue from, or its two files tell different steps; nothing
            starts afresh silently.
    """
    missing = [name for name in (OPTIMIZER, STATE) if name not in checkpoint.files]
    if missing:
        raise CheckpointError(
            "training cannot continue from this checkpoint", where=str(checkpoint.path),
            expected=f"{OPTIMIZER} and {STATE}", found=f"no {' and no '.join(missing)}",
        )  # fmt: skip
    state = read_json(checkpoint.path / STATE)
    if not isinstance(state, dict):
        raise CheckpointError(
            "this file of a checkpoint has values that it cannot have", where=str(checkpoint.path / STATE),
            expected="an object", found=json.dumps(state)[:80],
        )  # fmt: skip
    for key in ("epoch", "step"):
        if key in state and state[key] != (told := checkpoint.about.get(key, 0)):
            raise CheckpointError(
                "two files of this checkpoint contradict each other", where=str(checkpoint.path / ABOUT),
                expected=f"{key} {json.dumps(state[key])[:80]}, as {STATE} tells", found=f"{key} {told}",
                fix="use another checkpoint",
            )  # fmt: skip
    return read_tensors(checkpoint.path / OPTIMIZER), state


def load_averages(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The averaged weights.

    Raises:
        CheckpointError: There are none: the run did not average when it was saved.
    """
    return read_tensors(checkpoint.path / AVERAGES)
