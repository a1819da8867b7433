"""The ReasonSeg layout: `{train,val,test}/NAME.jpg` beside `NAME.json`, or the pairs directly in the directory.

One file holds one target with the texts that ask for it. An image with several targets is several files with the same
picture, so records are grouped by the content of their images, and a group is encoded once. Beside a split there may be
an index (`index.py`). Everything cheap is checked when the source is made (each JSON, each polygon, each image's header
and end); what fails is listed in `bad` and the rest is used. Pixels are read and targets painted only when a group is
asked for.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segtune.core.errors import DataError
from segtune.core.records import Example, Group, Query
from segtune.data.bad_items import BadItem, one_line
from segtune.data.images import MAX_PIXELS, SUFFIXES, content_digest, open_image, verify_image
from segtune.data.sources.annotations import normal_text, read_annotation, read_explanations
from segtune.data.sources.index import Index, read_index
from segtune.data.sources.listing import Listing, list_files, require_below
from segtune.ops.masks import PolygonShape, paint_target

EXPLANATIONS = "explanatory/train.json"
"""Where the explaining answers lie, below the dataset's directory."""


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One annotation file and its image.

    Attributes:
        id: POSIX path below the split, without suffix.
        annotation: The JSON file.
        image: The image file.
        queries: The questions, in the order of the file; all ask for the same target.
        shapes: The polygons of the target, (x, y) in original pixels.
    """

    id: str
    annotation: Path
    image: Path
    queries: tuple[Query, ...]
    shapes: tuple[PolygonShape, ...]

    def target(self, size: tuple[int, int]) -> np.ndarray:
        """Paints the target by the rule of the protocol.

        Args:
            size: `(h, w)` of the image in original pixels.

        Returns:
            uint8 `[h, w]`: 0 background, 1 target, 255 ignore.
        """
        return paint_target(self.shapes, size)


class ReasonSeg:
    """A split in the ReasonSeg layout, as groups of one image with all its queries.

    Groups come in the order of their first record's path; an image's records likewise. Of `NAME.jpg`, `.jpeg`, `.png`
    and `.webp` (in any case) beside `NAME.json` the first of this order is the image.

    Args:
        directory: The dataset's directory.
        split: The sub-directory to read; empty where the files lie directly in `directory`.
        root: Links must stay below this directory; `directory` itself if None.
        first_query_only: Take only the first text of every file (as the papers do for scoring).
        limit: Keep only the first so many groups.
        max_pixels: Refuse larger images (width x height).

    Attributes:
        name: The name of the directory.
        split: The split.
        directory: The dataset's directory, resolved.
        files: Number of annotation files found, good and bad, before `limit`.
        index: What `DIR/SPLIT.json` adds; empty where there is none.
        records: The usable records, in the order of their paths.
        bad: What cannot be used, with the reason, in the order of the paths (which are below `directory`).
        images_without_annotation: POSIX paths below `directory`, sorted.

    Raises:
        DataError: If the split's directory does not exist or leads out of the root.
    """

    def __init__(
        self,
        directory: str | Path,
        split: str = "",
        *,
        root: str | Path | None = None,
        first_query_only: bool = False,
        limit: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.directory = Path(directory).expanduser().resolve()
        self.name, self.split = self.directory.name, split
        self._max_pixels = max_pixels
        self._place = self.directory / split
        root = self.directory if root is None else Path(root).expanduser().resolve()
        if not self._place.is_dir():
            raise DataError(
                "the split does not exist", where=str(self._place), expected="a directory", found="nothing there"
            )
        skip = frozenset() if split else frozenset({EXPLANATIONS.split("/")[0]})
        listing = list_files(self._place, root, skip)
        bad = [BadItem(self._below(item.path), item.reason) for item in listing.refused]
        explanations = self._read_explanations(root, bad)
        self.index = self._read_index(root, listing, bad)
        images = _images_by_stem(listing)
        records = self._read_records(listing, images, explanations, first_query_only, bad)
        self._groups = self._group_by_content(records, bad)[:limit]
        kept = {id(record) for group in self._groups for record in group}
        self.records = tuple(record for record in records if id(record) in kept)
        self.bad = tuple(sorted(bad))
        annotated = {_stem(path) for path in (*filter(_is_json, listing.files), *self.index.images.values())}
        self.files = sum(_is_json(path) for path in listing.files)
        self.images_without_annotation = tuple(
            self._below(path) for stem, path in sorted(images.items()) if stem not in annotated
        )

    def __len__(self) -> int:
        """Number of groups (different images)."""
        return len(self._groups)

    def group(self, index: int, epoch: int = 0) -> Group:
        """Decodes an image and paints its targets.

        Args:
            index: Which group, from 0.
            epoch: Of no effect: files do not change.

        Returns:
            The group. Examples of one annotation file share one target array.

        Raises:
            DataError: If the image turns out to be damaged (or the file changed since the source was made).
        """
        records = self._groups[index]
        image = open_image(records[0].image, self._max_pixels)
        examples = []
        for record in records:
            target = record.target((image.shape[0], image.shape[1]))
            examples += [Example(f"{record.id}#{i}", query, target) for i, query in enumerate(record.queries)]
        return Group(records[0].id, image, tuple(examples))

    def ids(self, index: int) -> Sequence[str]:
        """The example ids of the group at `index`, without reading its image."""
        return [f"{record.id}#{i}" for record in self._groups[index] for i in range(len(record.queries))]

    def queries(self, index: int) -> Sequence[Query]:
        """The queries of the group at `index`, in the order of `ids`, without reading its image."""
        return [query for record in self._groups[index] for query in record.queries]

    def group_records(self, index: int) -> Sequence[Record]:
        """The records of the group at `index`, whose images are byte for byte the same."""
        return self._groups[index]

    def _below(self, path: str) -> str:
        """A path below the split as a path below the dataset's directory."""
        return f"{self.split}/{path}" if self.split else path

    def _read_explanations(self, root: Path, bad: list[BadItem]) -> dict[tuple[str, str], str]:
        """The explaining answers where the dataset has them; an unusable file of them is a bad item."""
        path = self.directory / EXPLANATIONS
        if not path.is_file():
            return {}
        try:
            require_below(path, root)
            return read_explanations(path)
        except DataError as error:
            bad.append(BadItem(EXPLANATIONS, one_line(error)))
            return {}

    def _read_index(self, root: Path, listing: Listing, bad: list[BadItem]) -> Index:
        """The index beside the split, where there is one; what cannot be used of it is a bad item each."""
        path = self.directory / f"{self.split}.json"
        if not self.split or not path.is_file():
            return Index()
        try:
            require_below(path, root)
            index = read_index(path, self.split, listing.files)
        except DataError as error:
            bad.append(BadItem(path.name, one_line(error)))
            return Index()
        bad += [BadItem(path.name, reason) for reason in index.refused]
        return index

    def _read_records(
        self,
        listing: Listing,
        images: dict[str, str],
        explanations: dict[tuple[str, str], str],
        first_query_only: bool,
        bad: list[BadItem],
    ) -> list[Record]:
        """Every annotation that can be read and has an image (which nobody has looked at yet)."""
        records: list[Record] = []
        for path in filter(_is_json, listing.files):
            stem = _stem(path)
            if records and records[-1].id == stem:
                bad.append(BadItem(self._below(path), "another annotation has the same name but for case"))
                continue
            name = self.index.images.get(path) or images.get(stem)
            if name is None:
                expected = f"{Path(stem).name}.jpg (or .jpeg, .png, .webp) beside the annotation"
                bad.append(BadItem(self._below(path), f"the annotation has no image; expected {expected}"))
                continue
            try:
                found = read_annotation(self._place / path, self.index.texts.get(path, ()))
            except DataError as error:
                bad.append(BadItem(self._below(path), one_line(error)))
                continue
            image = self._place / name
            queries = tuple(
                Query.of(text, found.is_sentence, found.kind, self._explanation(path, image, text, explanations))
                for text in (found.texts[:1] if first_query_only else found.texts)
            )
            records.append(Record(stem, self._place / path, image, queries, found.shapes))
        return records

    def _explanation(self, annotation: str, image: Path, text: str, explanations: dict[tuple[str, str], str]) -> str:
        """The explaining answer to a text, from the index or else from `EXPLANATIONS`; empty where there is none."""
        said = normal_text(text)
        return self.index.explanations.get((annotation, said)) or explanations.get((image.name, said), "")

    def _group_by_content(self, records: list[Record], bad: list[BadItem]) -> list[tuple[Record, ...]]:
        """Records with the same picture together, in the order of first appearance; unusable images to `bad`."""
        groups: dict[str, list[Record]] = {}
        lengths = [os.stat(record.image).st_size for record in records]
        repeated = {length for length, count in Counter(lengths).items() if count > 1}
        refused: dict[str, str] = {}
        for record, length in zip(records, lengths, strict=True):
            key = str(record.image)
            try:
                # Only files of equal length can be equal: the others need not be read.
                if length in repeated:
                    key = content_digest(record.image)
                if key not in groups and key not in refused:
                    verify_image(record.image, self._max_pixels)
            except DataError as error:
                refused[key] = one_line(error)
            if key in refused:
                bad.append(BadItem(record.image.relative_to(self.directory).as_posix(), refused[key]))
            else:
                groups.setdefault(key, []).append(record)
        return [tuple(group) for group in groups.values()]


def _is_json(path: str) -> bool:
    return path.lower().endswith(".json")


def _stem(path: str) -> str:
    """The path without its last suffix: the id of a record."""
    return path.rpartition(".")[0]


def _images_by_stem(listing: Listing) -> dict[str, str]:
    """The image of each stem; of several the one whose suffix stands first in `SUFFIXES`."""
    found = [path for path in listing.files if path.lower().endswith(SUFFIXES)]
    found.sort(key=lambda path: SUFFIXES.index("." + path.rpartition(".")[2].lower()), reverse=True)
    return {_stem(path): path for path in found}
