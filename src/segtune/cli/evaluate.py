"""`segtune evaluate`: the scores of a model on a dataset, after the protocol."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

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
    )
    if as_json:
        typer.echo(json.dumps(documents, indent=2, ensure_ascii=False))
        return
    for document in documents:
        _show(document)


def _show(document: dict[str, Any]) -> None:
    """One evaluation in a few lines: overall, by kind of query, and what needs no model."""
    counts = document["counts"]
    size = f"{counts['queries']} queries about {counts['images']} image{'s' * (counts['images'] != 1)}"
    notes = "".join(f", {name.replace('_', ' ')}" for name in document["deviations"])
    typer.echo(f"{document['data']} {document['split']}, {document['mode']}: {size}{notes}")
    for name in ("gIoU", "cIoU"):
        low, high = document.get("ci95", {}).get(name) or (None, None)
        interval = f"  [{_number(low)}, {_number(high)}]" if low is not None else ""
        parts = "".join(
            f"  {kind.removeprefix('kind:')} {_number(row.get(name))}"
            for kind, row in document["by"].items()
            if row["queries"]
        )
        typer.echo(f"  {name} {_number(document['metrics'].get(name))}{interval}{parts}")
    for baseline, row in document.get("baselines", {}).items():
        typer.echo(f"  baseline {baseline}: gIoU {_number(row.get('gIoU'))}  cIoU {_number(row.get('cIoU'))}")
    for name in ("not_emitted", "no_mask", "skipped"):
        if counts.get(name):
            typer.echo(f"  {name}: {counts[name]}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
