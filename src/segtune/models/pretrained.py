"""Reading checkpoints of transformers, and refusing what does not fit.

transformers re-initialises missing weights with no more than a log line; here that is an error. Every
`from_pretrained` of the program is called here, so that two rules hold everywhere: code that a checkpoint brings with
it never runs, and what a checkpoint of ours names is looked for on this machine alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants
from safetensors.torch import load_file
from transformers import AutoConfig

from segtune.core.environment import blames_torchvision
from segtune.core.errors import CheckpointError
from segtune.core.files import read_json
from segtune.models.hub import advice, require_no_waiting

CODE = "auto_map"
"""The key by which a configuration of transformers names Python files that come with the checkpoint."""

_hub: ContextVar[bool] = ContextVar("hub", default=True)

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
    own = config or read_config(cls, path)
    # Other shapes are let through only to be refused by name below.
    model, info = read_pretrained(
        cls,
        path,
        config=own,
        dtype=dtype,
        output_loading_info=True,
        use_safetensors=True,
        ignore_mismatched_sizes=True,
        **(options or {}),
    )
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


def read_config(cls: Any, path: str) -> Any:
    """The configuration of a checkpoint for a class of models.

    Args:
        cls: A transformers model class.
        path: Hub id or directory.

    Raises:
        CheckpointError: It cannot be read, or is that of another class.
    """
    own = read_pretrained(AutoConfig, path)
    if not isinstance(own, cls.config_class):
        raise CheckpointError(
            f"this is no checkpoint for {cls.__name__}",
            where=path,
            expected=f"model type {cls.config_class.model_type}",
            found=f"model type {own.model_type}",
        )
    return own


@contextmanager
def without_hub() -> Iterator[None]:
    """Inside, hub ids are looked for in the cache of this machine alone.

    A checkpoint or a run directory may come from anybody and name any hub id as its base. Only a name that a person
    gives, in a command or a recipe, is fetched.
    """
    token, offline = _hub.set(False), constants.HF_HUB_OFFLINE
    # Some readers ask the hub beside `local_files_only` (a tokenizer for the family of its model): refused there too.
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        _hub.reset(token)


def may_fetch() -> bool:
    """Whether a hub id may be fetched here: False inside `without_hub`."""
    return _hub.get()


def read_pretrained(reader: Any, path: str, **options: Any) -> Any:
    """Calls `from_pretrained` of a class of transformers. Code that comes with the checkpoint is never executed.

    Args:
        reader: A config, model, tokenizer or processor class, or its `Auto` class.
        path: Hub id or directory.
        options: Further arguments for `from_pretrained`.

    Raises:
        CheckpointError: The checkpoint brings code, cannot be read, or is a hub id that is not on this machine inside
            `without_hub`.
    """
    refuse_code(path)
    here = Path(path).exists()  # then it is no hub id, whatever it is called and whatever is missing in it
    options |= {"trust_remote_code": False, "local_files_only": here or not may_fetch()}
    name = os.path.abspath(path) if here else path
    with without_hub() if here else nullcontext():
        found = guarded(lambda: reader.from_pretrained(name, **options), path)
    if reader is AutoConfig and _names_code(found.to_dict()):  # of a hub id: known only now; nothing has run
        raise _brings_code(path, CODE, "config.json")
    return found


def refuse_code(path: str) -> None:
    """Refuses a directory whose configuration names Python files, or that is an adapter of another model.

    transformers would ask on the terminal whether such code may run, and would fetch an adapter's base from the hub.

    Args:
        path: Hub id or directory; of a hub id nothing is known here.

    Raises:
        CheckpointError: The file is named.
    """
    folder = Path(path)
    if not folder.is_dir():
        return
    if (folder / "adapter_config.json").is_file():
        raise CheckpointError(
            "this is an adapter, not a model",
            where=str(folder),
            expected="a whole model",
            found="adapter_config.json",
            fix="merge the adapter into its base first (PEFT: `merge_and_unload`), and name the merged directory",
        )
    for file in sorted(folder.glob("*.json")):
        # weight maps and vocabularies are large, and have no such key
        if file.name.endswith(".index.json") or file.name in ("tokenizer.json", "vocab.json"):
            continue
        if file.is_file() and _names_code(read_json(file)):
            raise _brings_code(path, CODE, file.name)


def _names_code(value: Any) -> bool:
    """Whether a configuration names code, at any depth: a part's own configuration is read as a whole one is."""
    if isinstance(value, dict):
        return bool(value.get(CODE)) or any(_names_code(child) for child in value.values())
    return isinstance(value, list) and any(_names_code(child) for child in value)


def _brings_code(path: str, found: str, file: str) -> CheckpointError:
    return CheckpointError(
        "this model brings Python code of its own, and segtune never executes code from a checkpoint",
        where=path,
        expected="a model whose class is part of transformers",
        found=f"{found} in {file}",
        fix="take the version of the model that is made for transformers (its hub id often ends in -hf), or, where "
        f"the class is part of transformers, remove {found} from {file}",
    )


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
        if "trust_remote_code" in str(error):
            raise _brings_code(path, "code", "its files") from error
        if not may_fetch() and not Path(path).exists():
            raise CheckpointError(
                "the base of this checkpoint is not on this machine, and a checkpoint never fetches anything",
                where=path,
                found=first,
                fix=f"fetch it yourself if you trust the name: `hf download {path}`; then run this again",
            ) from error
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
