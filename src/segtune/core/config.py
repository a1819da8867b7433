"""The mechanism of configuration: strict pydantic classes, overrides from the command line, and messages for people.

A config class stands beside the class that it builds and derives from `Config`; nothing here knows any of them. All
problems of a mapping are told at once, each by its dotted key, and an unknown key comes with the nearest known one.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from segtune.core.errors import ConfigError
from segtune.core.text import require_texts_in
from segtune.core.yaml_files import dump_mapping, load_mapping, parse_value, written_text

__all__ = ["ABSENT", "MOST_WIDE", "Config", "diff", "dump_yaml", "load_mapping", "merge", "merge_overrides", "validate"]

ABSENT = "(absent)"
"""Stands in `diff` for a key that one side does not have."""


class Config(BaseModel):
    """Base of every config class: frozen, unknown keys refused, defaults checked, no NaN or infinity.

    A number is never read from a boolean. A name that looks like a number (`run.name=1.10`) is taken as it was written.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        allow_inf_nan=False,
        coerce_numbers_to_str=True,
        protected_namespaces=(),
    )

    @field_validator("*", mode="before")
    @classmethod
    def _as_it_was_written(cls, value: Any, info: ValidationInfo) -> Any:
        if info.field_name is None:
            return value
        annotation = cls.model_fields[info.field_name].annotation
        wanted = set(_alternatives(annotation))
        if isinstance(value, bool) and bool not in wanted:
            if wanted & {int, float}:
                raise ValueError("a number is wanted, not true or false")
            if str in wanted:
                word = f'"{str(value).lower()}"'
                raise ValueError(f"a text is wanted; write {word} in a file and '{word}' on a command line")
        value = _where_text_is_wanted(annotation, value)
        if str not in wanted:
            _require_bounded(value)
        return value


ConfigT = TypeVar("ConfigT", bound=Config)

MOST_WIDE = 2**16
"""The most channels, ranks and pixels of a side that a model may be asked for: beyond, memory ends before a message."""

_MOST_INT = 2**63 - 1

_NEAR_ELSEWHERE = 0.84
"""How alike (difflib's ratio) a key of another section must be: `epoch` and `epochs`, but not `device` and `dice`."""


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lays one mapping over another: nested mappings are merged, anything else (lists too) is replaced.

    Args:
        base: What is there; not changed.
        over: What wins; not changed.
    """
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        result[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result


def merge_overrides(mapping: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Applies settings from a command line, the later ones over the earlier.

    Args:
        mapping: What is there; not changed.
        overrides: Of the form `section.key=value`; values as in YAML (`1e-3`, `true`, `null`, `[1, 2]`, text). A
            value that is a mapping replaces what stood there. An entry of a list is named by its position from 0, as in
            `train.stages.1.lr_factor=0.3`.

    Raises:
        ConfigError: An override without `=`, an empty key, a malformed value, a key below something that is not a
            section, or a position that a list does not have.
    """
    result = merge({}, mapping)
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        parts = key.split(".")
        if not equals or not all(parts):
            raise ConfigError(f"not a setting: {override!r}", expected="section.key=value, as in optim.lr=1e-4")
        result = _replaced(result, parts, parse_value(text, key), override)
    return result


def validate(cls: type[ConfigT], mapping: Mapping[str, Any], where: str) -> ConfigT:
    """Builds a config from plain data.

    Args:
        cls: The class to build.
        mapping: Plain data, as `load_mapping` gives.
        where: The file or recipe, for the message.

    Raises:
        ConfigError: One error that lists every problem by its dotted key.
    """
    require_texts_in(mapping, where, error=ConfigError)
    try:
        return cls.model_validate(mapping)
    except ValidationError as error:
        problems = [_describe(cls, mapping, dict(entry)) for entry in error.errors(include_url=False)]
        problems = list(dict.fromkeys(problems))
        count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
        text = "\n".join([f"{count} in the configuration", *(f"  {problem}" for problem in problems)])
        raise ConfigError(text, where=where) from error


def dump_yaml(config: Config) -> str:
    """The config as YAML, every default written out; `load_mapping` and `validate` give an equal config back."""
    return dump_mapping(config.model_dump(mode="json"))


