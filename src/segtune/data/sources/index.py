"""The index beside a split: `DIR/train.json`, a list of images, of what is asked about them, and of polygon files.

The first users' datasets have one. Whatever it says is in addition to what lies in the split: a text that the image's
own annotation lacks becomes one more query for the same target, an explanation goes to its query, and an annotation of
another name than its image is joined with it. Every entry stands alone; one that cannot be used costs only itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from segtune.core.errors import DataError
from segtune.core.names import composed
from segtune.core.text import require_text
from segtune.core.visible import visible
from segtune.data.images import SUFFIXES
from segtune.data.sources.annotations import normal_text
from segtune.data.sources.foreign import refuse_foreign
from segtune.data.sources.json_file import read_json
from segtune.data.sources.pairing import FilesByStem, stem_of

_EXAMPLE = '[{"image": "NAME.jpg", "text": ["..."], "annotation": "NAME.json", "outputs": "..."}, ...]'


@dataclass(slots=True)
class Index:
    """What an index adds to a split. All paths are POSIX paths below the split.

    Attributes:
        entries: Number of entries, good and bad.
        refused: Why entries cannot be used, each with its number, in their order.
        images: The image of each annotation that is named.
        texts: The texts for each annotation that is named, in the order of the entries.
        explanations: Explaining answers by annotation and normalised text.
        note: What is said of the file's encoding; empty for UTF-8.
    """

    entries: int = 0
    refused: list[str] = field(default_factory=list)
    images: dict[str, str] = field(default_factory=dict)
    texts: dict[str, list[str]] = field(default_factory=dict)
    explanations: dict[tuple[str, str], str] = field(default_factory=dict)
    note: str = ""

    @property
    def used(self) -> int:
        """Number of entries that can be used."""
        return self.entries - len(self.refused)


def read_index(path: Path, split: str, files: Iterable[str]) -> Index:
    """Reads the index of a split.

    An entry is an object with `image` (a file of the split, with the name of the split before it or not), `text` or
    `query` (a text, or a list of texts), and where wanted `annotation` (the file of the polygons; the one beside the
    image if absent) and `outputs` (an explaining answer to its texts). Other keys are passed over.

    Args:
        path: The file.
        split: Name of the split.
        files: The files of the split, as paths below it; nothing else can be named.

    Returns:
        The index.

    Raises:
        DataError: The file cannot be read or is no list; single bad entries raise nothing.
    """
    entries, note = read_json(path, _EXAMPLE)
    refuse_foreign(entries, path, _EXAMPLE)
    if not isinstance(entries, list):
        raise DataError(
            "the index of the split is not a list", where=str(path), expected=_EXAMPLE, found=type(entries).__name__,
            fix="correct the file, or give it another name if it is something else (it is not needed)",
        )  # fmt: skip
    names = _Names(split, files)
    index = Index(len(entries), note=note)
    for number, entry in enumerate(entries):
        try:
            _take(entry, names, index)
        except DataError as error:
            said = f" ({entry['image']})" if isinstance(entry, dict) and isinstance(entry.get("image"), str) else ""
            found = f"; found {error.found}" if error.found else ""
            index.refused.append(visible(f"entry {number}{said}: {error.message}{found}; expected {error.expected}"))
    return index


class _Names:
    """Finds the files of a split by what an index calls them."""

    def __init__(self, split: str, files: Iterable[str]) -> None:
        self._split, self._files = split, sorted(files)
        self._images, self._annotations = FilesByStem(self._files), FilesByStem(self._files, (".json",))
        self._there = frozenset(self._files)
        self._below: dict[str, list[str]] = {}
        for file in self._files:
            names = {file.rpartition("/")[2], composed(file.rpartition("/")[2]), composed(file)}
            for name in names:
                self._below.setdefault(name, []).append(file)

    def find(self, name: str) -> str:
        """The file that is meant; a bare name may lie in a sub-directory where it is the only one.

        Raises:
            DataError: There is none, or there are several.
        """
        plain = str(PurePosixPath(name))
        for path in (plain, plain.removeprefix(f"{self._split}/")):
            if path in self._there:
                return path
        found: list[str] = []
        for path in (plain, composed(plain), composed(plain).removeprefix(f"{self._split}/")):
            found = found or self._below.get(path, [])
        if len(found) == 1:
            return found[0]
        raise DataError(
            f"there are several files called {plain}" if found else "there is no such file in the split",
            expected=f"a path below {self._split}/", found=", ".join(found[:3]) or name,
        )  # fmt: skip

    def annotation_of(self, image: str) -> str:
        """The annotation beside an image.

        Raises:
            DataError: There is none.
        """
        stem = stem_of(image)
        if path := self._annotations.find(stem):
            return path
        raise DataError("the image has no annotation", expected=f"{stem}.json, or the key 'annotation'")

    def image_beside(self, annotation: str) -> str | None:
        """An image with the name of an annotation, if there is one."""
        return self._images.find(stem_of(annotation))


def _take(entry: Any, names: _Names, index: Index) -> None:
    """Adds one entry, or raises `DataError` and leaves the index as it is."""
    if not isinstance(entry, dict):
        raise DataError("no object", expected=_EXAMPLE[1:-6], found=type(entry).__name__)
    image = names.find(_text(entry, "image"))
    if not image.lower().endswith(SUFFIXES):
        raise DataError("'image' is no image", expected="one of " + ", ".join(SUFFIXES), found=image)
    annotation = names.find(_text(entry, "annotation")) if "annotation" in entry else names.annotation_of(image)
    if not annotation.lower().endswith(".json"):
        raise DataError("'annotation' is no polygon file", expected="a .json file of the split", found=annotation)
    texts = _texts(entry)
    outputs = _text(entry, "outputs") if "outputs" in entry else ""
    own = index.images.get(annotation) or names.image_beside(annotation) or image
    if stem_of(own) != stem_of(image):
        raise DataError(f"{annotation} belongs to another image", expected=own, found=image)
    index.images.setdefault(annotation, image)
    index.texts.setdefault(annotation, []).extend(texts)
    if outputs:
        index.explanations |= {(annotation, normal_text(text)): outputs for text in texts}


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    if isinstance(value, str) and value.strip():
        return require_text(value, "", what=repr(key))
    raise DataError(f"no '{key}'" if key not in entry else f"'{key}' is no text", expected="words", found=_shown(value))


def _texts(entry: dict[str, Any]) -> list[str]:
    keys = [key for key in ("text", "query") if key in entry]
    if len(keys) != 1:
        raise DataError("it does not say what is asked", expected="one of 'text' and 'query'", found=f"{keys}")
    value = entry[keys[0]]
    texts = [value] if isinstance(value, str) else value
    if isinstance(texts, list) and texts and all(isinstance(text, str) and text.strip() for text in texts):
        return [require_text(text, "", what=repr(keys[0])) for text in texts]
    raise DataError(f"'{keys[0]}' is not as expected", expected="texts, none of them empty", found=_shown(value))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
