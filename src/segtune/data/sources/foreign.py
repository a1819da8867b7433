"""Files of other annotation tools, known by what lies in them, so that a refusal can say whose they are.

Two questions are answered. `tool_of` says which tool wrote a JSON value; `export_of` says which tool wrote a directory
that is no dataset of ours, from names and the first bytes of files. Neither reads an annotation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from segtune.core.errors import DataError
from segtune.data.sources.json_file import read_json

COCO_ADVICE = "name it SPLIT/_annotations.coco.json beside its images, or annotations/instances_SPLIT.json, as coco:DIR"
_AS_COCO = "export it as COCO with its images and read that as coco:DIR"
_AS_MASKS = (
    "convert the masks to index PNGs with a classes.json, or export COCO with its images and read that as coco:DIR"
)

_LOOKED_AT = 2000
_PEEKED_JSON = 5
_PEEKED_BYTES = 2**22
_HEAD = 4096


def tool_of(value: Any) -> str:
    """Which tool or format a JSON value comes from, in words; empty where it is none that is known.

    The annotation file of this package (`text` and `shapes`) is none of them, and neither is an unmodified LabelMe
    file, which lacks nothing but the question.
    """
    return next((name for name, (is_one, _) in _KNOWN.items() if is_one(value)), "")


def advice_on(tool: str) -> str:
    """What to do with a file of a tool that `tool_of` or `export_of` named."""
    return next((advice for name, (_, advice) in _KNOWN.items() if name == tool), _AS_COCO)


def refuse_foreign(value: Any, path: Path, expected: str) -> None:
    """Refuses a JSON value of another tool by the tool's name.

    Args:
        value: The content of a file.
        path: The file.
        expected: What should lie there.

    Raises:
        DataError: It is one of another tool.
    """
    if tool := tool_of(value):
        raise DataError(
            f"this is {tool}, not the file that is expected here", where=str(path), expected=expected,
            fix=advice_on(tool),
        )  # fmt: skip


def is_labelme(value: Any) -> bool:
    """Whether LabelMe wrote an object with shapes."""
    return isinstance(value, dict) and "shapes" in value and {"version", "imagePath"} <= value.keys()


def _first(value: Any) -> Mapping[str, Any]:
    """The first object of a list; an empty one for anything else."""
    return value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else {}


def _keys(value: Any) -> set[str]:
    return set(value) if isinstance(value, dict) else set()


def _is_panoptic(value: Any) -> bool:
    return _is_coco(value) and "segments_info" in _first(value["annotations"])


def _is_coco(value: Any) -> bool:
    return _keys(value) >= {"images", "annotations"} and isinstance(value["images"], list)


def _is_label_studio(value: Any) -> bool:
    first = _first(value)
    tasks = "data" in first and bool({"annotations", "completions", "predictions"} & first.keys())
    return tasks or {"annotation_id", "lead_time"} <= first.keys()


def _is_via(value: Any) -> bool:
    if any(str(key).startswith("_via_") for key in _keys(value)):
        return True
    entry = next(iter(value.values()), None) if isinstance(value, dict) else None
    return {"filename", "regions"} <= _keys(entry)


def _is_datumaro(value: Any) -> bool:
    return "dm_format_version" in _keys(value) or _keys(value) >= {"categories", "items"}


def _is_labelbox(value: Any) -> bool:
    return bool({"data_row", "Labeled Data", "DataRow ID"} & (_keys(value) | set(_first(value))))


def _is_cvat_backup(value: Any) -> bool:
    return {"shapes", "tracks", "tags"} <= (_keys(value) | set(_first(value)))


def _is_scalabel(value: Any) -> bool:
    frame = _first(value) or _first(value.get("frames") if isinstance(value, dict) else None)
    return "name" in frame and isinstance(frame.get("labels"), list)


_KNOWN: dict[str, tuple[Callable[[Any], bool], str]] = {
    "a file of COCO panoptic segmentation": (_is_panoptic, "export COCO instances and read them as coco:DIR"),
    "a file of COCO annotations": (_is_coco, COCO_ADVICE),
    "a Label Studio export": (_is_label_studio, "export it from Label Studio as COCO with images"),
    "Label Studio's notes.json": (lambda value: _keys(value) == {"categories", "info"}, _AS_COCO),
    "a VGG Image Annotator (VIA) project": (_is_via, _AS_COCO),
    "a Datumaro export": (_is_datumaro, _AS_COCO),
    "a Labelbox export": (_is_labelbox, _AS_COCO),
    "a CVAT backup": (_is_cvat_backup, _AS_COCO),
    "a Supervisely annotation": (lambda value: _keys(value) >= {"objects", "size"}, _AS_COCO),
    "a Cityscapes annotation": (lambda value: _keys(value) >= {"objects", "imgWidth", "imgHeight"}, _AS_COCO),
    "a V7 Darwin annotation": (lambda value: _keys(value) >= {"item", "annotations"}, _AS_COCO),
    "an SA-1B annotation of Segment Anything": (lambda value: _keys(value) >= {"image", "annotations"}, _AS_COCO),
    "a CreateML export": (lambda value: set(_first(value)) >= {"image", "annotations"}, _AS_COCO),
    "a Scalabel or BDD100K export": (_is_scalabel, _AS_COCO),
    "a GeoJSON file": (lambda value: _keys(value) >= {"type", "features"}, _AS_COCO),
}


def no_dataset(directory: Path | None, message: str, fix: str) -> tuple[str, str]:
    """The message and the advice of an error that says that a directory is no dataset.

    Args:
        directory: What was named; None where its layout is known, and it is the files that are wrong.
        message: What is said where no tool is known.
        fix: Likewise.

    Returns:
        The same, or words that name the tool that wrote the directory.
    """
    tool, advice = export_of(directory) if directory is not None and directory.is_dir() else ("", "")
    return (f"this is {tool}, which is not read as it stands", advice) if tool else (message, fix)


def export_of(directory: Path) -> tuple[str, str]:
    """Which tool wrote a directory that is no dataset of ours, and what to do with it.

    Args:
        directory: An existing directory.

    Returns:
        The name of the tool or format in words and an advice; two empty texts where nothing is known.
    """
    files = list(islice(_files(directory), _LOOKED_AT))
    if found := _masks_of(directory, files):
        return found, _AS_MASKS
    if found := _xml_of(files):
        return found, _AS_COCO
    if any("-annotation-" in path.name and "-by-" in path.name and path.suffix == ".png" for path in files):
        return "a Label Studio brush export (one PNG for every label)", _AS_COCO
    if any(path.suffix == ".txt" and "labels" in path.relative_to(directory).parts for path in files):
        return _yolo_of(files), _AS_COCO
    if {path.name for path in files} & {"data.yaml", "dataset.yaml"}:
        return "a YOLO export", _AS_COCO
    for path in [path for path in files if path.suffix.lower() == ".json"][:_PEEKED_JSON]:
        if tool := _tool_of_file(path):
            return f"{tool} ({path.relative_to(directory).as_posix()})", advice_on(tool)
    return "", ""


def _masks_of(directory: Path, files: list[Path]) -> str:
    """The tool of a directory of masks that are no index masks in our layout."""
    names = {path.name for path in files}
    below = {path.relative_to(directory).parts[0] for path in files if path.suffix.lower() == ".png"}
    folders = {part for path in files for part in path.relative_to(directory).parts[:-1]}
    if "SegmentationClass" in folders:
        return "a Pascal VOC export (SegmentationClass)"
    if "label_colors.txt" in names:
        return "a CamVid export (colour masks with label_colors.txt)"
    if "gtFine" in folders:
        return "the Cityscapes layout (gtFine)"
    if "_classes.csv" in names:
        return "a Roboflow export of semantic masks (_classes.csv)"
    if "annotations" in below and "images" in folders and not any(path.suffix == ".json" for path in files):
        return "the ADE20K layout (masks in annotations/)"
    if any(path.stem.lower().endswith(("_mask", "-mask")) for path in files if path.suffix.lower() == ".png"):
        return "a folder of masks beside their pictures (NAME_mask.png)"
    return ""


def _files(directory: Path) -> Iterator[Path]:
    """The files below a directory, nearest first, without hidden ones and links."""
    pending = [directory]
    while pending:
        folder = pending.pop(0)
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.is_symlink():
                continue
            if entry.is_dir():
                pending.append(entry)
            else:
                yield entry


def _head(path: Path, length: int = _HEAD) -> str:
    try:
        with path.open("rb") as file:
            return file.read(length).decode("utf-8", "replace")
    except OSError:
        return ""


def _xml_of(files: list[Path]) -> str:
    """The tool of the first XML file that is known."""
    for path in [path for path in files if path.suffix.lower() == ".xml" and path.is_file()][:_PEEKED_JSON]:
        head = _head(path)
        if "<annotations>" in head:
            return "a CVAT XML export"
        if "<annotation>" in head:
            voc = "<bndbox>" in head or "<segmented>" in head
            return "a Pascal VOC export (boxes in XML)" if voc else "an export of the web LabelMe (XML)"
    return ""


def _yolo_of(files: list[Path]) -> str:
    """YOLO labels: five numbers a line are boxes, more are polygons."""
    for path in files:
        if path.suffix == ".txt" and "labels" in path.parts and path.is_file():
            words = _head(path).split("\n", 1)[0].split()
            if words:
                return (
                    "a YOLO export of boxes, which say no pixels" if len(words) == 5 else "a YOLO segmentation export"
                )
    return "a YOLO export"


def _tool_of_file(path: Path) -> str:
    try:
        if not path.is_file() or path.stat().st_size > _PEEKED_BYTES * 64:
            return ""
        return tool_of(read_json(path)[0])
    except (DataError, OSError):
        return ""
