"""What the run of a model says about pictures: how they were read, and which ones it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segtune.core import rundir as names
from segtune.core.config import validate
from segtune.core.errors import CheckpointError
from segtune.core.files import read_json
from segtune.core.pointers import resolve
from segtune.core.yaml_files import load_mapping
from segtune.data.config import ImageConfig
from segtune.data.shared import known_pictures, sharing_told
from segtune.engine.checkpoint_files import MANIFEST


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
    run = run_of(model)
    path = (run or Path(model)) / names.CONFIG
    data: Any = None if run is None else load_mapping(path).get("data")
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
    path = (run_of(model) or Path(model.partition("@")[0])) / names.DATA
    try:
        facts: Any = read_json(path) if path.is_file() else None
    except CheckpointError as error:
        return (f"whether {data} holds training pictures is not known: {error.message} ({path})",)
    training = facts.get("train") if isinstance(facts, dict) else None
    same = known_pictures(training.get("pictures"), pictures) if isinstance(training, dict) else []
    return (sharing_told("the training data of this model", data, len(same), same),) if same else ()


def run_of(model: str) -> Path | None:
    """The run that a model belongs to: itself, or the one that its checkpoint lies in; None where there is none.

    Args:
        model: A run, a checkpoint or a base, by name.
    """
    place = Path(model.partition("@")[0])
    if (place / names.CONFIG).is_file():
        return place
    inside = resolve(place)
    if not (inside / MANIFEST).is_file():
        return None
    return next((folder for folder in inside.resolve().parents[:3] if (folder / names.CONFIG).is_file()), None)
