"""The digest of one picture."""

from __future__ import annotations

import numpy as np

from segtune.data.digests import of_pixels


def test_pictures_are_told_apart_by_their_pixels_and_their_shape() -> None:
    picture = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    changed = picture.copy()
    changed[-1, -1, -1] += 1
    pictures = (picture, changed, picture.reshape(6, 4, 3), picture[:, ::-1], picture[:2])
    assert len({of_pixels(one) for one in pictures}) == 5
    assert of_pixels(np.asfortranarray(picture)) == of_pixels(picture)
