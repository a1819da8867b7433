"""Data that is not in this repository: a test that needs it is skipped by name where it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_data(name: str) -> Path:
    """The folder `name` of `$SEGTUNE_SHARED_DATA`, or of `shared/data` beside the repository; skips without it."""
    folder = _root() / name
    if not folder.is_dir():
        pytest.skip(f"external data {name!r} is absent: set SEGTUNE_SHARED_DATA to the folder that holds it")
    return folder


def shared_cases() -> Path | None:
    """The folder `cases` beside that of the shared data: a directory for each small input; None where it is absent."""
    folder = _root().parent / "cases"
    return folder if folder.is_dir() else None


def _root() -> Path:
    root = os.environ.get("SEGTUNE_SHARED_DATA")
    return Path(root) if root else Path(__file__).resolve().parents[2] / "shared" / "data"
