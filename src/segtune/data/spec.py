"""How a dataset is named on the command line and in recipes: `KIND:DIR@SPLIT`.

`reasonseg:photos@val` is the directory `photos`, read as ReasonSeg, its sub-directory `val`; a bare directory
(`photos@val`, `photos`) is recognised by its layout; `stream:attributes@train` is a stream of freshly drawn scenes and
has no directory. Only names are resolved here: nothing is read but directory listings.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from segtune.core.errors import ConfigError, DataError
from segtune.core.paths import expanded, require_utf8_path
from segtune.data.images import SUFFIXES
from segtune.data.layouts import (
    COCO_LAYOUT,
    KNOWN_SPLITS,
    LAYOUTS,
    MASKS_LAYOUT,
    TEXT_LAYOUT,
    find_splits,
    lies_in,
    recognise,
)
from segtune.data.sources.foreign import no_dataset

DENSE_KINDS = ("masks", "coco")
"""The kinds that give every pixel a class and ask nothing in words."""

KINDS = ("reasonseg", "synth", "stream", *DENSE_KINDS)
"""The kinds of dataset that can be named."""

DENSE_STREAMS = ("shapes", "colours")
"""The streams that give every pixel a class."""

STREAMS = ("attributes", *DENSE_STREAMS)
"""The streams of freshly drawn scenes, `stream:NAME`."""

_GRAMMAR = "KIND:DIR@SPLIT or a directory, with KIND one of " + ", ".join(KINDS)


@dataclass(frozen=True, slots=True)
class DataSpec:
    """One dataset, by name.

    Attributes:
        kind: One of `KINDS`.
        location: The directory (below the root, where one was given), or the name of a stream.
        split: The split; empty where the files lie directly in the directory, or where none was named and no default
            given (then all splits are meant, or the only one).
    """

    kind: str
    location: str
    split: str = ""

    @property
    def directory(self) -> Path | None:
        """The dataset's directory, or None for a stream."""
        return None if self.kind == "stream" else Path(self.location)

    @property
    def name(self) -> str:
        """What scores and their files call the data: the name of the directory, also where it is given as `.`."""
        return self.location if self.directory is None else Path(os.path.abspath(self.directory.expanduser())).name

    @property
    def is_dense(self) -> bool:
        """Whether every pixel has a class and nothing is asked in words."""
        return self.kind in DENSE_KINDS or (self.kind == "stream" and self.location in DENSE_STREAMS)

    def __str__(self) -> str:
        """The canonical text, which `parse` reads back to an equal spec."""
        return f"{self.kind}:{self.location}" + (f"@{self.split}" if self.split else "")

    @classmethod
    def parse(cls, text: str, root: str | Path | None = None, default_split: str | None = None) -> DataSpec:
        """Reads a dataset's name and makes sure that it is there.

        Args:
            text: `KIND:DIR@SPLIT`, `KIND:DIR`, `DIR@SPLIT` or `DIR`. A directory that itself holds a colon or an at
                sign is found if it exists.
            root: The directory that relative directories lie below; the working directory if None.
            default_split: The split where the text names none and the dataset has splits.

        Returns:
            The spec. A `synth` directory need not exist yet (it is drawn when opened); every other one does.

        Raises:
            ConfigError: If the text is empty or incomplete, or its kind or stream is unknown.
            DataError: If the directory or the split is missing, a bare directory's layout is not recognised, or UTF-8
                cannot hold the whole path of the directory or the root.
        """
        if root is not None:
            require_utf8_path(expanded(root), str(root), what="the data root", error=DataError)
        kind, rest = _split_kind(text.strip(), root)
        if kind == "stream":
            return _parse_stream(text, rest, default_split)
        location, split = _split_split(rest, root)
        if not location:
            raise ConfigError("no directory is named", where=repr(text), expected=_GRAMMAR)
        directory = _below(root, location)
        require_utf8_path(directory, text, what="the dataset", error=DataError)
        if kind == "synth" and is_absent(directory):
            return cls(kind, str(directory), split or default_split or KNOWN_SPLITS[0])
        _require_directory(directory, text, root)
        kind = kind or _recognise(directory)
        splits = find_splits(directory, kind)
        if kind in DENSE_KINDS and not splits and not lies_in(directory, kind):
            message, fix = no_dataset(
                directory,
                f"this is no dataset of the kind {kind!r}",
                "bring the files into this layout, or name another kind",
            )
            raise DataError(message, where=text, expected=LAYOUTS[kind], found=describe_directory(directory), fix=fix)
        return cls(kind, str(directory), _choose_split(directory, splits, split, default_split))


