"""`segtune predict`: one question about one image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def predict(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A run (RUN or RUN@last), checkpoint, or segtune/tiny.")
    ],
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A photograph.")],
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The question, in quotation marks.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where to write.")] = Path("predictions"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Ask about an image: writes a mask, an overlay and a JSON file.

    \b
    Example:
      segtune predict runs/first photo.jpg "what can be used to open the bottle?" --out answers
    """
    from segtune.core.records import Query
    from segtune.data.images import open_image

    # what is wrong with the question or the image is told before the seconds or minutes that a model takes to load
    Query.typed(query)
    pixels = open_image(image)
    from segtune import Predictor

    prediction = Predictor.from_pretrained(model).predict(pixels, query)
    paths = prediction.save(out, stem=image.stem)
    if as_json:
        typer.echo(json.dumps(prediction.to_dict(), indent=2, ensure_ascii=False))
        return
    typer.echo(f"answer: {prediction.text}")
    typer.echo(prediction.summary())
    for path in paths:
        typer.echo(str(path))
