"""`segtune predict`: one question about one image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segtune.cli.output import echo
from segtune.cli.pictures import GreyBitsOption, MaxPixelsOption
from segtune.cli.views import FlipOption, FlipVerticalOption, MirrorOption, ScalesOption, WindowOption, inference

if TYPE_CHECKING:
    import numpy as np

    from segtune.engine.dense_config import DenseInferenceConfig


def predict(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A run (RUN or RUN@last), checkpoint, or segtune/tiny.")
    ],
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A photograph.")],
    query: Annotated[
        str | None, typer.Argument(metavar="[QUERY]", help="The question, in quotation marks; none for a dense model.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where to write.")] = Path("predictions"),
    flip: FlipOption = False,
    flip_vertical: FlipVerticalOption = False,
    mirror: MirrorOption = None,
    scales: ScalesOption = "1",
    window: WindowOption = None,
    max_pixels: MaxPixelsOption = None,
    grey_bits: GreyBitsOption = None,
    sentence: Annotated[
        bool | None,
        typer.Option("--sentence/--phrase", help="How the question is worded; by default as its text reads."),
    ] = None,
    heat: Annotated[
        str | None, typer.Option("--heat", metavar="CLASS", help="Dense: a Grad-CAM overlay for this class, or binary.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option("--layer", metavar="NAME", help="The layer of --heat; default the encoder's last.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Ask about an image, or tell its classes apart: writes masks, an overlay and a JSON file.

    \b
    Examples:
      segtune predict runs/first photo.jpg "what can be used to open the bottle?" --out answers
      segtune predict runs/streets photo.jpg --flip --heat car
    """
    if layer is not None and heat is None:
        raise typer.BadParameter("--layer is the layer of --heat CLASS", param_hint="--layer")
    if query is None and sentence is not None:
        raise typer.BadParameter("--sentence and --phrase are for models that are asked a QUERY")
    if query is None:
        views = inference(flip, flip_vertical, scales, window, mirror)
        _classes(model, image, out, views, heat, layer, max_pixels, grey_bits, as_json=as_json)
        return
    if flip or flip_vertical or heat is not None or window is not None or mirror is not None or scales != "1":
        raise typer.BadParameter(
            "--flip, --flip-vertical, --mirror, --scales, --window and --heat are for dense models, "
            "which are asked without a QUERY"
        )
    from segtune.core.records import Query

    # what is wrong with the question or the image is told before the seconds or minutes that a model takes to load
    Query.typed(query, sentence)
    pixels = _read(model, image, max_pixels, grey_bits)
    from segtune import Predictor

    predictor = Predictor.from_pretrained(model, max_pixels=max_pixels, grey_bits=grey_bits)
    prediction = predictor.predict(pixels, query, is_sentence=sentence)
    paths = prediction.save(out, stem=image.stem)
    words = (f"answer: {prediction.text}", prediction.summary())
    _tell(words, prediction.to_dict(), paths, as_json=as_json)


def _classes(
    model: str,
    image: Path,
    out: Path,
    views: DenseInferenceConfig,
    heat: str | None,
    layer: str | None,
    max_pixels: int | None,
    grey_bits: int | None,
    *,
    as_json: bool,
) -> None:
    """What a dense model says about an image, and where it looks for a class."""
    pixels = _read(model, image, max_pixels, grey_bits)
    from segtune.engine.dense_predictor import DensePredictor

    predictor = DensePredictor.from_pretrained(model, config=views, max_pixels=max_pixels, grey_bits=grey_bits)
    # first, because a class or a layer that is not there is told before anything is written
    seen = [] if heat is None else [predictor.save_heat(pixels, heat, out, stem=image.stem, layer=layer)]
    prediction = predictor.predict(pixels)
    paths = [*prediction.save(out, stem=image.stem), *seen]
    _tell((prediction.summary(),), prediction.to_dict(), paths, as_json=as_json)


def _tell(words: Sequence[str], values: dict[str, Any], paths: Sequence[Path], *, as_json: bool) -> None:
    """Prints an answer: its words and files, or its values as JSON."""
    for line in (json.dumps(values, indent=2, ensure_ascii=False),) if as_json else (*words, *map(str, paths)):
        echo(line)


def _read(model: str, image: Path, max_pixels: int | None, grey_bits: int | None) -> np.ndarray:
    """The pixels of a picture, read as the model's run read its own; what may not be meant is told."""
    from segtune.data.given import as_image
    from segtune.engine.run_images import images_of

    return as_image(image, images_of(model, max_pixels, grey_bits))
