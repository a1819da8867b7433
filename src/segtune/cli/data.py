"""`segtune data`: checking a dataset, and drawing a synthetic one."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from segtune.core.environment import command_prefix

DrawnKind = Literal["reasonseg", "masks"]
"""What goes with drawn scenes: questions and polygons, or a class for every pixel."""

app = typer.Typer(help="Check a dataset or draw a synthetic one.", no_args_is_help=True, rich_markup_mode=None)


@app.command("check")
def check(
    dataset: Annotated[str, typer.Argument(metavar="DIR", help="The dataset; DIR@SPLIT checks one split.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Count what a dataset holds and list every bad item; exits 3 when there is one.

    \b
    Example:
      segtune data check photos
    """
    from segtune.data.check import check_dataset

    report = check_dataset(dataset)
    typer.echo(json.dumps(report.to_dict(), indent=2, ensure_ascii=False) if as_json else report.text())
    if report.bad:
        raise typer.Exit(3)


@app.command("synth")
def synth(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write; must hold nothing else.")],
    scenes: Annotated[int, typer.Option("--scenes", min=1, metavar="N", help="Scenes of all splits together.")] = 400,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="S", help="The same seed draws the same scenes.")] = 0,
    kind: Annotated[
        DrawnKind, typer.Option("--kind", help="Questions and polygons, or index masks of every shape.")
    ] = "reasonseg",
) -> None:
    """Draw scenes of shapes with questions and masks, in the ReasonSeg layout, or with a class for every pixel.

    \b
    Examples:
      segtune data synth scenes --scenes 400 --seed 1
      segtune data synth shapes --kind masks
    """
    from segtune.data.sources.synthetic.write import write_dataset
    from segtune.data.sources.synthetic.write_masks import write_masks

    draw = write_masks if kind == "masks" else write_dataset
    for split, counts in draw(directory, scenes=scenes, seed=seed).items():
        typer.echo(f"{split}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
    typer.echo(f"try next:\n  {command_prefix()} data check {shlex.quote(str(directory))}")
