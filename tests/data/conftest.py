"""Small datasets in the ReasonSeg layout, written into a temporary directory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SQUARE = [[2, 2], [5, 2], [5, 5], [2, 5]]
WritePair = Callable[..., Path]


@pytest.fixture
def write_pair() -> WritePair:
    """Writes NAME.png of one colour and NAME.json; `changes` replace its keys, a value of None drops one."""

    def write(folder: Path, name: str, colour: int = 0, size: tuple[int, int] = (12, 16), **changes: object) -> Path:
        path = folder / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((*size, 3), colour, np.uint8)).save(path.with_suffix(".png"))
        content: dict[str, object] = {
            "text": [f"the thing {name}"],
            "is_sentence": False,
            "shapes": [{"label": "target", "points": SQUARE}],
        }
        content = {key: value for key, value in {**content, **changes}.items() if value is not None}
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return write


@pytest.fixture
def write_masked() -> WritePair:
    """Writes FOLDER/images/NAME.png of noise and FOLDER/masks/NAME.png with the given values."""

    def write(folder: Path, name: str, values: object, seed: int = 0) -> Path:
        labels = np.asarray(values, np.uint8)
        path = folder / "images" / f"{name}.png"
        mask = folder / "masks" / f"{name}.png"
        for file in (path, mask):
            file.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng([seed, *name.encode()]).integers(0, 256, (*labels.shape, 3), np.uint8)
        Image.fromarray(noise).save(path)
        Image.fromarray(labels).save(mask)
        return path

    return write


@pytest.fixture
def write_classes() -> WritePair:
    """Writes FOLDER/classes.json."""

    def write(folder: Path, classes: object = ("background", "wound"), **more: object) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "classes.json"
        path.write_text(json.dumps({"classes": classes, **more}), encoding="utf-8")
        return path

    return write
