"""What a command prints: every line of every command goes through `echo`."""

from __future__ import annotations

import sys

import typer

from segtune.core.visible import visible


def echo(text: str, *, nl: bool = True) -> None:
    """Prints text to standard output, harmless whatever names and words it holds.

    Control characters are shown, not done; a character that the terminal's encoding lacks is shown by its number.

    Args:
        text: One line or several.
        nl: Whether a line end follows.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    typer.echo(visible(text).encode(encoding, "backslashreplace").decode(encoding), nl=nl)
