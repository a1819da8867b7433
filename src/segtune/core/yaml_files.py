"""Reading and writing of the YAML and JSON that people write by hand, without the surprises of YAML 1.1.

`1e-3` is a number, `on`, `off`, `yes`, `no`, `12:30` and dates stay the text that was written, `010` is text and not
eight, a key that stands twice is an error. A number remembers how it was written, so that a name such as `1.10` can be
taken as it stands. Only plain data comes out. What a file may hold is bounded (`_MOST_BYTES`, `_MOST_NODES`,
`_MOST_DEPTH`), so that no file costs more than seconds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn, Self

import yaml

from segtune.core.errors import ConfigError
from segtune.core.regular import open_regular
from segtune.core.text import require_texts_in

_MOST_BYTES = 256 * 1024
_MOST_NODES = 100_000
"""Values of a file, those that an alias repeats counted each time."""

_MOST_DEPTH = 50

_PLAIN_TYPES = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ("~", "n", "N", "")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),
)


_TAG = "tag:yaml.org,2002:"
_TAGS = {yaml.ScalarEvent: f"{_TAG}str", yaml.SequenceStartEvent: f"{_TAG}seq", yaml.MappingStartEvent: f"{_TAG}map"}
"""The one tag that may be written at each kind of value, because it changes nothing but how a scalar is read."""


class _WrittenInt(int):
    """An integer with the text that it was read from."""

    text: str

    def __new__(cls, value: int | str, text: str = "") -> Self:
        number = super().__new__(cls, value)
        number.text = text
        return number


class _WrittenFloat(float):
    """A fraction with the text that it was read from."""

    text: str

    def __new__(cls, value: float | str, text: str = "") -> Self:
        number = super().__new__(cls, value)
        number.text = text
        return number


def written_text(value: Any) -> str | None:
    """How a number was written in the file or on the command line that it was read from; None for anything else."""
    return value.text if isinstance(value, _WrittenInt | _WrittenFloat) else None


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalar types above, which refuses tags, repeated keys and what grows beyond measure."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012  PyYAML reads it from the class

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth, self._count = 0, 0
        self._sizes: dict[str, int] = {}  # nodes below each anchor that is complete

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A node as PyYAML composes it, counted: an alias counts as much as what it repeats."""
        event = self.peek_event()
        self._require_no_tag(event)
        before, self._depth = self._count, self._depth + 1
        if self._depth > _MOST_DEPTH:
            _refuse(f"nested more than {_MOST_DEPTH} deep", event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._sizes:
                _refuse(f"the alias *{event.anchor} stands inside what it repeats", event.start_mark)
            self._count += self._sizes[event.anchor]
        else:
            self._count += 1
            if event.anchor is not None:
                self._sizes[event.anchor] = self._count - before
        if self._count > _MOST_NODES:
            _refuse(f"more than {_MOST_NODES:,} values, those that aliases repeat among them", event.start_mark)
        return node

    def _require_no_tag(self, event: yaml.Event) -> None:
        tag = getattr(event, "tag", None)
        if tag not in (None, "!", _TAGS.get(type(event))):
            shown = tag.replace(_TAG, "!!")
            _refuse(f"a tag ({shown}) is not read; write the value without it", event.start_mark)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping as PyYAML makes it, after a look for keys that stand twice or are no text."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                _refuse("a key is a list or a mapping; a key is one word", key.start_mark)
            if key.tag == f"{_TAG}merge":
                continue
            if key.tag != f"{_TAG}str":
                _refuse(f'a key is not text: {key.value!r}; put it in quotation marks: "{key.value}"', key.start_mark)
            if key.value in seen:
                _refuse(f"the key {key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        """An integer that remembers its text; thousands of digits are refused, which Python does not read."""
        try:
            return _WrittenInt(node.value, node.value)
        except ValueError as error:
            _refuse(str(error), node.start_mark)

    def construct_fraction(self, node: yaml.ScalarNode) -> float:
        """A fraction that remembers its text."""
        return _WrittenFloat(re.sub(r"\.(?=inf|nan)", "", node.value.lower()), node.value)


_Loader.add_constructor(f"{_TAG}int", _Loader.construct_integer)
_Loader.add_constructor(f"{_TAG}float", _Loader.construct_fraction)


def _refuse(problem: str, mark: yaml.Mark) -> NoReturn:
    raise yaml.constructor.ConstructorError(None, None, problem, mark)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes whatever this loader *or* a YAML 1.1 reader would take for something else than text."""

    def ignore_aliases(self, data: Any) -> bool:
        """Writes equal values out each time: people read and edit these files."""
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Text, quoted where it would not survive being read again."""
        # PyYAML folds Unicode line ends into spaces unless they are escaped
        style = '"' if any(mark in data for mark in "\x85\u2028\u2029\ufeff") else None
        return self.represent_scalar(f"{_TAG}str", data, style)

    def represent_number(self, data: _WrittenInt | _WrittenFloat) -> yaml.ScalarNode:
        """A number as it was written."""
        return self.represent_scalar(f"{_TAG}{'int' if isinstance(data, int) else 'float'}", data.text)


_Dumper.add_representer(str, _Dumper.represent_str)
_Dumper.add_representer(_WrittenInt, _Dumper.represent_number)
_Dumper.add_representer(_WrittenFloat, _Dumper.represent_number)
for _name, _pattern, _first in _PLAIN_TYPES:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"{_TAG}{_name}", re.compile(f"^(?:{_pattern})$"), list(_first))


def load_mapping(path: Path | str) -> dict[str, Any]:
    """Reads a YAML or JSON file whose top level maps names to values.

    Args:
        path: A `.json` file is read as JSON, anything else as YAML (of which JSON is nearly a part).

    Returns:
        Plain data: dicts with string keys, lists, strings, numbers, booleans and None. An empty file gives `{}`.

    Raises:
        ConfigError: The file cannot be read, or is not well-formed; the message has the line.
    """
    path = Path(path)
    text = _read(path)
    data = _parse_json(text, str(path)) if path.suffix.lower() == ".json" else _parse_yaml(text, str(path))
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(
            "not a mapping", where=str(path), expected="lines of the form `name: value`", found=type(data).__name__
        )
    require_texts_in(data, str(path), error=ConfigError)
    return data


def parse_value(text: str, where: str) -> Any:
    """Reads one value as it is written on a command line.

    Text that opens a list, a mapping or a quotation is YAML (`[1, 2]`, `{a: 1}`, `"007"`); anything else is a single
    number, boolean, `null` or piece of text, whatever characters it holds (`reasonseg:photos@val`, `-1e-3`).

    Args:
        text: What stands after the equals sign.
        where: The key, for messages.

    Raises:
        ConfigError: A list, mapping or quotation that is not closed or otherwise not well-formed.
    """
    text = text.strip()
    if text[:1] in ("[", "{", '"', "'"):
        return _parse_yaml(text, where)
    loader = _Loader("")
    node = yaml.ScalarNode(loader.resolve(yaml.ScalarNode, text, (True, False)), text)
    if node.tag == f"{_TAG}merge":
        return text
    return loader.construct_document(node)


def dump_mapping(mapping: dict[str, Any]) -> str:
    """Writes plain data as block-style YAML that `load_mapping` reads back as equal data, in the order given."""
    return yaml.dump(mapping, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120)


def _read(path: Path) -> str:
    """The text of a file that people write; raises ConfigError where it is none, before it costs time or memory."""
    try:
        with open_regular(path) as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError("cannot be read", where=str(path), found=error.strerror or str(error)) from error
    if len(content) > _MOST_BYTES:
        raise ConfigError("too long", where=str(path), expected=f"at most {_MOST_BYTES // 1024} KiB of settings")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            "not a text file in UTF-8",
            where=f"{path}, line {line}",
            found=f"byte {error.start} is not",
            fix="save it as UTF-8",
        ) from error


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        raise _not_well_formed(error, text, where) from error
    except RecursionError as error:
        raise ConfigError("nested too deeply", where=where) from error
    except ValueError as error:
        raise ConfigError(f"not well-formed YAML: {error}", where=where) from error


def _not_well_formed(error: yaml.YAMLError, text: str, where: str) -> ConfigError:
    """What PyYAML says, with the line."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
    place = getattr(error, "position", None)  # of a character that YAML does not allow
    line = mark.line if mark else text.count("\n", 0, place) if isinstance(place, int) else None
    lines = text.splitlines()
    shown = "" if line is None or line >= len(lines) else ascii(lines[line].strip()[:100])[1:-1]
    return ConfigError(
        f"not well-formed YAML: {problem}", where=where if line is None else f"{where}, line {line + 1}", found=shown
    )


def _parse_json(text: str, where: str) -> Any:
    def unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        """The mapping of an object's pairs; refuses a key that stands twice."""
        mapping: dict[str, Any] = {}
        for key, value in pairs:
            if key in mapping:
                raise ConfigError(f"the key {key!r} stands twice", where=where)
            mapping[key] = value
        return mapping

    try:
        return json.loads(
            text.strip() or "null",
            object_pairs_hook=unique,
            parse_int=lambda number: _WrittenInt(number, number),
            parse_float=lambda number: _WrittenFloat(number, number),
        )
    except json.JSONDecodeError as error:
        raise ConfigError(f"not well-formed JSON: {error.msg}", where=f"{where}, line {error.lineno}") from error
    except ValueError as error:  # an integer of thousands of digits
        raise ConfigError(f"not well-formed JSON: {error}", where=where) from error
    except RecursionError as error:
        raise ConfigError("nested too deeply", where=where) from error