def is_absent(directory: str | Path) -> bool:
    """Whether a directory does not exist or is empty, so that a dataset may be drawn into it."""
    path = Path(directory)
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def _split_kind(text: str, root: str | Path | None) -> tuple[str, str]:
    """`(kind, rest)`; an empty kind for a bare directory."""
    if not text:
        raise ConfigError("no dataset is named", expected=_GRAMMAR, found="an empty text")
    match = re.match(r"([A-Za-z][A-Za-z0-9_-]*):", text)
    if match is None:
        return "", text
    kind, rest = match.group(1), text[match.end() :]
    if kind in KINDS:
        return kind, rest
    if _below(root, _split_split(text, root)[0]).is_dir():
        return "", text
    near = get_close_matches(kind.lower(), KINDS, n=1)
    raise ConfigError(
        f"there is no kind of dataset called {kind!r}",
        where=repr(text),
        expected="one of " + ", ".join(KINDS),
        found=kind,
        fix=f"did you mean {near[0]}:{rest}?" if near else "name one of these, or the directory alone",
    )


def _split_split(rest: str, root: str | Path | None) -> tuple[str, str]:
    """`(location, split)` at the last at sign, unless the whole is a directory or the sign stands inside a path."""
    location, sign, split = rest.rpartition("@")
    if not sign or "/" in split or _below(root, rest).is_dir():
        return rest, ""
    if not split:
        raise ConfigError("the split after '@' is missing", where=repr(rest), expected=_GRAMMAR)
    return location, split


def _parse_stream(text: str, rest: str, default_split: str | None) -> DataSpec:
    """The spec of `stream:NAME@SPLIT`."""
    name, _, split = rest.partition("@")
    if name not in STREAMS:
        near = get_close_matches(name, STREAMS, n=1)
        raise ConfigError(
            f"there is no stream called {name!r}",
            where=repr(text),
            expected="one of " + ", ".join(f"stream:{stream}" for stream in STREAMS),
            fix=f"did you mean stream:{near[0]}?" if near else "",
        )
    return DataSpec("stream", name, split or default_split or KNOWN_SPLITS[0])


def _below(root: str | Path | None, location: str) -> Path:
    """The directory that is meant: absolute or home-relative as it stands, else below the root."""
    path = expanded(location)
    return path if root is None or path.is_absolute() else expanded(root) / path


def _require_directory(directory: Path, text: str, root: str | Path | None) -> None:
    """Raises `DataError` with the place that was looked at, unless the directory exists."""
    if directory.is_dir():
        return
    beside = sorted(p.name for p in directory.parent.iterdir() if p.is_dir()) if directory.parent.is_dir() else []
    near = get_close_matches(directory.name, beside, n=1)
    if near:
        fix = f"did you mean {directory.with_name(near[0])}?"
    elif root is not None:
        fix = f"relative directories are looked for below the data root, {Path(root).expanduser().absolute()}"
    else:
        fix = "relative directories are looked for below the working directory"
    raise DataError(
        "the dataset's directory does not exist",
        where=text,
        expected=f"a directory at {directory.absolute()}",
        found="a file" if directory.exists() else "nothing there",
        fix=fix,
    )


def _recognise(directory: Path) -> str:
    """The kind of a bare directory, by what lies in it."""
    if kind := recognise(directory):
        return kind
    message, fix = no_dataset(
        directory,
        "the layout of this directory is not recognised",
        "name the kind of the dataset in front (KIND:DIR), or the directory that holds these files",
    )
    raise DataError(
        message,
        where=str(directory),
        expected=f"{TEXT_LAYOUT}\n  or{MASKS_LAYOUT}\n  or{COCO_LAYOUT}",
        found=describe_directory(directory),
        fix=fix,
    )


def describe_directory(directory: Path) -> str:
    """What lies in a directory, in one line for a message."""
    entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    folders = [entry.name + "/" for entry in entries if entry.is_dir()]
    files = [entry.name for entry in entries if not entry.is_dir()]
    images = sum(name.lower().endswith(SUFFIXES) for name in files)
    shown = ", ".join((folders + files)[:6]) + (", ..." if len(entries) > 6 else "")
    return f"{len(folders)} directories, {len(files)} files ({images} images): {shown}" if entries else "nothing"


def _choose_split(directory: Path, splits: tuple[str, ...], named: str, default: str | None) -> str:
    """The split that is meant, checked against those that exist."""
    wanted = named or (default or "" if splits else "")
    if not wanted or wanted in splits:
        return wanted
    if splits:
        near = get_close_matches(wanted, splits, n=1)
        expected = "one of " + ", ".join(splits)
        fix = f"did you mean @{near[0]}?" if near else f"name one of them: {directory}@{splits[0]}"
    else:
        expected = "no split: the files lie directly in the directory"
        fix = f"leave @{wanted} away, or put the files below {directory / wanted}"
    raise DataError(
        f"the dataset has no split {wanted!r}", where=str(directory), expected=expected, found=wanted, fix=fix
    )
