"""Data that is not in this repository: a test that needs it is skipped by name where it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_data(name: str) -> Path:
    """The folder `name` of `$SEGTUNE_SHARED_DATA`, or of `shared/data` beside the repository; skips without it."""
    root = os.environ.get("SEGTUNE_SHARED_DATA")
    folder = (Path(root) if root else Path(__file__).resolve().parents[2] / "shared" / "data") / name
    if not folder.is_dir():
        pytest.skip(f"external data {name!r} is absent: set SEGTUNE_SHARED_DATA to the folder that holds it")
    return folder
