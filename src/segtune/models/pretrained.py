"""Reading checkpoints of transformers, and refusing what does not fit.

transformers re-initialises missing weights with no more than a log line; here that is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoConfig

from segtune.core.environment import blames_torchvision
from segtune.core.errors import CheckpointError
from segtune.models.hub import advice, require_no_waiting

# Buffers that old checkpoints carry and new classes compute.
_HARMLESS = re.compile(r"(position_ids|rotary_emb\.inv_freq)$")


def load_pretrained(
    cls: Any,
    path: str,
    dtype: torch.dtype,
    *,
    config: Any = None,
    unneeded: str | None = None,
    unused: str | None = None,
    options: dict[str, Any] | None = None,
) -> Any:
    """`from_pretrained`, strictly.

    Args:
        cls: A transformers model class.
        path: Hub id or directory.
        dtype: Of the weights.
        config: Of the model, where it is only a part of what the checkpoint holds; the checkpoint's own if None.
        unneeded: Prefix of weights that may be missing because nobody will use them.
        unused: Pattern of weights that the checkpoint may hold beyond the model.
        options: Further arguments for `from_pretrained`.

    Raises:
        CheckpointError: Something is missing, unexpected or of another shape; the names are given.
    """
    # Without a config.json transformers would build its default, a 7B in the case of LLaVA; so the config comes first.
    own = config or guarded(lambda: AutoConfig.from_pretrained(path), path)
    if config is None and not isinstance(own, cls.config_class):
        raise CheckpointError(
            f"this is no checkpoint for {cls.__name__}", where=path,
            expected=f"model type {cls.config_class.model_type}", found=f"model type {own.model_type}",
        )  # fmt: skip
    # Other shapes are let through only to be refused by name below.
    model, info = guarded(
        lambda: cls.from_pretrained(
            path, config=own, dtype=dtype, output_loading_info=True, use_safetensors=True,
            ignore_mismatched_sizes=True, **(options or {}),
        ),
        path,
    )  # fmt: skip
    unexpected = [name for name in info["unexpected_keys"] if not _HARMLESS.search(name)]
    unexpected = [name for name in unexpected if not (unused and re.search(unused, name))]
    mismatched = [f"{name} {tuple(found)} instead of {tuple(size)}" for name, found, size in info["mismatched_keys"]]
    missing = [name for name in info["missing_keys"] if not (unneeded and name.startswith(unneeded))]
    lists = (("missing", missing), ("unexpected", unexpected), ("of another shape", mismatched))
    found = "; ".join(f"{what}: {', '.join(sorted(names)[:8])}" for what, names in lists if names)
    if found:
        raise CheckpointError(
            f"these weights do not fit {cls.__name__}", where=path, found=found,
            fix="check that the name is the one you meant; nothing was loaded",
        )  # fmt: skip
    return model


def guarded(load: Callable[[], Any], path: str) -> Any:
    """Calls what reads a checkpoint.

    Args:
        load: The call.
        path: Hub id or directory, for the message.

    Raises:
        CheckpointError: It raised anything.
    """
    require_no_waiting(path)
    try:
        return load()
    except MemoryError:
        raise
    except Exception as error:  # damaged files make safetensors, tokenizers and transformers raise nearly anything
        if blames_torchvision(error):
            raise  # nothing is wrong with the checkpoint
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            "this checkpoint cannot be loaded",
            where=path,
            expected="a directory or hub id with config.json and model.safetensors in the transformers layout",
            found=first,
            fix=advice(error, path),
        ) from error


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file.

    Raises:
        CheckpointError: It is missing or damaged.
    """
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own type for damage, OSError for absence
        raise CheckpointError("this file cannot be read as safetensors", where=str(path), found=str(error)) from error
