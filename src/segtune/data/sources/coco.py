"""COCO instances as a class for every pixel, without pycocotools.

`annotations/instances_SPLIT.json` lies beside the folder `SPLIT/` of the images, or `_annotations.coco.json` in it, as
labelling tools export it. Class 0 is the background; the categories follow in the order of their ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segtune.core.errors import DataError
from segtune.core.names import is_utf8, shown
from segtune.core.records import IGNORE, LabelledImage
from segtune.data.bad_items import BadItem, one_line
from segtune.data.config import USUAL_IMAGES, ImageConfig
from segtune.data.images import open_image, verify_image
from segtune.data.layouts import COCO_LAYOUT, EXPORTED, coco_file
from segtune.data.notes import Notes
from segtune.data.sources.agreement import percent_note, require_pixels, require_size
from segtune.data.sources.coco_file import Instance, Picture, read_coco
from segtune.data.sources.coco_pictures import PictureFinder, spelled
from segtune.data.sources.listing import Roots, link_roots, require_below
from segtune.data.sources.pairing import accents_told
from segtune.ops.masks import rle_decode
from segtune.ops.polygons import fill_polygons


@dataclass(frozen=True, slots=True)
class _Image:
    """An image that can be used."""

    id: str
    path: Path
    picture: Picture


class CocoInstances:
    """A split of COCO instances, in the order of the file.

    Instances are painted by `paint_instances`. An image without annotations is all background. What the file names and
    the disk lacks, and an image with an annotation that cannot be read, is bad.

    Args:
        directory: The dataset's directory.
        split: The split; empty where `_annotations.coco.json` lies directly in `directory`.
        root: Links must stay below this directory or `directory` itself.
        limit: Keep only the first so many images.
        image: How pictures are read, and the largest that is.

    Attributes:
        name: The name of the directory.
        split: The split.
        directory: The dataset's directory, resolved.
        classes: `background`, then the categories.
        files: Number of images in the file, good and bad, before `limit`.
        bad: What cannot be used, with the reason; paths are below `directory`.
        notes: What is used in a way that its author may not have meant, a sentence each.

    Raises:
        DataError: If the file of annotations is missing, unreadable, leads out of the root or is no such file.
    """

    kind = "coco"

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
        path = coco_file(self.directory, split)
        self._notes = Notes()
        if path is None:
            raise DataError(
                "there is no file of COCO annotations", where=str(self.directory), expected=COCO_LAYOUT,
                found=f"none for the split {split!r}" if split else "none",
            )  # fmt: skip
        require_below(path, roots)
        other = self.directory / split / EXPORTED
        if path != other and other.is_file():
            name = other.relative_to(self.directory).as_posix()
            self._notes.add(f"this file is passed over, as {path.relative_to(self.directory)} is used", name)
        content = read_coco(path)
        self.classes, self.files = content.classes, len(content.pictures)
        name = path.relative_to(self.directory).as_posix()
        bad = [BadItem(name, reason) for reason in content.refused]
        self._images = self._usable(content.pictures, roots, bad)[:limit]
        self.bad = tuple(sorted(bad))
        self.notes = (*content.notes, *self._notes.lines(), *self._accents)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._images)

    def item(self, index: int, epoch: int = 0) -> LabelledImage:
        """Decodes an image and paints its instances.

        Args:
            index: Which image, from 0.
            epoch: Of no effect: files do not change.

        Raises:
            DataError: If the image is damaged, or a run-length mask is corrupt or has another size.
        """
        found = self._images[index]
        image = open_image(found.path, self._image)
        try:
            labels = paint_instances(found.picture.instances, (image.shape[0], image.shape[1]))
        except DataError as error:
            said = f"{error.found} ({error.where.rpartition(', ')[2]})"
            raise DataError(
                error.message, where=str(found.path), expected=error.expected, found=said, fix=error.fix
            ) from error
        return LabelledImage(found.id, image, labels)

    def item_id(self, index: int) -> str:
        """The id of the image at `index`, without reading it: its path in the file, without suffix."""
        return self._images[index].id

    def image_path(self, index: int) -> Path:
        """The file of the image at `index`."""
        return self._images[index].path

    def _usable(self, pictures: tuple[Picture, ...], roots: Roots, bad: list[BadItem]) -> list[_Image]:
        """The images whose file and annotations are in order; the others to `bad`."""
        images: list[_Image] = []
        seen: set[str] = set()
        otherwise: dict[str, str] = {}
        finder = PictureFinder(self.directory, self.split, roots, [picture.file_name for picture in pictures])
        for picture in pictures:
            name = spelled(picture.file_name)
            stem = name.rpartition(".")[0] or name
            reason = picture.refused or ("" if is_utf8(name) else "the file name is not UTF-8; rename it")
            if not reason:
                path = finder.path(picture.file_name)
                reason = finder.missing(picture.file_name) or self._refusal(path, picture, roots)
            if not reason and stem in seen:
                reason = "another image has the same name but for its suffix"
            place = shown(f"{finder.place}/{name}".lstrip("/"))
            if reason:
                bad.append(BadItem(place, reason))
                continue
            if "\\" in picture.file_name and "\\" not in path.name:
                self._notes.add('"file_name" has backslashes, which are read as slashes', place)
            if path.name != name.rpartition("/")[2] and "\\" not in path.name:
                otherwise[stem] = path.name
            seen.add(stem)
            images.append(_Image(stem, path, picture))
        self._accents = accents_told(otherwise)
        if note := percent_note((_polygons(image.picture), image.picture.size) for image in images):
            self._notes.add(note, self.split or self.name)
        return images

    def _refusal(self, path: Path, picture: Picture, roots: Roots) -> str:
        """Why an image file cannot be used; empty where it can."""
        try:
            require_below(path, roots)
            size = verify_image(path, self._image)
            require_size(picture.size, size, str(path), "the file of annotations")
            require_pixels(_polygons(picture), size, str(path))
        except DataError as error:
            return one_line(error)
        return ""


def _polygons(picture: Picture) -> list[np.ndarray]:
    """All polygons of a picture, float64 `[n, 2]` each; run lengths are pixels and need no look."""
    return [points for instance in picture.instances for points in instance.polygons]


def paint_instances(instances: list[Instance], size: tuple[int, int]) -> np.ndarray:
    """Paints instances into one array of labels.

    Crowds come first, so that a labelled instance in them wins; then the others by falling number of pixels, so that
    small things stay visible; of equal ones the later is painted first. The parts of an instance are joined.

    Args:
        instances: Of one image, in the order of the file.
        size: (h, w) in original pixels.

    Returns:
        uint8 `[h, w]`: 0 where there is nothing, class indices, and `IGNORE` for crowds.

    Raises:
        DataError: A run-length mask is corrupt or has another size.
    """
    masks = [_mask(instance, size) for instance in instances]
    areas = [int(np.count_nonzero(mask)) for mask in masks]
    labels = np.zeros(size, np.uint8)
    order = sorted(range(len(masks)), key=lambda i: (instances[i].label == IGNORE, areas[i], i), reverse=True)
    for index in order:
        labels[masks[index]] = instances[index].label
    return labels


def _mask(instance: Instance, size: tuple[int, int]) -> np.ndarray:
    """The mask of an instance, bool `[h, w]`."""
    if instance.rle is not None:
        return rle_decode(instance.rle, size=size, where=instance.where)
    return fill_polygons(instance.polygons, size)
