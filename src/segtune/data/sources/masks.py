"""Photographs with index masks: `images/NAME.jpg` and `masks/NAME.png`, below a split or directly in the directory.

The value of a mask's pixel is the index of its class; `classes.json` names the classes and the ignored value (see
`classes.py`). Everything cheap is checked when the source is made (pairs, headers, ends, sizes); what fails is listed
in `bad` and the rest is used. Values are checked when an item is decoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segtune.core.errors import DataError
from segtune.core.records import IGNORE, LabelledImage
from segtune.data.bad_items import BadItem, one_line
from segtune.data.images import MAX_PIXELS, SUFFIXES, open_image, verify_image
from segtune.data.index_png import read_index_png, verify_index_png
from segtune.data.layouts import IMAGES, MASKS, MASKS_LAYOUT
from segtune.data.sources.classes import FILE, Classes, find_classes
from segtune.data.sources.listing import Listing, list_files

MASK_SUFFIX = ".png"
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Pair:
    """One photograph and its mask.

    Attributes:
        id: POSIX path below `images/`, without suffix.
        image: The photograph.
        mask: The index PNG.
    """

    id: str
    image: Path
    mask: Path


class MaskFolder:
    """A split of photographs with index masks, in the order of their ids.

    The ignored value of the files becomes `IGNORE` (255), class indices stay. A dataset of two classes that does not
    use 255 otherwise may have masks of 0 and 255 alone, as drawing programs write them: 255 is then class 1. Of
    `NAME.jpg`, `.jpeg`, `.png` and `.webp` (in any case) the first of this order is the image.

    Args:
        directory: The dataset's directory.
        split: The sub-directory to read; empty where `images/` lies directly in `directory`.
        root: Links must stay below this directory; `directory` itself if None.
        limit: Keep only the first so many images.
        max_pixels: Refuse larger images (width x height).

    Attributes:
        name: The name of the directory.
        split: The split.
        directory: The dataset's directory, resolved.
        classes: The names of the classes.
        ignore_index: The ignored value of the files, or None.
        files: Number of names found, good and bad, before `limit`.
        bad: What cannot be used, with the reason, in the order of the paths (which are below `directory`).
        notes: What is used in a way that its author may not have meant, a sentence each.

    Raises:
        DataError: If the folders or `classes.json` are missing, unreadable or lead out of the root.
    """

    kind = "masks"

    def __init__(
        self,
        directory: str | Path,
        split: str = "",
        *,
        root: str | Path | None = None,
        limit: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.directory = Path(directory).expanduser().resolve()
        self.name, self.split, self._max_pixels = self.directory.name, split, max_pixels
        base = self.directory if root is None else Path(root).expanduser().resolve()
        self._place = self.directory / split
        for folder in (IMAGES, MASKS):
            if not (self._place / folder).is_dir():
                raise DataError(
                    f"there is no folder {folder}/", where=str(self._place), expected=MASKS_LAYOUT,
                    found="nothing there", fix="put the photographs into images/ and their masks into masks/",
                )  # fmt: skip
        found = find_classes(self.directory, split, base)
        self.classes, self.ignore_index = found.names, found.ignore_index
        self.notes = (f"{FILE} is {found.note}",) if found.note else ()
        self._labels = _label_table(found)
        self._binary = len(found.names) == 2 and found.ignore_index != 255
        bad: list[BadItem] = []
        images = self._images(list_files(self._place / IMAGES, base), bad)
        masks = self._masks(list_files(self._place / MASKS, base), bad)
        self.files = len(images.keys() | masks.keys())
        self._pairs = [pair for pair in self._paired(images, masks, bad) if self._usable(pair, bad)][:limit]
        self.bad = tuple(sorted(bad))

    def __len__(self) -> int:
        """Number of images."""
        return len(self._pairs)

    def item(self, index: int, epoch: int = 0) -> LabelledImage:
        """Decodes an image and its mask.

        Args:
            index: Which image, from 0.
            epoch: Of no effect: files do not change.

        Raises:
            DataError: If a file is damaged, the sizes differ, or the mask holds a value that is no class.
        """
        pair = self._pairs[index]
        image = open_image(pair.image, self._max_pixels)
        values = read_index_png(pair.mask, self._max_pixels)
        _require_size(pair, image.shape[:2], values.shape)
        return LabelledImage(pair.id, image, self._to_labels(values, pair.mask))

    def item_id(self, index: int) -> str:
        """The id of the image at `index`, without reading it."""
        return self._pairs[index].id

    def image_path(self, index: int) -> Path:
        """The file of the photograph at `index`."""
        return self._pairs[index].image

    def _to_labels(self, values: np.ndarray, path: Path) -> np.ndarray:
        """Labels uint8 `[h, w]` of the values of a file."""
        counts = np.bincount(values.ravel(), minlength=256)
        labels = self._labels
        if self._binary and counts[255] and not counts[1]:
            labels = labels.copy()
            labels[255] = 1
        wrong = np.flatnonzero((labels < 0) & (counts > 0))
        if len(wrong):
            raise self._wrong_values(wrong, counts, path)
        return labels.astype(np.uint8)[values]

    def _wrong_values(self, wrong: np.ndarray, counts: np.ndarray, path: Path) -> DataError:
        shown = ", ".join(f"{value} ({counts[value]:,} pixels)" for value in wrong[:_SHOWN].tolist())
        ignored = "" if self.ignore_index is None else f" and {self.ignore_index} (ignored)"
        return DataError(
            "the mask holds values outside the classes",
            where=str(path),
            expected=f"0 to {len(self.classes) - 1}{ignored}",
            found=shown + (", ..." if len(wrong) > _SHOWN else ""),
            fix="correct the mask, or name these classes (or the ignored value) in classes.json",
        )

    def _images(self, listing: Listing, bad: list[BadItem]) -> dict[str, str]:
        """The photograph of each id, below the dataset; links that are refused and doubles to `bad`."""
        bad += [BadItem(self._below(IMAGES, item.path), item.reason) for item in listing.refused]
        found = [path for path in listing.files if path.lower().endswith(SUFFIXES)]
        images: dict[str, str] = {}
        for path in sorted(found, key=lambda path: SUFFIXES.index("." + path.rpartition(".")[2].lower())):
            stem = path.rpartition(".")[0]
            if stem in images:
                reason = f"another image has the same name and is used; found {Path(images[stem]).name}"
                bad.append(BadItem(self._below(IMAGES, path), reason))
            else:
                images[stem] = self._below(IMAGES, path)
        return images

    def _masks(self, listing: Listing, bad: list[BadItem]) -> dict[str, str]:
        """The mask of each id, below the dataset; links that are refused to `bad`."""
        bad += [BadItem(self._below(MASKS, item.path), item.reason) for item in listing.refused]
        found = [path for path in listing.files if path.lower().endswith(MASK_SUFFIX)]
        return {path.rpartition(".")[0]: self._below(MASKS, path) for path in found}

    def _paired(self, images: dict[str, str], masks: dict[str, str], bad: list[BadItem]) -> list[Pair]:
        """Every photograph with its mask, in the order of the ids; what stands alone to `bad`."""
        named = {item.path.rpartition(".")[0] for item in bad}  # a refused link says already why its pair is broken
        for stem in sorted(images.keys() ^ masks.keys()):
            path = images.get(stem) or masks[stem]
            if stem in images:
                missing, reason = self._below(MASKS, stem), f"the image has no mask; expected {MASKS}/{stem}.png"
            else:
                missing = self._below(IMAGES, stem)
                reason = f"the mask has no image; expected {IMAGES}/{stem}.jpg (or .jpeg, .png, .webp)"
            if missing not in named:
                bad.append(BadItem(path, reason))
        both = sorted(images.keys() & masks.keys())
        return [Pair(stem, self.directory / images[stem], self.directory / masks[stem]) for stem in both]

    def _usable(self, pair: Pair, bad: list[BadItem]) -> bool:
        """Whether the headers and ends of both files are in order and their sizes equal; else the reason to `bad`."""
        path = pair.image
        try:
            size = verify_image(path, self._max_pixels)
            path = pair.mask
            _require_size(pair, size, verify_index_png(path, self._max_pixels))
        except DataError as error:
            bad.append(BadItem(path.relative_to(self.directory).as_posix(), one_line(error)))
            return False
        return True

    def _below(self, folder: str, path: str) -> str:
        """A path below a folder of the split as a path below the dataset's directory."""
        return f"{self.split}/{folder}/{path}" if self.split else f"{folder}/{path}"


def _label_table(classes: Classes) -> np.ndarray:
    """The label of every value of a file, int16 `[256]`; -1 where the value is outside the classes."""
    table = np.full(256, -1, np.int16)
    table[: len(classes.names)] = np.arange(len(classes.names))
    if classes.ignore_index is not None:
        table[classes.ignore_index] = IGNORE
    return table


def _require_size(pair: Pair, image: tuple[int, ...], mask: tuple[int, ...]) -> None:
    """Refuses a mask that has not the size (h, w) of its image."""
    if tuple(image) != tuple(mask):
        raise DataError(
            "image and mask differ in size",
            where=str(pair.mask),
            expected=f"{image[1]} x {image[0]} pixels (width x height), as {pair.image.name} is displayed",
            found=f"{mask[1]} x {mask[0]}",
            fix="draw the mask on the image as a viewer displays it (after EXIF orientation), at full size",
        )
