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
