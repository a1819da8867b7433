"""Pictures of masks and of classes over their image, and the panel `image | truth | prediction` with a caption.

Everything is uint8 RGB `[h, w, 3]` in *original* pixels unless a panel is made smaller to fit. These pictures are for
people; no score is ever computed from them.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from segtune.core.records import IGNORE
from segtune.ops.colors import GREY, class_colors

TRUTH_COLOR = (40, 170, 90)
PREDICTION_COLOR = (225, 60, 50)
IGNORE_COLOR = GREY
MARGIN = 8  # pixels around the caption
TEXT = 13  # size of letters, in pixels


def overlay(
    image: np.ndarray,
    mask: np.ndarray,
    color: tuple[int, int, int] = PREDICTION_COLOR,
    *,
    alpha: float = 0.5,
    outline: bool = True,
) -> np.ndarray:
    """Blend a mask over its image.

    Args:
        image: uint8 `[h, w, 3]`, RGB.
        mask: `[h, w]`, anything but 0 is inside.
        color: RGB, 0 to 255.
        alpha: Share of the color inside the mask, 0 to 1.
        outline: Whether the border of the mask is drawn in the full color.

    Returns:
        A new uint8 `[h, w, 3]`; pixels outside the mask are those of the image.

    Raises:
        ValueError: If image and mask differ in size.
    """
    if image.shape[:2] != mask.shape:
        raise ValueError(f"image {image.shape[:2]} and mask {mask.shape} differ in size")
    inside = mask != 0
    result = image.copy()
    blended = (1 - alpha) * image[inside].astype(np.float32) + alpha * np.array(color, np.float32)
    result[inside] = np.clip(np.rint(blended), 0, 255).astype(np.uint8)
    if outline:
        width = max(1, round(min(mask.shape) / 240))
        kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
        # Outside the image counts as inside the mask, so that no line runs along the border of the picture.
        core = cv2.erode(inside.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1)
        result[inside & (core == 0)] = color
    return result


def panel(
    image: np.ndarray, target: np.ndarray, prediction: np.ndarray | None, caption: str, *, max_side: int = 480
) -> np.ndarray:
    """Image, truth and prediction side by side, with the caption below.

    Args:
        image: uint8 `[h, w, 3]`, RGB.
        target: uint8 `[h, w]` with 0, 1 and `IGNORE` (shown grey).
        prediction: `[h, w]`, anything but 0 is inside, or None where no mask was given.
        caption: Any text; wrapped to the width, and cut after six lines.
        max_side: Each picture is made smaller until its longer side fits, in pixels.

    Returns:
        uint8 `[height, width, 3]`.

    Raises:
        ValueError: If the sizes differ.
    """
    truth = overlay(image, target == IGNORE, IGNORE_COLOR, outline=False)
    truth = overlay(truth, target == 1, TRUTH_COLOR)
    predicted = image if prediction is None else overlay(image, prediction, PREDICTION_COLOR)
    row = np.concatenate([_fit(picture, max_side) for picture in (image, truth, predicted)], axis=1)
    return np.concatenate([row, _caption(caption, row.shape[1])], axis=0)


def overlay_labels(
    image: np.ndarray, labels: np.ndarray, count: int, *, clear: Sequence[int] = (), alpha: float = 0.55
) -> np.ndarray:
    """Blend the classes of all pixels over their image, each in its colour of `class_colors`.

    Args:
        image: uint8 `[h, w, 3]`, RGB.
        labels: uint8 `[h, w]`: class indices below `count`, and `IGNORE` (shown grey).
        count: Number of classes.
        clear: Classes that are not painted, such as a background.
        alpha: Share of the colour, 0 to 1.

    Returns:
        A new uint8 `[h, w, 3]`.

    Raises:
        ValueError: If image and labels differ in size.
    """
    if image.shape[:2] != labels.shape:
        raise ValueError(f"image {image.shape[:2]} and labels {labels.shape} differ in size")
    table = np.full((256, 3), IGNORE_COLOR, np.uint8)
    table[:count] = class_colors(count)
    blended = cv2.addWeighted(image, 1 - alpha, table[labels], alpha, 0)
    if clear:
        kept = np.isin(labels, clear)
        blended[kept] = image[kept]
    return blended


def label_panel(
    image: np.ndarray, target: np.ndarray, prediction: np.ndarray, names: Sequence[str], caption: str,
    *, clear: Sequence[int] = (), max_side: int = 480,
) -> np.ndarray:  # fmt: skip
    """Image, true and predicted classes side by side; a legend of the classes that are there, and the caption below.

    Args:
        image: uint8 `[h, w, 3]`, RGB.
        target: uint8 `[h, w]`: class indices and `IGNORE` (shown grey).
        prediction: uint8 `[h, w]`: class indices.
        names: Of all classes.
        caption: Any text; wrapped to the width, and cut after six lines.
        clear: Classes that are not painted, such as a background.
        max_side: Each picture is made smaller until its longer side fits, in pixels.

    Returns:
        uint8 `[height, width, 3]`.

    Raises:
        ValueError: If the sizes differ.
    """
    colored = [overlay_labels(image, labels, len(names), clear=clear) for labels in (target, prediction)]
    row = np.concatenate([_fit(picture, max_side) for picture in (image, *colored)], axis=1)
    shown = np.union1d(target[target != IGNORE], prediction)
    below = legend(names, [int(index) for index in shown if index not in clear], row.shape[1])
    return np.concatenate([row, below, _caption(caption, row.shape[1])], axis=0)


def legend(names: Sequence[str], shown: Sequence[int], width: int, *, text: int = TEXT) -> np.ndarray:
    """The names of classes beside squares of their colours, in as many lines as it takes.

    Args:
        names: Of all classes, in the order of their labels.
        shown: The classes to name.
        width: Of the picture, in pixels.
        text: Size of the letters, in pixels.

    Returns:
        uint8 `[height, width, 3]` on white; of no height where nothing is shown.
    """
    font, line, places = ImageFont.load_default(text), round(1.5 * text), []
    x, y = MARGIN, MARGIN
    for index in shown:
        needed = round(font.getlength(names[index])) + 2 * text
        if x > MARGIN and x + needed > width - MARGIN:
            x, y = MARGIN, y + line
        places.append((index, x, y))
        x += needed + text
    picture = Image.new("RGB", (width, y + line if places else 0), "white")
    draw, colors = ImageDraw.Draw(picture), class_colors(len(names))
    for index, x, y in places:
        draw.rectangle((x, y, x + text - 1, y + text - 1), fill=tuple(colors[index].tolist()), outline="black")
        draw.text((x + round(1.4 * text), y + text // 2), names[index], fill="black", font=font, anchor="lm")
    return np.asarray(picture).reshape(-1, width, 3)


def overlay_heat(image: np.ndarray, heat: np.ndarray, *, alpha: float = 0.75) -> np.ndarray:
    """Blend a heat map over its image, which is made grey: what is cold stays, what is hot glows.

    Args:
        image: uint8 `[h, w, 3]`, RGB.
        heat: Float `[h, w]`, 0 to 1.
        alpha: Share of the colour where the heat is 1; elsewhere it is less by as much as the heat.

    Returns:
        A new uint8 `[h, w, 3]`, in the colours of matplotlib's inferno, whose lightness rises with the heat.

    Raises:
        ValueError: If image and heat differ in size.
    """
    if image.shape[:2] != heat.shape:
        raise ValueError(f"image {image.shape[:2]} and heat {heat.shape} differ in size")
    levels = np.rint(np.clip(heat, 0, 1) * 255).astype(np.uint8)
    colors = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    share = (alpha * heat.astype(np.float32))[..., None]
    return np.clip(np.rint((1 - share) * grey + share * colors), 0, 255).astype(np.uint8)


def _fit(picture: np.ndarray, max_side: int) -> np.ndarray:
    scale = max_side / max(picture.shape[:2])
    if scale >= 1:
        return picture
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _caption(text: str, width: int, *, max_lines: int = 6) -> np.ndarray:
    """The caption in black on white, uint8 `[height, width, 3]`."""
    font = ImageFont.load_default(TEXT)
    lines: list[str] = []
    for word in " ".join(text.split()).split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width - 2 * MARGIN:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > max_lines:
        lines = [*lines[: max_lines - 1], lines[max_lines - 1] + " ..."]
    picture = Image.new("RGB", (width, 17 * len(lines) + 2 * MARGIN), "white")
    ImageDraw.Draw(picture).multiline_text((MARGIN, MARGIN), "\n".join(lines), fill="black", font=font, spacing=3)
    return np.asarray(picture)
