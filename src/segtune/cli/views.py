"""The options by which `evaluate` and `predict` say how a dense model looks at an image."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from segtune.engine.dense_config import DenseEvalConfig

FlipOption = Annotated[bool, typer.Option("--flip", help="Dense: average with the answer for the mirror image.")]
FlipVerticalOption = Annotated[
    bool, typer.Option("--flip-vertical", help="Dense: average with the answer for the image upside down.")
]
MirrorOption = Annotated[
    Literal["auto", "always"] | None,
    typer.Option("--mirror", help="Dense: eval.tta.mirror for classes that say a side; default as in the run."),
]
ScalesOption = Annotated[
    str, typer.Option("--scales", metavar="S,S", help="Dense: average over sizes of the image, e.g. 0.75,1,1.25.")
]
WindowOption = Annotated[
    str | None, typer.Option("--window", metavar="HxW", help="Dense: sliding windows of so many original pixels.")
]


def inference(
    flip: bool, flip_vertical: bool, scales: str, window: str | None, mirror: str | None = None
) -> DenseEvalConfig:
    """The views and windows that the options ask for.

    Args:
        flip: `--flip`.
        flip_vertical: `--flip-vertical`.
        scales: `--scales`, numbers with commas between them.
        window: `--window`, height and width with an x between them.
        mirror: `--mirror`; None leaves it to the run.

    Raises:
        ConfigError: A number cannot be read or is out of range.
    """
    from segtune.core.config import validate
    from segtune.core.errors import ConfigError
    from segtune.engine.dense_config import DenseEvalConfig

    numbers = scales.replace(" ", "").split(",")
    size = None if window is None else re.fullmatch(r"(\d+)x(\d+)", window.strip().lower())
    if window is not None and size is None:
        raise ConfigError("no size of a window", where="--window", expected="HxW, as in 360x480", found=window)
    if not all(re.fullmatch(r"\d+(\.\d+)?", number) for number in numbers):
        raise ConfigError("no list of scales", where="--scales", expected="numbers, as in 0.75,1,1.25", found=scales)
    given = {} if mirror is None else {"mirror": mirror}
    values = {
        "tta": {"flip": flip, "flip_vertical": flip_vertical, "scales": [float(number) for number in numbers], **given},
        "window": None if size is None else [int(size[1]), int(size[2])],
    }
    return validate(DenseEvalConfig, values, where="the options")
