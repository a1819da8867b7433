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
from pathlib import Path

from segtune.core.errors import DataError
from segtune.core.records import Example, Group, Query
from segtune.data.bad_items import BadItem, one_line
from segtune.data.config import USUAL_IMAGES, ImageConfig
from segtune.data.images import content_digest, open_image, verify_image
from segtune.data.notes import Notes
from segtune.data.sources.agreement import conflicting, percent_note, require_pixels, require_size
from segtune.data.sources.annotations import normal_text, read_annotation, read_explanations
from segtune.data.sources.foreign import refuse_foreign
from segtune.data.sources.index import Index, read_index
from segtune.data.sources.json_file import read_json
from segtune.data.sources.listing import Roots, link_roots, list_files, require_below
from segtune.data.sources.pairing import FilesByStem, accents_told, collisions_told, stem_of
from segtune.data.sources.record import Record

EXPLANATIONS = "explanatory/train.json"
"""Where the explaining answers lie, below the dataset's directory."""


class ReasonSeg:
    """A split in the ReasonSeg layout, as groups of one image with all its queries.

    Groups come in the order of their first record's path; an image's records likewise. Which file is the image of
    `NAME.json` is the rule of `pairing.py`.

    Args:
        directory: The dataset's directory.
        split: The sub-directory to read; empty where the files lie directly in `directory`.
        root: Links must stay below this directory or `directory` itself.
        first_query_only: Take only the first text of every file (as the papers do for scoring).
        limit: Keep only the first so many groups.
        image: How pictures are read, and the largest that is.

    Attributes:
        name: The name of the directory.
        split: The split.
        directory: The dataset's directory, resolved.
        files: Number of annotation files found, good and bad, before `limit`.
        index: What `DIR/SPLIT.json` adds; empty where there is none.
        records: The usable records, in the order of their paths.
        bad: What cannot be used, with the reason, in the order of the paths (which are below `directory`).
        notes: What is used in a way that its author may not have meant, a sentence each.
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
        image: ImageConfig = USUAL_IMAGES,
    ) -> None:
        self.directory = Path(directory).expanduser().resolve()
        self.name, self.split = self.directory.name, split
        self._image = image
        self._place = self.directory / split
        roots = link_roots(self.directory, root)
        if not self._place.is_dir():
            raise DataError(
                "the split does not exist", where=str(self._place), expected="a directory", found="nothing there"
            )
        skip = frozenset() if split else frozenset({EXPLANATIONS.split("/")[0]})
        listing = list_files(self._place, roots, skip)
        bad = [BadItem(self._below(item.path), item.reason) for item in listing.refused]
        self._notes = Notes()
        explanations = self._read_explanations(roots, bad)
        self.index = self._read_index(roots, listing.files, bad)
        pictures, annotations = FilesByStem(listing.files), FilesByStem(listing.files, (".json",))
        found = self._pictures_of(annotations, pictures, bad)
        records = self._read_records(annotations, found, explanations, first_query_only, bad)
        self._groups = self._group_by_content(records, bad)[:limit]
        kept = {id(record) for group in self._groups for record in group}
        self.records = tuple(record for record in records if id(record) in kept)
        self.bad = tuple(sorted(bad))
        self.files = sum(len(annotations.all_of(stem)) for stem in annotations.stems)
        annotated = {stem_of(path) for path in (*found.values(), *self.index.images.values())} | set(annotations.stems)
        self.images_without_annotation = tuple(
            self._below(path) for stem in pictures.stems if stem not in annotated for path in pictures.all_of(stem)
        )
        self.notes = (*self._notes.lines(), *accents_told(found), *collisions_told(annotations.stems))

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
        image = open_image(records[0].image, self._image)
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

    def image_path(self, index: int) -> Path:
        """The file of the image at `index`."""
        return self._groups[index][0].image

    def _below(self, path: str) -> str:
        """A path below the split as a path below the dataset's directory."""
        return f"{self.split}/{path}" if self.split else path

    def _read_explanations(self, roots: Roots, bad: list[BadItem]) -> dict[tuple[str, str], str]:
        """The explaining answers where the dataset has them; an unusable file of them is a bad item."""
        path = self.directory / EXPLANATIONS
        if not os.path.lexists(path):
            return {}
        try:
            require_below(path, roots)
            told: list[str] = []
            explanations = read_explanations(path, told)
            for note in told:
                self._notes.add(note, EXPLANATIONS)
            return explanations
        except DataError as error:
            bad.append(BadItem(EXPLANATIONS, one_line(error)))
            return {}

    def _read_index(self, roots: Roots, files: Sequence[str], bad: list[BadItem]) -> Index:
        """The index beside the split, where there is one; what cannot be used of it is a bad item each."""
        path = self.directory / f"{self.split}.json"
        if not self.split or not os.path.lexists(path):
            return Index()
        try:
            require_below(path, roots)
            index = read_index(path, self.split, files)
        except DataError as error:
            bad.append(BadItem(path.name, one_line(error)))
            return Index()
        bad += [BadItem(path.name, reason) for reason in index.refused]
        if index.note:
            self._notes.add(index.note, path.name)
        return index

    def _pictures_of(self, annotations: FilesByStem, pictures: FilesByStem, bad: list[BadItem]) -> dict[str, str]:
        """The picture of each annotation by its stem; what is there twice or has none to `bad`."""
        found, unused = pictures.partners(annotations.stems), set[BadItem]()
        for stem in annotations.stems:
            path, *again = annotations.all_of(stem)
            bad += [BadItem(self._below(one), "another annotation has the same name but for case") for one in again]
            if named := self.index.images.get(path):
                found[stem] = named
            elif stem not in found:
                expected = f"{Path(stem).name}.jpg (or .jpeg, .png, .webp) beside the annotation"
                missing = f"the annotation has no image; expected {expected}{pictures.near(stem)}"
                reason = self._foreign(path) or missing
                bad.append(BadItem(self._below(path), reason))
                continue
            unused.update(pictures.unused(stem_of(found[stem]), found[stem]))
        bad += [BadItem(self._below(item.path), item.reason) for item in unused]
        return found

    def _read_records(
        self,
        annotations: FilesByStem,
        images: dict[str, str],
        explanations: dict[tuple[str, str], str],
        first_query_only: bool,
        bad: list[BadItem],
    ) -> list[Record]:
        """Every annotation that can be read and has an image (which nobody has looked at yet)."""
        records: list[Record] = []
        for stem in annotations.stems:
            path = annotations.all_of(stem)[0]
            if stem not in images:
                continue
            try:
                found = read_annotation(self._place / path, self.index.texts.get(path, ()))
            except DataError as error:
                bad.append(BadItem(self._below(path), one_line(error)))
                continue
            image = self._place / images[stem]
            queries = tuple(
                Query.of(text, found.is_sentence, found.kind, self._explanation(path, image, text, explanations))
                for text in (found.texts[:1] if first_query_only else found.texts)
            )
            for note in found.notes:
                self._notes.add(note, self._below(path))
            stated = (found.height, found.width)
            records.append(Record(stem, self._place / path, image, queries, found.shapes, stated))
        return records

    def _explanation(self, annotation: str, image: Path, text: str, explanations: dict[tuple[str, str], str]) -> str:
        """The explaining answer to a text, from the index or else from `EXPLANATIONS`; empty where there is none."""
        said = normal_text(text)
        return self.index.explanations.get((annotation, said)) or explanations.get((image.name, said), "")

    def _foreign(self, path: str) -> str:
        """Why an annotation without an image is none, where another tool wrote it; empty where nothing is known."""
        try:
            refuse_foreign(read_json(self._place / path)[0], self._place / path, "NAME.json beside NAME.jpg")
        except DataError as error:
            return one_line(error)
        return ""

    def _group_by_content(self, records: list[Record], bad: list[BadItem]) -> list[tuple[Record, ...]]:
        """Records with the same picture together, in the order of first appearance; unusable ones to `bad`."""
        groups: dict[str, list[Record]] = {}
        lengths = [os.stat(record.image).st_size for record in records]
        repeated = {length for length, count in Counter(lengths).items() if count > 1}
        sizes: dict[str, tuple[int, int]] = {}
        refused: dict[str, str] = {}
        for record, length in zip(records, lengths, strict=True):
            key = str(record.image)
            try:
                # Only files of equal length can be equal: the others need not be read.
                if length in repeated:
                    key = content_digest(record.image)
                if key not in sizes and key not in refused:
                    sizes[key] = verify_image(record.image, self._image)
            except DataError as error:
                refused[key] = one_line(error)
            if key in refused:
                bad.append(BadItem(record.image.relative_to(self.directory).as_posix(), refused[key]))
            elif self._agrees(record, sizes[key], bad):
                groups.setdefault(key, []).append(record)
        self._compare(groups, sizes)
        return [tuple(group) for group in groups.values()]

    def _agrees(self, record: Record, size: tuple[int, int], bad: list[BadItem]) -> bool:
        """Whether an annotation fits its picture of size (h, w); else the reason to `bad`."""
        where = str(record.annotation)
        try:
            require_size(record.stated, size, where, "imageWidth and imageHeight")
            require_pixels(record.outlines, size, where)
        except DataError as error:
            bad.append(BadItem(record.annotation.relative_to(self.directory).as_posix(), one_line(error)))
            return False
        return True

    def _compare(self, groups: dict[str, list[Record]], sizes: dict[str, tuple[int, int]]) -> None:
        """Notes on what only all annotations of a picture, or of the split, can show."""
        drawn = ((record.outlines, sizes[key]) for key, group in groups.items() for record in group)
        if note := percent_note(drawn):
            self._notes.add(note, self.split or self.name)
        for key, group in groups.items():
            answers = [(normal_text(q.text), record) for record in group for q in record.queries]
            if not any(True for _ in conflicting((text, record.id, record.answer) for text, record in answers)):
                continue
            painted = {record.id: record.target(sizes[key]).tobytes() for record in group}
            for question, ids in conflicting((text, record.id, painted[record.id]) for text, record in answers):
                places = [record.annotation for record in group if record.id in ids][:3]
                named = " and ".join(place.relative_to(self.directory).as_posix() for place in places)
                said = f'{named} ask "{question[:60]}"'
                self._notes.add("one question about one picture has different targets", said)
