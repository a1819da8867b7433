"""The files of a checkpoint: their names, the manifest that seals them, and reading them without trust.

Whatever stands in a file of a checkpoint may be damaged, forged or of another program. Each value is checked here for
its type and range before anything uses it; what is wrong is a `CheckpointError` that names the file and the key.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from segtune.core.errors import CheckpointError, SegtuneError
from segtune.core.files import apply_umask, jsonable, read_json, sync_directory

FORMAT = 1
MANIFEST = "manifest.json"
ABOUT = "checkpoint.json"
TRAINED = "trained.safetensors"
ADAPTER = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
OPTIMIZER = "optimizer.safetensors"
AVERAGES = "ema.safetensors"
STATE = "trainer_state.json"

DESCRIBED = "described"
"""Where `checkpoint.json` tells what of its base decides answers beside the weights, as digests by part."""

KNOWN = (ABOUT, TRAINED, ADAPTER, ADAPTER_CONFIG, OPTIMIZER, AVERAGES, STATE)
"""The files that are read where they are there."""

Count = Annotated[int, Field(ge=0, le=2**53)]
"""A number of steps, epochs or the like; beyond 2**53 JSON readers no longer agree about it."""

Finite = Annotated[float, Field(allow_inf_nan=False)]


class NotFinite(SegtuneError):
    """Weights, averages or moments that are NaN or infinite: they are never saved."""


class Damaged(CheckpointError):
    """A checkpoint that is not what its manifest tells: another one of the run may still be whole."""


class Strict(BaseModel):
    """JSON of a checkpoint: no unknown keys, no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())


StrictT = TypeVar("StrictT", bound=Strict)


class _Entry(Strict):
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: Count


class _Manifest(Strict):
    files: dict[str, _Entry]


_Name = Annotated[str, Field(pattern=r"^(best|stage-\d{1,6}-best|epoch-\d{4,12})$")]
_Directory = Annotated[str, Field(pattern=r"^step-\d{8,16}-weights(-\d{1,9})?$")]


class About(Strict):
    """`checkpoint.json`. What only some kinds of models have is None in the others.

    Attributes:
        format: Version of this layout.
        epoch: Epochs that are over.
        step: Optimiser steps made.
        metrics: History values of its epoch.
        names: Other checkpoints of the run by name, as they were when this one was written; only where training may
            continue from it.
        config: The settings of the run.
        data: A digest of each split that it is trained and validated on.
        base: What the model starts from, as its configuration names it.
        fingerprint: Digest of what is not in the checkpoint.
        described: Reasoning: digests of what else of the base decides answers, from `models.described`.
        model: The model's configuration.
        conversation: Reasoning: how queries are asked.
        precision: Reasoning: `train.precision`, in which the model is scored too.
        max_new_tokens: Reasoning: where an answer is cut.
        task: Dense: `dense`.
        classes: Dense: their names.
        sided: Dense: those that a text of the training data called by a side.
        encoder: Dense: its description.
        blocks: Dense: the most of the encoder that trained.
    """

    format: int
    epoch: Count = 0
    step: Count = 0
    metrics: dict[str, bool | int | Finite | None] = {}
    names: dict[_Name, _Directory] | None = None
    config: dict[str, Any] | None = None
    data: dict[str, str] | None = None
    base: str | None = None
    fingerprint: str | None = None
    described: dict[str, str] | None = None
    model: dict[str, Any] | None = None
    conversation: dict[str, Any] | None = None
    precision: Literal["fp32", "bf16", "fp16"] | None = None
    max_new_tokens: Annotated[int, Field(ge=1, le=2**31)] | None = None
    task: Literal["dense"] | None = None
    classes: list[str] | None = None
    sided: list[str] | None = None
    encoder: dict[str, Any] | None = None
    blocks: Literal["all"] | Count | None = None


def checked(cls: type[StrictT], values: Any, where: str) -> StrictT:
    """JSON as a model of its values.

    Args:
        cls: The model.
        values: Parsed JSON.
        where: The file, for the message.

    Raises:
        CheckpointError: Keys are missing or unknown, or values have another type or range; up to four are named.
    """
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, entry['loc'])) or 'the file'}: {entry['msg'][:1].lower()}{entry['msg'][1:]}"
            for entry in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise CheckpointError(
            "this file of a checkpoint has values that it cannot have", where=where, found="; ".join(problems[:4]),
            fix="it was changed or written by something else; use another checkpoint",
        ) from error  # fmt: skip


