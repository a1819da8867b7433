"""How a model reads pictures: as its run did, so that what it was trained on and what it is asked about look alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segtune.core import rundir as names
from segtune.core.config import validate
from segtune.core.yaml_files import load_mapping
from segtune.data.config import ImageConfig
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
    place = Path(model.partition("@")[0])
    if not (place / names.CONFIG).is_file() and (place / MANIFEST).is_file():
        place = place.resolve().parent.parent  # a checkpoint that lies in its run
    path = place / names.CONFIG
    data: Any = load_mapping(path).get("data") if path.is_file() else None
    section: Any = data.get("image") if isinstance(data, dict) else None
    given = {"max_pixels": max_pixels, "grey_bits": grey_bits}
    values = {**(section if isinstance(section, dict) else {}), **{k: v for k, v in given.items() if v is not None}}
    return validate(ImageConfig, values, where=str(path))
