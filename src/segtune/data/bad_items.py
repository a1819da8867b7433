"""What a source could not use, and why: kept in a list, never dropped in silence and never raised one by one."""

from __future__ import annotations

from dataclasses import dataclass

from segtune.core.errors import SegtuneError
from segtune.core.visible import visible


@dataclass(frozen=True, slots=True, order=True)
class BadItem:
    """One file of a dataset that cannot be used.

    Attributes:
        path: POSIX path below the dataset's directory.
        reason: What is wrong with it, in one line.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        return visible(f"{self.path}: {self.reason}")


def one_line(error: SegtuneError) -> str:
    """The reason of an error in one line: its message, what was found and what was expected.

    Args:
        error: Any error of this package.

    Returns:
        Text without line breaks and control characters.
    """
    parts = [error.message]
    parts += [f"found {error.found}"] if error.found else []
    parts += [f"expected {error.expected}"] if error.expected else []
    return visible("; ".join(" ".join(part.split()) for part in parts))
