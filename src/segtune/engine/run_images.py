"""What the run of a model says about pictures: how they were read, and which ones it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segtune.core import rundir as names
from segtune.core.config import validate
from segtune.core.errors import CheckpointError
from segtune.core.files import read_json
from segtune.core.yaml_files import load_mapping
from segtune.data.config import ImageConfig
from segtune.data.shared import known_pictures, sharing_told
from segtune.engine.checkpoint import MANIFEST


def images_of(model: str, max_pixels: int | None = None, grey_bits: int | None = None) -> ImageConfig:
    """How pictures are read for a model.

    Args:
        model: A run, a checkpoint or a base, by name.
        max_pixels: In place of `data.image.max_pixels` of its run.
        grey_bits: In place of `data.image.grey_bits` of its run.

    Returns:
        The settings of its run, where it has one, and what is given over them.

    Raises:
        ConfigError: The configuration of the run cannot be read, or a value is out of bounds.
    """
    path = _run_of(model) / names.CONFIG
    data: Any = load_mapping(path).get("data") if path.is_file() else None
    section: Any = data.get("image") if isinstance(data, dict) else None
    given = {"max_pixels": max_pixels, "grey_bits": grey_bits}
    values = {**(section if isinstance(section, dict) else {}), **{k: v for k, v in given.items() if v is not None}}
    return validate(ImageConfig, values, where=str(path))


def trained_on_told(model: str, data: str, pictures: Mapping[str, str]) -> tuple[str, ...]:
    """The warning that a model is scored on pictures that it was trained on.

    Args:
        model: A run or a checkpoint in one, by name; another model tells nothing of its training data.
        data: What the data are called.
        pictures: Their names by digest.

    Returns:
        One sentence, or none.
    """
    path = _run_of(model) / names.DATA
    try:
        facts: Any = read_json(path) if path.is_file() else None
    except CheckpointError as error:
        return (f"whether {data} holds training pictures is not known: {error.message} ({path})",)
    training = facts.get("train") if isinstance(facts, dict) else None
    same = known_pictures(training.get("pictures"), pictures) if isinstance(training, dict) else []
    return (sharing_told("the training data of this model", data, len(same), same),) if same else ()


def _run_of(model: str) -> Path:
    """The directory where the run of a model would be."""
    place = Path(model.partition("@")[0])
    if not (place / names.CONFIG).is_file() and (place / MANIFEST).is_file():
        return place.resolve().parent.parent  # a checkpoint that lies in its run
    return place
