"""What the files of a prediction are called: one answer never takes the place of another one or of a foreign file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from segtune.core.names import short_name
from segtune.core.regular import read_regular

_MOST_BYTES = 160
"""Of a picture's name; what is added, also while a file is written, stays below the 255 of most file systems."""

_DIGITS = 8


def answer_stem(directory: Path, stem: str, query: str | None) -> str:
    """The start of the names of the files of one answer.

    Args:
        directory: Where they are written; need not exist.
        stem: The name of the picture without suffix; a long one is cut, and told apart by a digest.
        query: The question; None for the classes of a dense model.

    Returns:
        The stem, if `STEM.json` is free or holds the answer to this question; else with a digest of the question, which
        is the same whenever it is asked.
    """
    name = short_name(stem.replace("/", "_"), _MOST_BYTES)
    if _is_free(directory / f"{name}.json", query):
        return name
    digest = hashlib.sha256(("classes" if query is None else query).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{name}-{digest[:_DIGITS]}"


def _is_free(path: Path, query: str | None) -> bool:
    """Whether a file is not there or holds an answer to the same question."""
    try:
        content: Any = json.loads(read_regular(path))
    except FileNotFoundError:
        return True
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(content, dict):
        return False
    if query is None:
        return "mean_confidence" in content  # an answer of a dense model
    return "emitted" in content and content.get("query") == query
