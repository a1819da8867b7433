"""The annotation file of ReasonSeg: one JSON with the texts asked about an image and the polygons of the answer.

Keys: `text` (a list of texts, or one), `is_sentence` (true for sentences, false for phrases), `shapes` (`label`,
`points` with x before y in original pixels as displayed, and LabelMe's `shape_type`, see `shapes.py`), LabelMe's
`imageHeight` and `imageWidth`, and, not in the original, `kind`. Other keys are passed over. Everything is validated
here, so that what comes out can be painted without a further look.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from segtune.core.errors import DataError
from segtune.core.text import LOST_CHARACTER, require_name, require_text
from segtune.data.sources.foreign import is_labelme, refuse_foreign
from segtune.data.sources.json_file import read_json, whole_number
from segtune.data.sources.shapes import read_shape, require_one_target, shown
from segtune.ops.masks import PolygonShape

_EXAMPLE = '{"text": ["..."], "is_sentence": true, "shapes": [{"label": "target", "points": [[x, y], ...]}]}'
_LOST = "a text holds U+FFFD, which stands for a character that was lost when the text was converted"
_EXPLANATIONS = '[{"image": "NAME.jpg", "query": "...", "outputs": "..."}, ...]'


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """What one annotation file says, validated.

    Attributes:
        texts: At least one; none is empty.
        is_sentence: True for sentences ("long"), False for phrases ("short"), for all texts of the file; None where the
            file leaves it open, and each text decides for itself (`core.text.reads_as_sentence`).
        shapes: The polygons, (x, y) in original pixels; may be empty (there is no such thing in the image).
        kind: What kind of thought the texts need, where the file says so; else empty.
        height, width: Of the picture that the shapes were drawn on, where the file says so; else None.
        notes: What is read in a way that its author may not have meant, in words for any number of files.
    """

    texts: tuple[str, ...]
    is_sentence: bool | None
    shapes: tuple[PolygonShape, ...]
    kind: str = ""
    height: int | None = None
    width: int | None = None
    notes: tuple[str, ...] = ()


def read_annotation(path: Path, more_texts: Sequence[str] = ()) -> Annotation:
    """Reads and validates one annotation file.

    Args:
        path: The JSON file.
        more_texts: What an index asks about it beside its own texts, of which it then needs none; repeated ones (white
            space and case aside) count once.

    Returns:
        The annotation.

    Raises:
        DataError: If the file cannot be read or any part of it is not as expected.
    """
    content, note = read_json(path, _EXAMPLE)
    refuse_foreign(content, path, _EXAMPLE)
    if not isinstance(content, dict):
        raise DataError(
            "the annotation is not a JSON object", where=str(path), expected=_EXAMPLE, found=type(content).__name__
        )
    own = () if more_texts and "text" not in content else _texts(content, path)
    said = {normal_text(text) for text in own}
    texts = (*own, *{normal_text(text): text for text in more_texts if normal_text(text) not in said}.values())
    shapes = _shapes(content, path)
    label = require_one_target(shapes, str(path))
    notes = (
        note,
        f"the label {label!r} counts as the target" if label else "",
        _flag_note(shapes),
        _LOST if any(LOST_CHARACTER in text for text in texts) else "",
        _path_note(content, path),
    )
    height, width = (_side(content, key, path) for key in ("imageHeight", "imageWidth"))
    return Annotation(
        texts,
        _is_sentence(content, path),
        shapes,
        _kind(content, path),
        height,
        width,
        tuple(filter(None, notes)),
    )


def read_explanations(path: Path, told: list[str] | None = None) -> dict[tuple[str, str], str]:
    """Reads `explanatory/train.json`: a list of `{"image": NAME, "query": text, "outputs": explanation}`.

    Args:
        path: The JSON file.
        told: What is to be said of the file (its encoding, queries with two explanations) is added.

    Returns:
        Explanations by image file name and normalised query (see `normal_text`).

    Raises:
        DataError: If the file cannot be read or is not such a list.
    """
    entries, note = read_json(path, _EXPLANATIONS)
    if note and told is not None:
        told.append(note)
    keys = ("image", "query", "outputs")
    good = isinstance(entries, list) and all(
        isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in keys) for entry in entries
    )
    if not good:
        raise DataError(
            "the file of explanations is not as expected",
            where=str(path),
            expected=_EXPLANATIONS,
            found=type(entries).__name__ if not isinstance(entries, list) else "an entry without these texts",
            fix="correct the file, or remove it (it is not needed)",
        )
    found: dict[tuple[str, str], str] = {}
    for number, entry in enumerate(entries):
        for name in keys:
            require_text(entry[name], f"{path}, entry {number}", what=repr(name))
        key = (entry["image"], normal_text(entry["query"]))
        if found.get(key, entry["outputs"]) != entry["outputs"] and told is not None:
            told.append(f"a query of {entry['image']} has two explanations, of which the last is used")
        found[key] = entry["outputs"]
    return found


def normal_text(text: str) -> str:
    """A text with its white space made single and its case folded, for comparing queries."""
    return " ".join(text.split()).casefold()


def _texts(content: dict[str, Any], path: Path) -> tuple[str, ...]:
    texts = content.get("text")
    if isinstance(texts, str):
        texts = [texts]
    if isinstance(texts, list) and texts and all(isinstance(text, str) and text.strip() for text in texts):
        return tuple(require_text(text, str(path), what="'text'") for text in texts)
    message = "the annotation has no 'text'" if "text" not in content else "'text' is not as expected"
    raise DataError(
        f"{message}: LabelMe wrote the file, and nothing is asked in it yet" if is_labelme(content) else message,
        where=str(path),
        expected="a list of texts, none of them empty",
        found=shown(content, "text"),
        fix='add "text": ["what is asked about the image"]',
    )


def _is_sentence(content: dict[str, Any], path: Path) -> bool | None:
    value = content.get("is_sentence")
    if isinstance(value, bool) or "is_sentence" not in content:
        return value
    raise DataError(
        "'is_sentence' is not as expected",
        where=str(path),
        expected="true (sentences) or false (phrases)",
        found=shown(content, "is_sentence"),
        fix="write true or false without quotes, or leave the key out",
    )


def _shapes(content: dict[str, Any], path: Path) -> tuple[PolygonShape, ...]:
    shapes = content.get("shapes")
    if not isinstance(shapes, list):
        raise DataError(
            "the annotation has no 'shapes'" if "shapes" not in content else "'shapes' is not as expected",
            where=str(path),
            expected='a list of {"label": "target", "points": [[x, y], ...]}; an empty list where nothing is wanted',
            found=shown(content, "shapes"),
            fix='add the polygons, or "shapes": [] if the image holds no such thing',
        )
    return tuple(read_shape(shape, f"{path}, shape {index}") for index, shape in enumerate(shapes))


def _flag_note(shapes: tuple[PolygonShape, ...]) -> str:
    """What is said of flags that somebody outlined; those of ReasonSeg have two points."""
    if not any(shape.is_flag and len(shape.points) > 2 for shape in shapes):
        return ""
    empty = " and the target is empty" if all(shape.is_flag for shape in shapes) else ""
    return f"a shape labelled 'flag' encloses an area but only marks a file: it is not painted{empty}"


def _path_note(content: dict[str, Any], path: Path) -> str:
    """What is said of LabelMe's `imagePath` where it is not the picture beside the file; renamed pairs have others."""
    named = content.get("imagePath")
    if not isinstance(named, str) or not named.strip():
        return ""
    stem = PurePath(named.strip().replace("\\", "/")).stem
    same = unicodedata.normalize("NFC", stem).casefold() == unicodedata.normalize("NFC", path.stem).casefold()
    return "" if same else "imagePath names another picture than the one that is used, which has the name of the file"


def _side(content: dict[str, Any], key: str, path: Path) -> int | None:
    """The height or width that a file names for its picture; None where it names none."""
    value = content.get(key)
    side = whole_number(value)
    if value is not None and (side is None or side < 1):
        raise DataError(
            f"{key!r} is not as expected", where=str(path), expected="the side of the picture in pixels, or null",
            found=shown(content, key), fix="correct it, or leave the key out",
        )  # fmt: skip
    return side


def _kind(content: dict[str, Any], path: Path) -> str:
    kind = content.get("kind", "")
    if isinstance(kind, str):
        return require_name(kind, str(path), what="'kind'")
    raise DataError("'kind' is not a text", where=str(path), expected="a word", found=shown(content, "kind"))
