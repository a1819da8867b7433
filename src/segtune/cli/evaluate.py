"""`segtune evaluate`: the scores of a model on a dataset, after the protocol."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from segtune.cli.output import echo
from segtune.cli.pictures import GreyBitsOption, MaxPixelsOption, RootOption
from segtune.cli.views import FlipOption, FlipVerticalOption, MirrorOption, ScalesOption, WindowOption, inference

Mode = Literal["generate", "forced", "both"]
"""How the answer comes about: the model writes it, it is given, or once each."""


def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A run (RUN or RUN@last), checkpoint, or segtune/tiny.")
    ],
    data: Annotated[str, typer.Option("--data", metavar="SPEC", help="KIND:DIR@SPLIT, or DIR@SPLIT.")],
    mode: Annotated[Mode, typer.Option("--mode", help="The model writes the answer, it is given, or both.")] = "both",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to write; default the run, or a folder in it.")
    ] = None,
    first_query_only: Annotated[
        bool, typer.Option("--first-query-only", help="Score only the first text of each annotation file.")
    ] = False,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, metavar="N", help="Images at a time.")] = 4,
    limit: Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="Only the first N images.")] = None,
    overlays: Annotated[int, typer.Option("--overlays", min=0, metavar="N", help="Write N overlay pictures.")] = 0,
    flip: FlipOption = False,
    flip_vertical: FlipVerticalOption = False,
    mirror: MirrorOption = None,
    scales: ScalesOption = "1",
    window: WindowOption = None,
    root: RootOption = None,
    max_pixels: MaxPixelsOption = None,
    grey_bits: GreyBitsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
) -> None:
    """Score a model: gIoU, cIoU, intervals and the trivial baselines.

    \b
    Examples:
      segtune evaluate runs/first --data photos@val
      segtune evaluate segtune/tiny --data reasonseg:photos@test --mode generate --out scores --json
    """
    from segtune import experiment

    documents = experiment.evaluate(
        model,
        data,
        modes=["generate", "forced"] if mode == "both" else [mode],
        out=out,
        first_query_only=first_query_only,
        batch_size=batch_size,
        limit=limit,
        overlays=overlays,
        inference=inference(flip, flip_vertical, scales, window, mirror),
        root=root,
        max_pixels=max_pixels,
        grey_bits=grey_bits,
    )
    if as_json:
        echo(json.dumps(documents, indent=2, ensure_ascii=False))
        return
    from segtune.reports.summary import evaluation_lines

    for document in documents:
        for line in evaluation_lines(document):
            echo(line)
