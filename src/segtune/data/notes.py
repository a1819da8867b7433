"""What a source could use but tells: one sentence for each kind of thing, with the files that it concerns.

A bad item is left out; a note is on something that is used in a way that its author may not have meant. `data check`
shows notes as warnings, and a run says them before it begins, so that both know the same.
"""

from __future__ import annotations

_SHOWN = 3


class Notes:
    """Collects notes by what they say, in the order in which they first come."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, None]] = {}

    def add(self, what: str, path: str) -> None:
        """Adds a file.

        Args:
            what: What is said of it, in words that fit one file and several.
            path: What it concerns: as a rule a POSIX path below the dataset's directory.
        """
        self._found.setdefault(what, {})[path] = None

    def lines(self) -> tuple[str, ...]:
        """One line for everything that was said: what, how many it concerns, and the first of them."""
        return tuple(f"{what} ({_named(list(paths))})" for what, paths in self._found.items())


def _named(paths: list[str]) -> str:
    shown = ", ".join(paths[:_SHOWN])
    return shown if len(paths) == 1 else f"{len(paths)}: {shown}" + (", ..." if len(paths) > _SHOWN else "")
