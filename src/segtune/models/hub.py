"""The Hugging Face hub: whether it can be reached, what it has, and what to do where a model cannot be had from it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants, errors
from huggingface_hub.utils._http import get_session

from segtune.core.errors import CheckpointError
from segtune.core.log import get_logger

_log = get_logger(__name__)

_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
_PATIENCE = 5.0
"""Seconds in which a hub that can be reached answers."""

_OFFLINE = ("LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ConnectionError", "TimeoutException")
_ABSENT = ("RepositoryNotFoundError", "HFValidationError")


def is_hub_name(name: str) -> bool:
    """Whether a name means a model of the hub: it has the form of one, and nothing on this machine is called so."""
    return _NAME.fullmatch(name) is not None and not Path(name).exists()


def require_no_waiting(name: str) -> None:
    """Leaves the hub alone for the rest of this process where it cannot be reached.

    Its library would ask six times, 24 seconds in all, for every file, also for those that lie in its cache.

    Args:
        name: What is about to be read; nothing is asked for the sake of a path.
    """
    if is_hub_name(name) and not constants.HF_HUB_OFFLINE and not _answers():
        constants.HF_HUB_OFFLINE = True


def is_reachable() -> bool:
    """Whether the hub may be asked (HF_HUB_OFFLINE is not set) and answers."""
    return not constants.HF_HUB_OFFLINE and _answers()


@functools.cache
def _answers() -> bool:
    """Whether the hub answers; asked once in a process."""
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
    except Exception as error:  # whatever the HTTP library of this version raises
        _log.warning("%s cannot be reached (%s): only what is on this machine is used", constants.ENDPOINT, error)
        return False
    return True


def advice(error: BaseException, name: str) -> str:
    """What to do where a checkpoint could not be read.

    Args:
        error: What was raised; what it came from is looked at too.
        name: Hub id or path of the checkpoint.
    """
    kinds = {kind.__name__ for one in _chain(error) for kind in type(one).__mro__}
    if not is_hub_name(name):
        return "check the path"
    if "GatedRepoError" in kinds:
        return f"accept the terms on {constants.ENDPOINT}/{name}, then log in with `hf auth login`"
    if kinds & {*_ABSENT} and "LocalEntryNotFoundError" not in kinds:
        return "check the name; a private model needs `hf auth login`"
    if kinds & {*_OFFLINE}:
        return (
            f"fetch it once where there is a network (`hf download {name}`), into the cache of this machine "
            f"({constants.HF_HOME}, which HF_HOME moves), or give the directory of a copy"
        )
    return "check the name and the files of the hub"


def look_up(name: str) -> str:
    """Looks whether a model could be loaded, without loading it.

    Args:
        name: Hub id or path.

    Returns:
        What cannot be known from here; empty where the model is on this machine or the hub has it.

    Raises:
        CheckpointError: The hub has no such model.
    """
    if not is_hub_name(name) or isinstance(huggingface_hub.try_to_load_from_cache(name, "config.json"), str):
        return ""
    if not is_reachable():
        return f"whether {name} can be had: it is not on this machine, and the hub cannot be reached"
    try:
        about = huggingface_hub.HfApi().model_info(name, timeout=_PATIENCE)
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise CheckpointError(
            "the hub has no such model", where=name, expected="a directory, or a hub id", fix=advice(error, name)
        ) from error
    except Exception as error:  # as above
        return f"whether {name} can be had: the hub did not say ({str(error).splitlines()[0]})"
    if about.gated and huggingface_hub.get_token() is None:
        return f"whether you may have {name}: it is gated, and nobody is logged in (`hf auth login`)"
    return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
