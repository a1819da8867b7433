"""The shapes, colours and textures of the drawn world, and how one object is drawn.

An object is a `Look` (what can be said of it) drawn as a `Sprite` (small arrays, cropped to the object). Outlines are
kept as unit contours whose areas are roughly equal for the same radius, so that a larger radius means a larger object
whatever its shape. All coordinates are (x, y) in sprite pixels unless an array says otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

SHAPES = ("disc", "square", "triangle", "star", "ring", "cross", "bar", "heart", "crescent", "drop")
"""Names of the shapes."""

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "white", "black")
"""Names of the colours."""

TEXTURES = ("plain", "striped", "dotted", "checked")
"""Names of the textures."""

SIZES = {"small": (12.5, 14.5), "medium": (17.5, 20.5), "large": (24.5, 28.0)}
"""Size classes and their range of radii in pixels."""

_BASE = {
    "red": (208, 34, 40), "green": (36, 142, 56), "blue": (38, 84, 208), "yellow": (240, 216, 44),
    "purple": (132, 52, 164), "orange": (242, 130, 22), "white": (244, 244, 240), "black": (26, 26, 30),
}  # fmt: skip
"""RGB of the body of an object."""

_TONE = {
    "red": (112, 8, 14), "green": (140, 224, 148), "blue": (146, 188, 255), "yellow": (168, 138, 8),
    "purple": (214, 160, 236), "orange": (164, 72, 0), "white": (160, 160, 164), "black": (118, 118, 124),
}  # fmt: skip
"""RGB of the darker or lighter tone in which the texture is drawn."""

_FINE = 4  # outlines are filled at this multiple of the resolution, then averaged down
_SHIFT = 4  # fractional bits of the coordinates given to cv2
_TILT = math.radians(25)
# Objects stand more or less upright. Turned at random, a square is a diamond and a crescent a cup: ten shapes become a
# hundred, and a model of a million parameters learns colours and places long before it tells them apart.

_PERIOD = 8.0  # pixels from one stripe or dot to the next
_CELL = 6.0  # pixels along the side of a checked cell


@dataclass(frozen=True, slots=True)
class Look:
    """What can be said of an object by itself: one name each from `SHAPES`, `COLOURS`, `TEXTURES` and `SIZES`."""

    shape: str
    colour: str
    texture: str
    size: str


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """One drawn object, cropped to its bounding box.

    Attributes:
        alpha: uint8 `[h, w]`, 0..255 coverage of each pixel.
        mask: bool `[h, w]`, pixels covered by at least a half.
        paint: uint8 `[h, w, 3]`, RGB.
    """

    alpha: np.ndarray
    mask: np.ndarray
    paint: np.ndarray


def _arc(radius: float, start: float, stop: float, count: int = 40, centre: tuple[float, float] = (0, 0)) -> np.ndarray:
    """Points float `[count, 2]` along an arc, angles in radians."""
    turn = np.linspace(start, stop, count)
    return np.stack([centre[0] + radius * np.cos(turn), centre[1] + radius * np.sin(turn)], axis=-1)


def _outlines() -> dict[str, tuple[np.ndarray, ...]]:
    """Unit contours of every shape, each float32 `[n, 2]`; a second contour is a hole."""
    up = -math.pi / 2
    corner = np.arange(10) * math.pi / 5 + up
    spokes = np.where(np.arange(10) % 2 == 0, 1.28, 0.58)
    arm, end = 0.34, 1.0
    turn = np.linspace(0, 2 * math.pi, 60, endpoint=False)
    heart = np.stack([
        16 * np.sin(turn) ** 3,
        -(13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn)) - 2.0,
    ], axis=-1)  # fmt: skip
    tip = math.radians(48)
    inner, apart = 0.88, 0.52  # the crescent: a unit circle without another, whose centre lies `apart` from its own
    meet = math.acos((1 + apart**2 - inner**2) / (2 * apart))  # the angle at which the two circles cross
    inner_meet = math.atan2(math.sin(meet), math.cos(meet) - apart)
    back = _arc(1.0, meet, 2 * math.pi - meet)
    front = _arc(inner, 2 * math.pi - inner_meet, inner_meet, centre=(apart, 0.0))
    plus = [(-arm, -end), (arm, -end), (arm, -arm), (end, -arm), (end, arm), (arm, arm),
            (arm, end), (-arm, end), (-arm, arm), (-end, arm), (-end, -arm), (-arm, -arm)]  # fmt: skip
    shapes: dict[str, tuple[np.ndarray, ...]] = {
        "disc": (_arc(0.9, 0, 2 * math.pi),),
        "square": (_arc(1.12, math.pi / 4, math.pi / 4 + 2 * math.pi, 5)[:4],),
        "triangle": (_arc(1.28, up, up + 2 * math.pi, 4)[:3],),
        "star": (np.stack([spokes * np.cos(corner), spokes * np.sin(corner)], axis=-1),),
        "ring": (_arc(1.02, 0, 2 * math.pi), _arc(0.54, 0, 2 * math.pi)),
        "cross": (np.array(plus) * 1.02,),
        "bar": (np.array([(-1.42, -0.38), (1.42, -0.38), (1.42, 0.38), (-1.42, 0.38)]),),
        "heart": (heart / 15.5,),
        "crescent": (np.concatenate([back, front]) * 1.2,),
        "drop": (np.concatenate([_arc(0.82, tip + up, 2 * math.pi - tip + up, centre=(0, 0.3)), [[0.0, -1.35]]]),),
    }
    return {name: tuple(part.astype(np.float32) for part in parts) for name, parts in shapes.items()}


_OUTLINES = _outlines()


def _rasterise(shape: str, radius: float, angle: float) -> np.ndarray:
    """The coverage of a shape.

    Args:
        shape: One of `SHAPES`.
        radius: In pixels.
        angle: Rotation in radians.

    Returns:
        uint8 `[h, w]`, 0..255, cropped to the shape.
    """
    half = math.ceil(radius * 1.5) + 2
    fine = np.zeros((2 * half * _FINE, 2 * half * _FINE), np.uint8)
    cos, sin = math.cos(angle) * radius, math.sin(angle) * radius
    turn = np.array([[cos, sin], [-sin, cos]], np.float32)
    scale = _FINE << _SHIFT
    contours = [np.rint((part @ turn + half) * scale).astype(np.int32) for part in _OUTLINES[shape]]
    cv2.fillPoly(fine, contours, 255, lineType=cv2.LINE_8, shift=_SHIFT)
    alpha = cv2.resize(fine, (2 * half, 2 * half), interpolation=cv2.INTER_AREA)
    x, y, width, height = cv2.boundingRect(alpha)
    return alpha[y : y + height, x : x + width]


def _pattern(texture: str, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Where the texture's tone shows: bool `[h, w]`."""
    angle, shift_u, shift_v = rng.uniform(-_TILT, _TILT), *rng.uniform(0, 2 * _PERIOD, 2)
    y, x = np.ogrid[: shape[0], : shape[1]]
    cos, sin = math.cos(angle), math.sin(angle)
    u = cos * x + sin * y + shift_u + 100.0  # kept positive so that the remainders below are regular
    shown: np.ndarray = u % _PERIOD < 0.5 * _PERIOD
    if texture == "striped":
        return shown
    v = -sin * x + cos * y + shift_v + 100.0
    if texture == "dotted":
        shown = (u % _PERIOD - 0.5 * _PERIOD) ** 2 + (v % _PERIOD - 0.5 * _PERIOD) ** 2 < 4.4
    else:
        shown = (u // _CELL + v // _CELL) % 2 < 1
    return shown


def draw_sprite(look: Look, rng: np.random.Generator) -> Sprite:
    """Draws one object with random radius (within its size class), tilt and shade.

    Args:
        look: What to draw.
        rng: The source of chance.

    Returns:
        The sprite, cropped to the object.
    """
    alpha = _rasterise(look.shape, rng.uniform(*SIZES[look.size]), rng.uniform(-_TILT, _TILT))
    shade = rng.uniform(0.93, 1.05) + rng.uniform(-0.025, 0.025, 3)
    body = np.clip(np.array(_BASE[look.colour]) * shade + rng.uniform(-5, 5), 0, 255).astype(np.uint8)
    paint = np.empty((*alpha.shape, 3), np.uint8)
    paint[:] = body
    if look.texture != "plain":
        tone = np.clip(np.array(_TONE[look.colour]) * shade, 0, 255).astype(np.uint8)
        paint[_pattern(look.texture, alpha.shape, rng)] = tone
    # A slightly darker rim keeps touching objects of one colour apart.
    mask = alpha >= 128
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    rim = mask & (cv2.erode(padded, np.ones((3, 3), np.uint8))[1:-1, 1:-1] == 0)
    paint[rim] = (body * 0.72).astype(np.uint8)
    return Sprite(alpha=alpha, mask=mask, paint=paint)
