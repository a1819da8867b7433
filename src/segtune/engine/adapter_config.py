"""`adapter_config.json` of a checkpoint: written for PEFT, the same at every run, and compared when it is read.

segtune builds its adapters from its own configuration and takes nothing from this file. A file that describes other
adapters is refused all the same: other programs would believe it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
from torch import nn

from segtune.core.errors import CheckpointError
from segtune.core.files import read_json
from segtune.engine.checkpoint_files import write_json_file

_BASE, _VERSION = "base_model_name_or_path", "peft_version"


def write_adapter_config(path: Path, adapted: nn.Module) -> None:
    """Writes the description of a model's adapters as PEFT reads it.

    Args:
        path: `adapter_config.json` in a folder that nobody sees yet.
        adapted: A `PeftModel`.
    """
    adapted.peft_config["default"].save_pretrained(path.parent)  # type: ignore[union-attr, index]
    write_json_file(path, _ordered(read_json(path), adapted))


def _ordered(values: dict[str, Any], adapted: nn.Module) -> dict[str, Any]:
    """What PEFT holds as a set in a fixed order: that of a set changes from process to process."""
    config = adapted.peft_config["default"]  # type: ignore[union-attr, index]
    return {
        name: sorted(value) if isinstance(getattr(config, name, None), set | frozenset) else value
        for name, value in values.items()
    }


def require_adapter_config(path: Path, adapted: nn.Module) -> None:
    """Compares a saved description with the adapters that the model has.

    Args:
        path: `adapter_config.json`.
        adapted: The part of the model that has adapters, or none.

    Raises:
        CheckpointError: It is unreadable, names another base, or describes other adapters; the keys are named.
    """
    saved = read_json(path)
    where = str(path)
    if not isinstance(saved, dict) or not hasattr(adapted, "peft_config"):
        raise CheckpointError(
            "this checkpoint describes adapters that the model does not have", where=where, found=str(saved)[:80]
        )
    own = _described(adapted)
    of_this_version = saved.get(_VERSION) == peft.__version__
    wrong = [
        f"{name}={saved[name]!r:.60} instead of {own[name]!r:.60}"
        for name in own.keys() & saved.keys() - {_VERSION, "inference_mode"}
        if not _agrees(name, saved[name], own[name])
    ]
    if of_this_version:  # another version of PEFT knows other keys
        wrong += [f"no {name}" for name in own.keys() - saved.keys()]
        wrong += [f"unknown key {name}" for name in saved.keys() - own.keys()]
    if wrong:
        raise CheckpointError(
            "the saved adapters do not fit this model", where=where,
            found="; ".join(sorted(wrong)[:4]),
        )  # fmt: skip


def _described(adapted: nn.Module) -> dict[str, Any]:
    """The description as it would be written now, as JSON has it."""
    config: Any = adapted.peft_config["default"]  # type: ignore[union-attr, index]
    values = config.to_dict()
    values = {name: list(value) if isinstance(value, set | frozenset) else value for name, value in values.items()}
    values = {name: getattr(value, "value", value) for name, value in values.items()}
    return {_VERSION: peft.__version__, **_ordered(values, adapted)}


def _agrees(name: str, saved: Any, own: Any) -> bool:
    if name == _BASE:  # a run may lie elsewhere than where it was trained; a name of the hub never changes
        return saved == own or (_is_path(saved) and _is_path(own))
    if isinstance(own, list) and isinstance(saved, list) and all(isinstance(one, str) for one in (*own, *saved)):
        return sorted(saved) == sorted(own)  # before they were ordered
    return type(saved) is type(own) and bool(saved == own)


def _is_path(name: Any) -> bool:
    return isinstance(name, str) and Path(name).is_absolute()
