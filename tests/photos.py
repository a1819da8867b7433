"""A small dataset with index masks, whose colours tell its classes: for every test that needs a whole dense run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("background", "red", "green")
SIZE = (32, 48)  # that of the small models too, so that model pixels are original ones


def write_photos(place: Path, *, train: int = 8, val: int = 3) -> None:
    """Noise with a red and a green rectangle, of the size that the model sees."""
    place.mkdir()
    (place / "classes.json").write_text(json.dumps({"classes": CLASSES, "ignore_index": 255}))
    for split, count in (("train", train), ("val", val)):
        for index in range(count):
            rng = np.random.default_rng([index, split == "val"])
            labels, image = np.zeros(SIZE, np.uint8), rng.integers(0, 60, (*SIZE, 3)).astype(np.uint8)
            for label in (1, 2) if index % 3 else (1,):
                top, left = int(rng.integers(0, 16)), int(rng.integers(0, 30))
                box = (slice(top, top + 14), slice(left, left + 16))
                labels[box] = label
                image[box] = (200, 40, 40) if label == 1 else (40, 200, 40)
            labels[:1] = 255
            for folder, array in (("images", image), ("masks", labels)):
                path = place / split / folder / f"{split}{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)
