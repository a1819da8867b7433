"""Whether a run that goes on sees the data it began with.

Other data have other windows, another order or other answers: the steps would silently not be those of the run that was
stopped. What is compared are the facts of `data.json`: which images there are, how many pixels each class has, and the
digest of everything that is read (see `digests.py`); `data_items.json` tells which item is another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from segtune.core import rundir as names
from segtune.core.errors import DataError
from segtune.core.rundir import RunDir
from segtune.data.digests import Digests

_COUNTS = ("images", "queries")
_LISTED = 3
_NAMED = 8
"""Items that a message names."""


class Facts(Protocol):
    """Data that say what they hold: `Prepared`, `PreparedDense`."""

    @property
    def digests(self) -> Digests:
        """Digests of all items."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """For `data.json`: `sha256`, `ids_sha256`, `bad`, `images`, and `queries` or `classes` and `counts`."""
        ...


def data_facts(training: Facts, validation: Facts | None) -> dict[str, dict[str, Any] | None]:
    """The content of `data.json`."""
    return {"train": training.to_dict(), "val": validation.to_dict() if validation else None}


def digests_of(training: Facts, validation: Facts | None) -> dict[str, str]:
    """The digest of each split, for checkpoints."""
    return {part: data.digests.sha256 for part, data in _parts(training, validation).items()}


def write_facts(run: RunDir, training: Facts, validation: Facts | None) -> None:
    """Writes `data.json` and, with the digests of single items, `data_items.json`."""
    run.write_json(names.DATA, data_facts(training, validation))
    items = {part: data.digests.to_dict() for part, data in _parts(training, validation).items()}
    run.write_json(names.DATA_ITEMS, items)


def require_unchanged(
    run: RunDir, training: Facts, validation: Facts | None, began: Mapping[str, Any] | None = None
) -> str:
    """Makes sure that the data are those that the run has been trained on.

    Args:
        run: The run that goes on.
        training: As it is now.
        validation: As it is now.
        began: The digests that the checkpoint tells, by split; those of `data.json` where it tells none.

    Returns:
        What could not be compared, in words, because the run began with a version that kept no digest; else empty.

    Raises:
        DataError: A dataset has another number of images or queries than before, other ones, or other content; up to
            eight items are named.
        CheckpointError: The files of the run are damaged.
    """
    before = _read(run, names.DATA)
    kept = _read(run, names.DATA_ITEMS)
    found, unknown = [], []
    for part, data in _parts(training, validation).items():
        then, now = before.get(part), data.to_dict()
        then = dict(then) if isinstance(then, Mapping) else {}
        if began and isinstance(began.get(part), str):
            then["sha256"] = began[part]
        if not then.get("sha256"):
            unknown.append(part)
        items = kept.get(part)
        changed = _changes(then, now, items if isinstance(items, Mapping) else {}, data.digests) if then else None
        found += [f"{part}: {changed}"] if changed else []
    if found:
        raise DataError(
            "the data are no longer those that this run was trained on",
            where=str(run.path / names.DATA),
            found="\n    ".join(["", *found]),
            fix="put the data back as they were and resume again, or train on these in a new run: "
            f"`segtune train {run.path} run.name=NAME`",
        )
    return f"{' and '.join(unknown)}: no digest was kept, so contents were not compared" if unknown else ""


def _parts(training: Facts, validation: Facts | None) -> dict[str, Facts]:
    return {"train": training} if validation is None else {"train": training, "val": validation}


def _read(run: RunDir, name: str) -> Mapping[str, Any]:
    """A JSON file of the run; empty where there is none."""
    value = run.read_json(name) if (run.path / name).is_file() else {}
    return value if isinstance(value, Mapping) else {}


def _changes(then: Mapping[str, Any], now: Mapping[str, Any], kept: Mapping[str, Any], digests: Digests) -> str | None:
    """What was there and what is, in words; None where it is the same."""
    which = _changed_items(kept, digests)
    if "images" in then and any(then.get(key) != now.get(key) for key in _COUNTS):
        lost = [item for item in now["bad"] if item not in then.get("bad", ())]
        listed = "".join(f"\n      {item}" for item in lost[:_LISTED])
        more = f"\n      ... and {len(lost) - _LISTED} more" if len(lost) > _LISTED else ""
        return f"{_counted(then)} -> {_counted(now)}{which}{listed}{more}"
    if "ids_sha256" in then and then["ids_sha256"] != now["ids_sha256"]:
        return f"{_counted(now)}, but not the same ones{which}"
    before, after = _labels(then), _labels(now)
    if before and before != after:
        return f"{_counted(now)} with {before} -> {after}{which}"
    if then.get("sha256") and then["sha256"] != digests.sha256:
        return f"{_counted(now)}, with other contents{which}"
    return None


def _changed_items(kept: Mapping[str, Any], digests: Digests) -> str:
    """Which items are new, gone or other ones, and in what; empty where that was not kept."""
    before = kept.get("items")
    if not isinstance(before, Mapping) or not before:
        return ""
    gone, new = [item for item in before if item not in digests.items], []
    changed = []
    for item, short in digests.items.items():
        if item not in before:
            new.append(item)
        elif before[item] != short:
            pairs = zip(digests.parts, short.split(), str(before[item]).split(), strict=False)
            changed.append(f"{item} ({', '.join(part for part, one, other in pairs if one != other)})")
    told = [
        f"{len(items)} {word} ({_named(items)})"
        for word, items in (("gone", gone), ("new", new), (f"of {len(before)} changed", changed))
        if items
    ]
    return f": {'; '.join(told)}" if told else ""


def _named(items: list[str]) -> str:
    return ", ".join(items[:_NAMED]) + (f", and {len(items) - _NAMED} more" if len(items) > _NAMED else "")


def _labels(facts: Mapping[str, Any]) -> str:
    """The classes in their order with their pixels, in words; nothing where there are no classes."""
    rows = facts.get("counts", {}).get("classes", {})
    return ", ".join(f"{rows[name]['pixels']} pixels of {name}" for name in facts.get("classes", ()))


def _counted(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{facts[key]} {key}" for key in _COUNTS if key in facts)
