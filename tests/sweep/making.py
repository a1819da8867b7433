"""Grid files and trials for the tests of searches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segtune.core.files import write_text
from segtune.core.yaml_files import dump_mapping
from segtune.sweep.config import SearchConfig
from segtune.sweep.grids import load_search
from segtune.sweep.trials import Trial

AXES: dict[str, Any] = {"optim.lr": [1e-4, 1e-3], "losses.dice": [0.5, 2.0]}


def grid_file(place: Path, **changes: Any) -> Path:
    """A grid of four points over `quickstart`, two epochs each, its study below `place`."""
    mapping = {"recipe": "quickstart", "epochs": 2, "axes": AXES, "root": str(place / "searches"), **changes}
    path = place / "mine.yaml"
    write_text(path, dump_mapping({key: value for key, value in mapping.items() if value is not None}))
    return path


def a_search(place: Path, **changes: Any) -> SearchConfig:
    return load_search(str(grid_file(place, **changes)))


def a_trial(number: int, **changes: Any) -> Trial:
    values: dict[str, Any] = {
        "number": number, "state": "complete", "point": number, "settings": {"optim.lr": 1e-3, "losses.dice": 2.0},
        "value": 0.5, "reported": {1: 0.4, 2: 0.5}, "seconds": 1.5,
    }  # fmt: skip
    return Trial(**{**values, **changes})