def read_about(directory: Path) -> About:
    """`checkpoint.json`, checked.

    Raises:
        CheckpointError: It is unreadable, has another format, or values that it cannot have.
    """
    place = directory / ABOUT
    values = read_json(place)
    version = values.get("format") if isinstance(values, dict) else None
    if version != FORMAT:
        raise CheckpointError(
            "this checkpoint has another format", where=str(place), expected=str(FORMAT), found=str(version)[:80]
        )
    return checked(About, values, str(place))


def listed(directory: Path) -> dict[str, dict[str, Any]]:
    """The files that the manifest of a checkpoint lists, each with its digest and size.

    Raises:
        Damaged: There is no manifest, or it is not one.
        CheckpointError: A file that would be read is not in it.
    """
    place = directory / MANIFEST
    try:
        files = checked(_Manifest, read_json(place), str(place)).files
    except CheckpointError as error:
        raise Damaged("this checkpoint is damaged", where=str(place), found=error.found or error.message) from error
    outside = [name for name in files if Path(name).name != name or name == MANIFEST]
    if outside or not {ABOUT, TRAINED} <= files.keys():
        raise Damaged(
            "this checkpoint is damaged", where=str(place),
            expected=f"a list of the checkpoint's files, {ABOUT} and {TRAINED} among them",
            found=", ".join(outside or files)[:80],
        )  # fmt: skip
    for name in KNOWN:
        if name not in files and (directory / name).exists():
            raise CheckpointError(
                "this file is not in the manifest of its checkpoint, so nobody knows whose it is",
                where=str(directory / name), expected=f"only files that {MANIFEST} lists",
                fix="remove it, or use another checkpoint",
            )  # fmt: skip
    return {name: entry.model_dump() for name, entry in files.items()}


def verify(directory: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Compares every listed file with its digest.

    Raises:
        Damaged: One is missing or has other content; it is named.
    """
    for name, wanted in files.items():
        file = directory / name
        found = "no such file" if not file.is_file() else ""
        try:
            found = found or ("" if entry(file) == wanted else "other content")
        except OSError as error:
            found = error.strerror or str(error)
        if found:
            raise Damaged(
                "this checkpoint is damaged", where=str(file), expected=f"the content that {MANIFEST} tells",
                found=found,
            )  # fmt: skip


def entry(path: Path) -> dict[str, Any]:
    """Digest and size of a file, as the manifest has them."""
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def write_json_file(path: Path, value: Any) -> None:
    """Writes JSON into a directory that nobody sees yet; NaN becomes null."""
    path.write_text(json.dumps(jsonable(value), indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes tensors, all of them finite.

    Raises:
        NotFinite: One is not; it is named, and nothing is written.
    """
    if broken := not_finite(tensors):
        raise NotFinite(
            "NaN or infinite values are not saved; the checkpoint before stays", where=path.name,
            found=", ".join(broken[:4]),
            fix="begin a new run with a lower optim.lr, or look at the data of the last steps",
        )  # fmt: skip
    save_file(dict(tensors), path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Reads tensors, all of them finite.

    Raises:
        CheckpointError: The file is missing or damaged, or holds NaN or infinity; the tensors are named.
    """
    try:
        tensors = load_file(path)
    except Exception as error:  # safetensors raises its own type for damage, OSError for absence
        raise CheckpointError("this file cannot be read", where=str(path), found=str(error)) from error
    if broken := not_finite(tensors):
        raise CheckpointError(
            "these tensors hold NaN or infinity, and no checkpoint is saved with such",
            where=str(path), found=", ".join(broken[:4]), fix="use another checkpoint",
        )  # fmt: skip
    return tensors


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of tensors with NaN or infinity in them."""
    return [
        name
        for name, value in tensors.items()
        if (value.is_floating_point() or value.is_complex()) and not bool(torch.isfinite(value).all())
    ]


def seal(directory: Path, known: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    """Flushes every file to the disk, then writes the manifest, last of all.

    Args:
        directory: A directory that nobody sees yet.
        known: Entries of files that another checkpoint has flushed already and that are links to it.
    """
    apply_umask(directory)
    files = {}
    for path in sorted(directory.iterdir()):
        if known is not None and path.name in known:
            files[path.name] = known[path.name]
            continue
        flush(path)
        files[path.name] = entry(path)
    write_json_file(directory / MANIFEST, {"files": files})
    flush(directory / MANIFEST)
    sync_directory(directory)


def flush(path: Path) -> None:
    """Makes sure that a file is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
