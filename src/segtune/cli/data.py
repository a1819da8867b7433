"""`segtune data`: checking a dataset, and drawing a synthetic one."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from segtune.cli.output import echo
from segtune.cli.pictures import GreyBitsOption, MaxPixelsOption, RootOption
from segtune.core.environment import command_prefix

if TYPE_CHECKING:
    from segtune.data.check_report import CheckReport
    from segtune.data.dense.check import DenseCheckReport

DrawnKind = Literal["reasonseg", "masks"]
"""What goes with drawn scenes: questions and polygons, or a class for every pixel."""

app = typer.Typer(help="Check a dataset or draw a synthetic one.", no_args_is_help=True, rich_markup_mode=None)


@app.command("check")
def check(
    dataset: Annotated[str, typer.Argument(metavar="DIR", help="The dataset; DIR@SPLIT checks one split.")],
    root: RootOption = None,
    max_pixels: MaxPixelsOption = None,
    grey_bits: GreyBitsOption = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="List texts too long for this model as well.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Count what a dataset holds and list every bad item; exits 3 when there is one.

    \b
    Examples:
      segtune data check photos
      segtune data check photos --model segtune/tiny
    """
    from segtune.data.check import check_dataset
    from segtune.data.config import ImageConfig

    bounds = {"max_pixels": max_pixels, "grey_bits": grey_bits}
    given = {key: value for key, value in bounds.items() if value is not None}
    options: dict[str, Any] = {"image": ImageConfig.model_validate(given)} if given else {}
    options |= {} if root is None else {"root": root}
    report = check_dataset(dataset, **options)
    echo(json.dumps(report.to_dict(), indent=2, ensure_ascii=False) if as_json else report.text())
    if report.bad:
        raise typer.Exit(3)
    if model is not None:
        _require_fitting_texts(report, model, options)


def _require_fitting_texts(report: CheckReport | DenseCheckReport, model: str, options: dict[str, Any]) -> None:
    """Refuses texts, and explanations, that do not fit the context of a model; pixels with classes have none."""
    from segtune.data.check_report import CheckReport

    if not isinstance(report, CheckReport):
        raise typer.BadParameter("a class for every pixel has no texts", param_hint="--model")
    from segtune.data.lengths import require_fitting_texts
    from segtune.data.sources.reasonseg import ReasonSeg
    from segtune.engine.loading import load

    conversation = load(model).conversation
    for split in report.splits:
        require_fitting_texts(ReasonSeg(report.dataset, split.split, **options), conversation, explain=True)


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
      segtune data synth drawn-scenes --scenes 400 --seed 1
      segtune data synth drawn-shapes --kind masks
    """
    from segtune.data.sources.synthetic.write import write_dataset
    from segtune.data.sources.synthetic.write_masks import write_masks

    draw = write_masks if kind == "masks" else write_dataset
    for split, counts in draw(directory, scenes=scenes, seed=seed).items():
        echo(f"{split}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
    echo(f"try next:\n  {command_prefix()} data check {shlex.quote(str(directory))}")
