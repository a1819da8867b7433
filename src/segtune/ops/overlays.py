"""Pictures of masks: a mask over its image, and the panel `image | truth | prediction` with a caption.

Everything is uint8 RGB `[h, w, 3]` in *original* pixels unless a panel is made smaller to fit. These pictures are for
people; no score is ever computed from them.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from segtune.core.records import IGNORE

TRUTH_COLOR = (40, 170, 90)
PREDICTION_COLOR = (225, 60, 50)
IGNORE_COLOR = (128, 128, 128)
MARGIN = 8  # pixels around the caption


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


def _fit(picture: np.ndarray, max_side: int) -> np.ndarray:
    scale = max_side / max(picture.shape[:2])
    if scale >= 1:
        return picture
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _caption(text: str, width: int, *, max_lines: int = 6) -> np.ndarray:
    """The caption in black on white, uint8 `[height, width, 3]`."""
    font = ImageFont.load_default(13)
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
