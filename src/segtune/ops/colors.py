"""Colours of classes that stay apart for readers with every kind of colour vision, for any number of classes.

The first seven are the colours of Okabe and Ito. The list does not end there: each further one is the candidate
farthest from all before it, so the first k are the same whatever the number of classes, on every machine.
"""

from __future__ import annotations

from functools import cache

import numpy as np

GREY = (128, 128, 128)
"""Nothing that has a colour of its own: ignored pixels."""

# Okabe and Ito 2008, "Color Universal Design", without black
_OKABE_ITO = np.array(
    [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)],
    np.uint8,
)

_LEVELS = np.linspace(0, 255, 9).round().astype(np.uint8)
_LIGHTNESS = (0.4, 0.95)
"""Range of OKLab's L in which a colour shows on dark and on light pictures."""

_LEAST_CHROMA = 0.1
"""Distance from grey in OKLab below which a colour is taken for one."""

_SHADE = 0.7
"""How much a difference of lightness counts: less than one of hue, for a picture shines through its classes."""

# Machado, Oliveira and Fernandes 2009, "A physiologically-based model for simulation of color vision deficiency",
# severity 1.0, on linear RGB: protanopia, deuteranopia, tritanopia.
_VISIONS = np.array(
    [
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ]
)

# Ottosson 2020, "A perceptual color space for image processing" (OKLab), from linear sRGB.
_TO_LMS = np.array(
    [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
     [0.0883024619, 0.2817188376, 0.6299787005]]
)  # fmt: skip
_TO_LAB = np.array(
    [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
     [0.0259040371, 0.7827717662, -0.8086757660]]
)  # fmt: skip


def class_colors(count: int) -> np.ndarray:
    """A colour for each class.

    The distance of two colours is the smallest of their distances in OKLab, lightness counted less, as seen with
    normal, protanope, deuteranope and tritanope vision. Behind the colours of Okabe and Ito comes each time the one
    farthest from black, white, grey and all before it. Beyond about a dozen no choice stays easy to tell apart, and
    names are needed beside them.

    Args:
        count: Number of classes, 0 to 255.

    Returns:
        uint8 `[count, 3]`, RGB; no two are equal.
    """
    return np.array(_ranked()[:count])


@cache
def _ranked() -> np.ndarray:
    """uint8 `[255, 3]`: the candidates in the order in which they are given out."""
    cube = np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = _seen(cube)[0]
    fits = (
        (lab[:, 0] >= _LIGHTNESS[0]) & (lab[:, 0] <= _LIGHTNESS[1]) & (np.hypot(lab[:, 1], lab[:, 2]) > _LEAST_CHROMA)
    )
    first, candidates = len(_OKABE_ITO), np.concatenate([_OKABE_ITO, cube[fits]])
    seen = _weighted(candidates)
    anchors = _weighted(np.array([(0, 0, 0), (255, 255, 255), GREY], np.uint8))
    nearest = np.min([_distances(seen, anchors[:, index]) for index in range(3)], axis=0)
    chosen: list[int] = []
    for place in range(255):
        # distances are rounded so that the order does not hang on the last bit of a machine's cube root
        chosen.append(place if place < first else int(np.argmax(np.round(nearest, 6))))
        nearest = np.minimum(nearest, _distances(seen, seen[:, chosen[-1]]))
        nearest[chosen] = -1
    return candidates[chosen]


def _seen(colors: np.ndarray) -> np.ndarray:
    """OKLab float64 `[4, n, 3]` of uint8 sRGB `[n, 3]`, for each kind of vision."""
    values = colors / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    visible = np.clip(np.einsum("vij,nj->vni", _VISIONS, linear), 0, 1)
    return np.cbrt(visible @ _TO_LMS.T) @ _TO_LAB.T


def _weighted(colors: np.ndarray) -> np.ndarray:
    """What `_seen` gives, with differences of lightness made smaller."""
    return _seen(colors) * np.array([_SHADE, 1, 1])


def _distances(seen: np.ndarray, one: np.ndarray) -> np.ndarray:
    """Float64 `[n]`: how far each colour of `[4, n, 3]` is from one `[4, 3]`, with the vision that parts them least."""
    return np.asarray(np.linalg.norm(seen - one[:, None], axis=-1).min(axis=0))
