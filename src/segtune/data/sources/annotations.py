"""The annotation file of ReasonSeg: one JSON with the texts asked about an image and the polygons of the answer.

Keys: `text` (a list of texts, or one), `is_sentence` (true for sentences, false for phrases), `shapes` (polygons with
`label` and `points`, x before y, in original pixels as displayed) and, not in the original, `kind`. Other keys are
passed over. Everything is validated here, so that what comes out can be painted without a further look.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segtune.core.errors import DataError
from segtune.core.text import require_name, require_text
from segtune.ops.masks import PolygonShape, validate_polygon

_EXAMPLE = '{"text": ["..."], "is_sentence": true, "shapes": [{"label": "target", "points": [[x, y], ...]}]}'


def read_json(path: Path) -> Any:
    """Reads a JSON file as UTF-8 (a byte order mark is allowed), or as cp1252 where it is not UTF-8.

    Args:
        path: The file.

    Returns:
        The parsed value.

    Raises:
        DataError: If the file cannot be read, or is not JSON in either encoding.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError("the file cannot be read", where=str(path), found=error.strerror or str(error)) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        # cp1252 leaves five bytes undefined; those become a replacement sign rather than cost the whole file.
        text = raw.decode("cp1252", errors="replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        found = str(error) if raw.strip() else "an empty file"
        raise DataError(
            "the file is not valid JSON", where=str(path), expected=_EXAMPLE, found=found, fix="write it again"
        ) from error


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """What one annotation file says, validated.

    Attributes:
        texts: At least one; none is empty.
        is_sentence: True for sentences ("long"), False for phrases ("short"), for all texts of the file; None where the
            file leaves it open, and each text decides for itself (`core.text.reads_as_sentence`).
        shapes: The polygons, (x, y) in original pixels; may be empty (there is no such thing in the image).
        kind: What kind of thought the texts need, where the file says so; else empty.
    """

    texts: tuple[str, ...]
    is_sentence: bool | None
    shapes: tuple[PolygonShape, ...]
    kind: str = ""


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
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(
            "the annotation is not a JSON object", where=str(path), expected=_EXAMPLE, found=type(content).__name__
        )
    own = () if more_texts and "text" not in content else _texts(content, path)
    said = {normal_text(text) for text in own}
    texts = (*own, *{normal_text(text): text for text in more_texts if normal_text(text) not in said}.values())
    return Annotation(texts, _is_sentence(content, path), _shapes(content, path), _kind(content, path))


def read_explanations(path: Path) -> dict[tuple[str, str], str]:
    """Reads `explanatory/train.json`: a list of `{"image": NAME, "query": text, "outputs": explanation}`.

    Args:
        path: The JSON file.

    Returns:
        Explanations by image file name and normalised query (see `normal_text`).

    Raises:
        DataError: If the file cannot be read or is not such a list.
    """
    entries = read_json(path)
    keys = ("image", "query", "outputs")
    good = isinstance(entries, list) and all(
        isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in keys) for entry in entries
    )
    if not good:
        raise DataError(
            "the file of explanations is not as expected",
            where=str(path),
            expected='[{"image": "NAME.jpg", "query": "...", "outputs": "..."}, ...]',
            found=type(entries).__name__ if not isinstance(entries, list) else "an entry without these texts",
            fix="correct the file, or remove it (it is not needed)",
        )
    for number, entry in enumerate(entries):
        for key in keys:
            require_text(entry[key], f"{path}, entry {number}", what=repr(key))
    return {(entry["image"], normal_text(entry["query"])): entry["outputs"] for entry in entries}


def normal_text(text: str) -> str:
    """A text with its white space made single and its case folded, for comparing queries."""
    return " ".join(text.split()).casefold()


def _texts(content: dict[str, Any], path: Path) -> tuple[str, ...]:
    texts = content.get("text")
    if isinstance(texts, str):
        texts = [texts]
    if isinstance(texts, list) and texts and all(isinstance(text, str) and text.strip() for text in texts):
        return tuple(require_text(text, str(path), what="'text'") for text in texts)
    raise DataError(
        "the annotation has no 'text'" if "text" not in content else "'text' is not as expected",
        where=str(path),
        expected="a list of texts, none of them empty",
        found=_shown(content, "text"),
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
        found=_shown(content, "is_sentence"),
        fix="write true or false without quotes, or leave the key out",
    )


def _shapes(content: dict[str, Any], path: Path) -> tuple[PolygonShape, ...]:
    shapes = content.get("shapes")
    if not isinstance(shapes, list):
        raise DataError(
            "the annotation has no 'shapes'" if "shapes" not in content else "'shapes' is not as expected",
            where=str(path),
            expected='a list of {"label": "target", "points": [[x, y], ...]}; an empty list where nothing is wanted',
            found=_shown(content, "shapes"),
            fix='add the polygons, or "shapes": [] if the image holds no such thing',
        )
    return tuple(_shape(shape, f"{path}, shape {index}") for index, shape in enumerate(shapes))


def _shape(shape: Any, where: str) -> PolygonShape:
    label = shape.get("label") if isinstance(shape, dict) else None
    if not isinstance(shape, dict) or not isinstance(label, str) or not label.strip():
        raise DataError(
            "a shape has no label",
            where=where,
            expected='{"label": "target" | "ignore" | "flag", "points": [[x, y], ...]}',
            found=_shown(shape, "label") if isinstance(shape, dict) else type(shape).__name__,
            fix="give the shape a label, or remove it",
        )
    require_name(label, where, what="the label of a shape")
    return PolygonShape(label, validate_polygon(shape.get("points"), where, label=label))


def _kind(content: dict[str, Any], path: Path) -> str:
    kind = content.get("kind", "")
    if isinstance(kind, str):
        return require_name(kind, str(path), what="'kind'")
    raise DataError("'kind' is not a text", where=str(path), expected="a word", found=_shown(content, "kind"))


def _shown(content: dict[str, Any], key: str) -> str:
    """A value for the `found` line of a message, or the keys that there are instead."""
    if key in content:
        value = json.dumps(content[key], ensure_ascii=False)
        return value if len(value) <= 80 else value[:77] + "..."
    return "only the keys " + ", ".join(list(content)[:8]) if content else "an empty object"
