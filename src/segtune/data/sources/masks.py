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
from segtune.data.config import USUAL_IMAGES, ImageConfig
from segtune.data.images import open_image, verify_image
from segtune.data.index_png import read_index_png, verify_index_png
from segtune.data.layouts import IMAGES, MASKS, MASKS_LAYOUT
from segtune.data.sources.classes import Classes, find_classes
from segtune.data.sources.listing import Listing, link_roots, list_files
from segtune.data.sources.pairing import FilesByStem, accents_told, collisions_told, stem_of

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
    use 255 otherwise may have masks of 0 and 255 alone, as drawing programs write them: 255 is then class 1. Which file
    belongs to which is the rule of `pairing.py`.

    Args:
        directory: The dataset's directory.
        split: The sub-directory to read; empty where `images/` lies directly in `directory`.
        root: Links must stay below this directory or `directory` itself.
        limit: Keep only the first so many images.
        image: How pictures are read, and the largest that is.

    Attributes:
        name: The name of the directory.
        split: The split.
        directory: The dataset's directory, resolved.
        classes: The names of the classes.
        ignore_index: The ignored value of the files, or None.
        files: Number of names found, good and bad, before `limit`.
        bad: What cannot be used, with the reason, in the order of the paths (which are below `directory`).
        notes: What is usable and should be known, in sentences.

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
        image: ImageConfig = USUAL_IMAGES,
    ) -> None:
        self.directory = Path(directory).expanduser().resolve()
        self.name, self.split, self._image = self.directory.name, split, image
        roots = link_roots(self.directory, root)
        self._place = self.directory / split
        for folder in (IMAGES, MASKS):
            if not (self._place / folder).is_dir():
                raise DataError(
                    f"there is no folder {folder}/", where=str(self._place), expected=MASKS_LAYOUT,
                    found="nothing there", fix="put the photographs into images/ and their masks into masks/",
                )  # fmt: skip
        found = find_classes(self.directory, split, roots)
        self.classes, self.ignore_index = found.names, found.ignore_index
        self.notes = found.notes
        self._labels = _label_table(found)
        self._binary = len(found.names) == 2 and found.ignore_index != 255
        bad: list[BadItem] = []
        images = FilesByStem(self._listed(IMAGES, list_files(self._place / IMAGES, roots), bad))
        masks = FilesByStem(self._listed(MASKS, list_files(self._place / MASKS, roots), bad), (MASK_SUFFIX,))
        pairs, self.files = self._paired(images, masks, bad)
        self._pairs = [pair for pair in pairs if self._usable(pair, bad)][:limit]
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
        image = open_image(pair.image, self._image)
        values = read_index_png(pair.mask, self._image)
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

    def _listed(self, folder: str, listing: Listing, bad: list[BadItem]) -> tuple[str, ...]:
        """The files of a folder; what is refused of it to `bad`."""
        bad += [BadItem(self._below(folder, item.path), item.reason) for item in listing.refused]
        return listing.files

    def _paired(self, images: FilesByStem, masks: FilesByStem, bad: list[BadItem]) -> tuple[list[Pair], int]:
        """Every photograph with its mask, in the order of the ids, and how many names there are.

        What stands alone, and what is there twice, goes to `bad`; what should be known to `notes`.
        """
        named = {item.path.rpartition(".")[0] for item in bad}  # what is refused says already why its pair is broken
        found = masks.partners(images.stems)
        alone = set(masks.stems) - {stem_of(mask) for mask in found.values()}
        for folder, files in ((IMAGES, images), (MASKS, masks)):
            for stem in files.stems:
                unused = files.unused(stem, files.all_of(stem)[0])
                bad += [BadItem(self._below(folder, item.path), item.reason) for item in unused]
        for stem in images.stems:
            if stem not in found and self._below(MASKS, stem) not in named:
                reason = f"the image has no mask; expected {MASKS}/{stem}.png{masks.near(stem)}"
                bad.append(BadItem(self._below(IMAGES, images.all_of(stem)[0]), reason))
        for stem in sorted(alone):
            if self._below(IMAGES, stem) not in named:
                expected = f"expected {IMAGES}/{stem}.jpg (or .jpeg, .png, .webp){images.near(stem)}"
                bad.append(BadItem(self._below(MASKS, masks.all_of(stem)[0]), f"the mask has no image; {expected}"))
        self.notes = (*self.notes, *accents_told(found), *collisions_told(images.stems))
        place = self._place
        pairs = [
            Pair(stem, place / IMAGES / images.all_of(stem)[0], place / MASKS / found[stem]) for stem in sorted(found)
        ]
        return pairs, len(images.stems) + len(alone)

    def _usable(self, pair: Pair, bad: list[BadItem]) -> bool:
        """Whether the headers and ends of both files are in order and their sizes equal; else the reason to `bad`."""
        path = pair.image
        try:
            size = verify_image(path, self._image)
            path = pair.mask
            _require_size(pair, size, verify_index_png(path, self._image))
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
