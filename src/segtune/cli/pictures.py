"""The options by which commands say how pictures are read, and how far links may lead."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

MaxPixelsOption = Annotated[
    int | None,
    typer.Option("--max-pixels", min=1, metavar="N", help="Read pictures of up to N pixels, width x height."),
]
GreyBitsOption = Annotated[
    int | None,
    typer.Option("--grey-bits", min=8, max=16, metavar="B", help="Grey pictures of 16 bits use B of them, often 12."),
]
RootOption = Annotated[
    Path | None,
    typer.Option("--root", metavar="DIR", help="Links in the dataset may lead anywhere below DIR."),
]