def diff(a: Config | Mapping[str, Any], b: Config | Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """What differs between two configs.

    Returns:
        `(dotted key, value in a, value in b)` in the order of `a`, then keys only in `b`; `ABSENT` where a side has
        no such key. A list is one value; a mapping is told by its keys, and an empty one by itself only where the other
        side has none of them either.
    """
    left, right = dict(_flatten(_plain(a))), dict(_flatten(_plain(b)))
    for one, other in ((left, right), (right, left)):
        for key in [key for key, value in one.items() if value == {} and any(k.startswith(f"{key}.") for k in other)]:
            del one[key]  # the keys of the other side tell this difference already
    keys = [*left, *(key for key in right if key not in left)]
    rows = [(key, left.get(key, ABSENT), right.get(key, ABSENT)) for key in keys]
    return [row for row in rows if row[1] != row[2] or isinstance(row[1], bool) != isinstance(row[2], bool)]


def nearest(word: str, known: Iterable[str], count: int = 3, cutoff: float = 0.6) -> list[str]:
    """The known words most like `word`, best first; none when nothing reaches the ratio `cutoff` of difflib."""
    by_lower = {name.lower(): name for name in known}
    return [by_lower[name] for name in difflib.get_close_matches(word.lower(), by_lower, n=count, cutoff=cutoff)]


def known_keys(cls: type[BaseModel]) -> list[str]:
    """Every dotted key that a config class takes, sections included, in the order of definition."""
    return list(_walk(cls, "", ()))


def _replaced(node: Any, keys: Sequence[str], value: Any, override: str, above: str = "") -> Any:
    """Plain data with the value at `keys` replaced; `node` is not changed. `above` names it, for the message."""
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    path = f"{above}.{key}" if above else key
    if isinstance(node, list | tuple):
        if not key.isdecimal() or int(key) >= len(node):
            raise ConfigError(
                f"{above} is a list of {len(node)} and has no entry {key}", where=override,
                expected=f"a position from 0 to {len(node) - 1}" if node else f"the whole list, {above}=[...]",
            )  # fmt: skip
        entries = list(node)
        entries[int(key)] = _replaced(entries[int(key)], rest, value, override, path)
        return entries
    if node is not None and not isinstance(node, Mapping):
        raise ConfigError(f"{above} is a value and has no keys below it", where=override)
    section = dict(node or {})
    section[key] = _replaced(section.get(key), rest, value, override, path)
    return section


def _plain(config: Config | Mapping[str, Any]) -> Mapping[str, Any]:
    return config.model_dump(mode="json") if isinstance(config, BaseModel) else config


def _flatten(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The members of a union (through Annotated), or the annotation itself."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _alternatives(typing.get_args(annotation)[0])
    elif origin in (typing.Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from _alternatives(member)
    else:
        yield annotation


def _where_text_is_wanted(annotation: Any, value: Any) -> Any:
    """The value with the text of each number that stands where only a text may, in lists and mappings too."""
    for wanted in (alternatives := list(_alternatives(annotation))):
        origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
        if isinstance(value, list | tuple) and origin in (list, tuple) and inner:
            return [_where_text_is_wanted(inner[0], child) for child in value]
        if isinstance(value, Mapping) and origin is dict:
            return {key: _where_text_is_wanted(inner[1], child) for key, child in value.items()}
    text = written_text(value)
    return value if text is None or str not in alternatives or {int, float} & {*alternatives} else text


def _require_bounded(value: Any) -> None:
    """Refuses a whole number that neither torch nor NumPy can hold, here where its key is known."""
    if isinstance(value, list | tuple):
        for child in value:
            _require_bounded(child)
    elif isinstance(value, int) and abs(value) > _MOST_INT:
        raise ValueError(f"a whole number of at most 64 bits is wanted, up to {_MOST_INT}")


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """Config classes anywhere inside an annotation: unions, lists, mappings."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for member in typing.get_args(annotation):
        yield from _sections(member)


def _walk(cls: type[BaseModel], prefix: str, above: tuple[type[BaseModel], ...]) -> Iterator[str]:
    if cls in above:
        return
    for name, field in cls.model_fields.items():
        yield f"{prefix}{name}"
        for section in _sections(field.annotation):
            yield from _walk(section, f"{prefix}{name}.", (*above, cls))


def _describe(cls: type[BaseModel], mapping: Mapping[str, Any], entry: dict[str, Any]) -> str:
    key = _dotted(entry["loc"], mapping, missing=entry["type"] == "missing")
    if entry["type"] == "extra_forbidden":
        return f"{key}: no such key; {_hint(key, known_keys(cls))}"
    if entry["type"] == "missing":
        return f"{key}: is missing"
    if entry["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return f"{key}: is a section, set the keys below it as in {key}.KEY=VALUE (found {entry['input']!r:.80})"
    message = entry["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = message[:1].lower() + message[1:]
    found = entry.get("input")
    shown = "" if isinstance(found, Mapping | BaseModel) else f" (found {found!r:.80})"
    return f"{key}: {message}{shown}" if key else f"{message}{shown}"


def _dotted(location: Sequence[str | int], mapping: Any, *, missing: bool) -> str:
    """The key as the user wrote it: pydantic's location without the union members that it mixes in."""
    parts: list[str] = []
    value = mapping
    for index, part in enumerate(location):
        try:
            value = value[part]
        except (LookupError, TypeError):
            if not (missing and index == len(location) - 1):
                continue
        parts.append(str(part))
    return ".".join(parts)


def _hint(key: str, known: Sequence[str]) -> str:
    """What `key` may have meant: the same word elsewhere, a near word beside it, a near word elsewhere."""
    # positions in lists are part of the user's key and of no known key
    parent, _, word = ".".join(part for part in key.split(".") if not part.isdigit()).rpartition(".")
    last = {name: name.rpartition(".")[2] for name in known}
    beside = {last[name]: name for name in known if name.rpartition(".")[0] == parent}
    meant = [name for name in known if last[name] == word]
    meant = meant or [beside[name] for name in nearest(word, beside, 1)]
    if not meant:
        words = nearest(word, last.values(), 1, cutoff=_NEAR_ELSEWHERE)
        meant = [name for name in known if last[name] in words]
    return f"did you mean {' or '.join(meant[:3])}?" if meant else f"known there: {', '.join(beside)}"
