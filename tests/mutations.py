"""Seeded mutations of files, and the verdict on what a reader made of each.

A `Layout` is a kind of input: it writes a small good one, reads it as the program does, and has an *oracle*, the
simplest reading of the same bytes. Every mutation damages one file. What may happen then:

- `refused`: the file, or one that belongs to it, is named with a reason, and all else is read as before;
- `told`: a note that was not there before names the file;
- `same`: everything is read as before (the mutated value does not matter, or says the same);
- `honest`: the reading is that of the oracle: the file now says something else, and that is what was read.

A mutation that is `wrong` by nature (a damaged mask) may not be honest, and one of which somebody must be `warned` (a
stated size that is not that of the picture) may not be the same either.

Anything else is a silent misreading, and any exception but the errors of this package is a crash.
"""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segtune.core.errors import SegtuneError

OUTCOMES = ("refused", "told", "same", "honest")
Key = tuple[str | int, ...]


@dataclass(frozen=True)
class Reading:
    """What was read: comparable items by name, what was refused (name and reason), and what was told."""

    items: Mapping[str, Any]
    refused: Mapping[str, str] = field(default_factory=dict)
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mutation:
    """One way to change the bytes of a file; see the module for `wrong` and `warned` (which is wrong as well).

    A refusal has to have `key` in its words.
    """

    name: str
    apply: Callable[[bytes], bytes]
    wrong: bool = False
    warned: bool = False
    key: str = ""


@dataclass(frozen=True)
class Layout:
    """A kind of input.

    Attributes:
        name: For messages.
        write: Writes a good one into an empty directory.
        read: Reads it as the program does; errors of the package may escape.
        oracle: The simplest reading of the same bytes; may raise anything where there is none.
        mutations: Of every file that is mutated (its path below the directory), in a fixed order.
        partners: Names of which a refusal has one, or a part of it: the file's own, or of files that belong to it.
        items: Names of the items that the file says something about; all others must be read as before.
        kind: What kind of file one is, for the table.
        around: Entered with its directory while it is read.
    """

    name: str
    write: Callable[[Path], None]
    read: Callable[[Path], Reading]
    oracle: Callable[[Path], Mapping[str, Any]]
    mutations: Callable[[random.Random, Mapping[str, bytes]], Iterator[tuple[str, Mutation]]]
    partners: Callable[[str], tuple[str, ...]] = lambda file: (file,)
    items: Callable[[str], tuple[str, ...]] = lambda file: (Path(file).stem,)
    kind: Callable[[str], str] = lambda file: "annotation"
    around: Callable[[Path], AbstractContextManager[Any]] = nullcontext


