"""`segtune report` and `segtune compare`: what runs have written, for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from segtune.cli.output import echo


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, finished or not.")],
) -> None:
    """Write RUN/report.html, one page that needs no network, and RUN/training_history.png.

    \b
    Example:
      segtune report runs/first
    """
    from segtune.reports.page import write_report

    for path in write_report(run):
        echo(str(path))


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN", help="Run directories; one is compared with the papers.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Also write compare.md, compare.csv and compare.html.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of Markdown.")] = False,
) -> None:
    """Put runs side by side, and those scored on ReasonSeg beside the published LISA table.

    \b
    Examples:
      segtune compare runs/first runs/second
      segtune compare runs/first runs/second --out comparison
    """
    from segtune.core.files import jsonable
    from segtune.core.log import get_logger
    from segtune.reports import compare as comparison
    from segtune.reports.tables import markdown

    facts = comparison.read_runs(runs)
    if as_json:
        echo(json.dumps(jsonable(comparison.to_json(facts)), indent=2, ensure_ascii=False))
    else:
        echo(markdown(comparison.TITLE, comparison.compare_sections(facts)), nl=False)
    if out is not None:
        for path in comparison.write_comparison(facts, out):
            get_logger(__name__).info("written: %s", path)
