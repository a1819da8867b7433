"""Reading and writing of the YAML and JSON that people write by hand, without the surprises of YAML 1.1.

`1e-3` is a number, `on`, `off`, `yes`, `no`, `12:30` and dates stay the text that was written, `010` is text and not
eight, a key that stands twice is an error. Only plain data comes out; no tag builds an object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from segtune.core.errors import ConfigError
from segtune.core.regular import read_regular
from segtune.core.text import require_texts_in

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


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalar types above, which refuses repeated keys."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012  PyYAML reads it from the class

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping as PyYAML makes it, after a look for keys that stand twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes whatever this loader *or* a YAML 1.1 reader would take for something else than text."""

    def ignore_aliases(self, data: Any) -> bool:
        """Writes equal values out each time: people read and edit these files."""
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Text, quoted where it would not survive being read again."""
        # PyYAML folds Unicode line ends into spaces unless they are escaped
        style = '"' if any(mark in data for mark in "\x85\u2028\u2029\ufeff") else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style)


_Dumper.add_representer(str, _Dumper.represent_str)
for _name, _pattern, _first in _PLAIN_TYPES:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), list(_first))


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
    try:
        text = read_regular(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError("not a text file in UTF-8", where=str(path), found=f"byte {error.start} is not") from error
    except OSError as error:
        raise ConfigError("cannot be read", where=str(path), found=error.strerror or str(error)) from error
    data = _parse_json(text, str(path)) if path.suffix.lower() == ".json" else _parse_yaml(text, str(path))
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(
            "not a mapping", where=str(path), expected="lines of the form `name: value`", found=type(data).__name__
        )
    _require_string_keys(data, str(path))
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
    if node.tag == "tag:yaml.org,2002:merge":
        return text
    return loader.construct_document(node)


def dump_mapping(mapping: dict[str, Any]) -> str:
    """Writes plain data as block-style YAML that `load_mapping` reads back as equal data, in the order given."""
    return yaml.dump(mapping, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120)


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
        place = f"{where}, line {mark.line + 1}" if mark else where
        shown = text.splitlines()[mark.line].strip()[:100] if mark and mark.line < len(text.splitlines()) else ""
        raise ConfigError(f"not well-formed YAML: {problem}", where=place, found=shown) from error
    except RecursionError as error:
        raise ConfigError("nested too deeply", where=where) from error
    except ValueError as error:
        raise ConfigError(f"not well-formed YAML: {error}", where=where) from error


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
        return json.loads(text, object_pairs_hook=unique) if text.strip() else None
    except json.JSONDecodeError as error:
        raise ConfigError(f"not well-formed JSON: {error.msg}", where=f"{where}, line {error.lineno}") from error
    except RecursionError as error:
        raise ConfigError("nested too deeply", where=where) from error


def _require_string_keys(value: Any, where: str, key: str = "") -> None:
    children: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list):
        children = ((str(index), child) for index, child in enumerate(value))
    for name, child in children:
        if not isinstance(name, str):
            raise ConfigError(f"a key is not text: {name!r}", where=where, found=f"under {key or 'the top level'}")
        _require_string_keys(child, where, f"{key}.{name}" if key else name)