def run(layout: Layout, directory: Path, seed: int = 0) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Applies every mutation of a layout, one at a time.

    Returns:
        How often each outcome came, by kind of file and outcome ("failure" where it is none), and a line for every
        failure.
    """
    directory.mkdir()
    layout.write(directory)
    outcomes: Counter[tuple[str, str]] = Counter()
    failures = []
    with layout.around(directory):
        before = layout.read(directory)
        assert not before.refused, before.refused
        for file, mutation in mutations_of(layout, directory, seed):
            path = directory / file
            original = path.read_bytes()
            path.write_bytes(mutation.apply(original))
            try:
                outcome = verdict(layout, directory, file, mutation, before)
            finally:
                path.write_bytes(original)
            outcomes[layout.kind(file), outcome if outcome in OUTCOMES else "failure"] += 1
            if outcome not in OUTCOMES:
                failures.append(f"{layout.name}: {file}: {mutation.name}: {outcome}")
    return outcomes, failures


def by_outcome(outcomes: Counter[tuple[str, str]]) -> Counter[str]:
    """How often each outcome came, of all kinds of files together."""
    found: Counter[str] = Counter()
    for (_, outcome), count in outcomes.items():
        found[outcome] += count
    return found


def mutations_of(layout: Layout, directory: Path, seed: int = 0) -> list[tuple[str, Mutation]]:
    """The mutations of a layout that has been written into a directory."""
    files = {path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*.*")
             if path.is_file()}  # fmt: skip
    return list(layout.mutations(random.Random(seed), files))


def verdict(layout: Layout, directory: Path, file: str, mutation: Mutation, before: Reading) -> str:
    """The outcome of a mutation that has been applied: one of `OUTCOMES`, or what is wrong."""
    names = layout.partners(file)
    try:
        now = layout.read(directory)
    except SegtuneError as error:
        if mutation.key not in str(error):
            return f"refused without the key: {error}"
        return "refused" if any(name in str(error) for name in names) else f"refused without the file: {error}"
    except Exception as error:
        return f"crash: {type(error).__name__}: {error}"
    others = before.items.keys() - set(layout.items(file))
    if lost := {name for name in others if now.items.get(name) != before.items[name]}:
        return f"others changed: {sorted(lost)}"
    if now.refused:
        wrong = [refused for refused in now.refused if not any(name in refused for name in names)]
        return f"refused without the file: {wrong}" if wrong else "refused"
    if any(name in said for said in set(now.told) - set(before.told) for name in names):
        return "told"
    if now.items == before.items:
        return "read as before without a word" if mutation.warned else "same"
    if mutation.wrong or mutation.warned:
        return f"read in silence: {_difference(before.items, now.items)}"
    try:
        expected = layout.oracle(directory)
    except Exception as error:
        return f"read though it says nothing ({type(error).__name__}: {error}): {_difference(before.items, now.items)}"
    return "honest" if now.items == expected else f"misread: {_difference(expected, now.items)}"


def _difference(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    names = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
    return ", ".join(f"{name}: {str(expected.get(name))[:90]} -> {str(found.get(name))[:90]}" for name in sorted(names))


def byte_mutations(rng: random.Random, length: int, flips: int, cuts: int) -> Iterator[Mutation]:
    """Flipped bits, cuts, lost and repeated bytes at seeded places."""
    for _ in range(flips):
        place, bit = rng.randrange(length), rng.randrange(8)
        yield Mutation(f"bit {bit} of byte {place} flipped", lambda raw, p=place, b=bit: flipped(raw, p, b))
    for _ in range(cuts):
        place = rng.randrange(length)
        yield Mutation(f"cut after {place} bytes", lambda raw, p=place: raw[:p])
        yield Mutation(f"byte {place} lost", lambda raw, p=place: raw[:p] + raw[p + 1 :])
        yield Mutation(f"zeros from {place}", lambda raw, p=place: raw[:p] + bytes(len(raw) - p))
    yield Mutation("empty", lambda raw: b"")
    yield Mutation("twice", lambda raw: raw + raw)


def flipped(raw: bytes, place: int, bit: int) -> bytes:
    """The bytes with one bit of one of them flipped."""
    return raw[:place] + bytes([raw[place] ^ (1 << bit)]) + raw[place + 1 :]


FOREIGN = "左边的蓝色积木"
"""A word beyond ASCII, the only one of its file, which `encoding_mutations` replace by one of each encoding."""

_ENCODINGS = (
    ("utf-16", FOREIGN), ("utf-32", FOREIGN), ("utf-16-le", FOREIGN), ("gbk", FOREIGN), ("big5", "藍色"),
    ("shift_jis", "右の青い箱"), ("cp949", "파란 상자"), ("cp1251", "синяя коробка"), ("cp1253", "μπλε κουτί"),
    ("cp1254", "kırmızı şişe"), ("cp1250", "červený"), ("cp1252", "the man’s café"),
)  # fmt: skip


def encoding_mutations() -> Iterator[Mutation]:
    """A JSON file with `FOREIGN` in it, in other encodings."""
    yield Mutation("with a byte order mark", lambda raw: b"\xef\xbb\xbf" + raw)
    for encoding, word in _ENCODINGS:
        yield Mutation(
            f"in {encoding}", lambda raw, e=encoding, w=word: raw.decode().replace(FOREIGN, w).encode(e), warned=True
        )


_ODD: tuple[tuple[str, str], ...] = (
    ("null", "null"), ("true", "true"), ("a text", '"odd"'), ("an empty text", '""'), ("a list", "[1]"),
    ("an object", '{"a": 1}'), ("NaN", "NaN"), ("Infinity", "Infinity"), ("beyond any bound", "1e400"),
    ("of 500 digits", "9" * 500), ("nested", "[" * 5000 + "]" * 5000), ("negative", "-7"), ("a fraction", "0.37"),
)  # fmt: skip


def json_mutations(rng: random.Random, raw: bytes, count: int) -> Iterator[Mutation]:
    """Values of another type, lost, renamed and repeated keys, swapped values and numbers moved, at seeded places."""
    places = sorted(_places(json.loads(raw)), key=str)
    for _ in range(count):
        place, (name, odd) = rng.choice(places), rng.choice(_ODD)
        yield Mutation(f"{_shown(place)} is {name}", lambda r, p=place, o=odd: _with_text(r, p, o))
        place = rng.choice(places)
        yield Mutation(f"{_shown(place)} is gone", lambda r, p=place: _dumped(_without(json.loads(r), p)))
        place = rng.choice([place for place in places if isinstance(place[-1], str)])
        yield Mutation(f"{_shown(place)} stands twice", lambda r, p=place: _twice(r, p), warned=True)
        yield Mutation(f"{_shown(place)} is renamed", lambda r, p=place: _dumped(_renamed(json.loads(r), p)))
        first, second = rng.choice(places), rng.choice(places)
        if first[: len(second)] != second and second[: len(first)] != first:
            name = f"{_shown(first)} and {_shown(second)} swapped"
            yield Mutation(name, lambda r, a=first, b=second: _dumped(_swapped(json.loads(r), a, b)))
        number = rng.choice([place for place in places if type(_get(json.loads(raw), place)) in (int, float)])
        by = rng.choice((1, -1, 2.5, 1e7))
        yield Mutation(f"{_shown(number)} moved by {by}", lambda r, p=number, n=by: _moved(r, p, n))
        yield Mutation(f"{_shown(number)} as a text", lambda r, p=number: _moved(r, p, None))


def edited(name: str, change: Callable[[Any], Any], *, warned: bool = False) -> Mutation:
    """A mutation of a JSON value: `change` alters it in place or returns another."""

    def apply(raw: bytes) -> bytes:
        value = json.loads(raw)
        return _dumped(change(value) or value)

    return Mutation(name, apply, warned=warned)


def _places(value: Any, place: Key = ()) -> Iterator[Key]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*place, key)
        yield from _places(child, (*place, key))


def _get(value: Any, place: Key) -> Any:
    for key in place:
        value = value[key]
    return value


def _set(value: Any, place: Key, new: Any) -> Any:
    _get(value, place[:-1])[place[-1]] = new
    return value


def _without(value: Any, place: Key) -> Any:
    del _get(value, place[:-1])[place[-1]]
    return value


def _renamed(value: Any, place: Key) -> Any:
    holder = _get(value, place[:-1])
    holder[f"{place[-1]}x"] = holder.pop(place[-1])
    return value


def _swapped(value: Any, first: Key, second: Key) -> Any:
    one, two = copy.deepcopy(_get(value, first)), copy.deepcopy(_get(value, second))
    return _set(_set(value, first, two), second, one)


def _moved(raw: bytes, place: Key, by: float | None) -> bytes:
    value = json.loads(raw)
    old = _get(value, place)
    return _dumped(_set(value, place, str(old) if by is None else old + by))


_MARK = "here stands another value"


def _with_text(raw: bytes, place: Key, text: str) -> bytes:
    """A value replaced by literal JSON, which need not be a value that Python can hold."""
    return _dumped(_set(json.loads(raw), place, _MARK)).replace(json.dumps(_MARK).encode(), text.encode())


def _twice(raw: bytes, place: Key) -> bytes:
    """The same key once more, with another value."""
    value = json.loads(raw)
    holder = _get(value, place[:-1])
    holder[_MARK] = 7
    return _dumped(value).replace(json.dumps(_MARK).encode(), json.dumps(place[-1]).encode())


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _shown(place: Key) -> str:
    return ".".join(map(str, place)) or "the whole"
