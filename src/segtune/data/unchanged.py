"""Whether a run that goes on sees the data it began with.

Other data have other windows and another order: the steps would silently not be those of the run that was stopped.
What is compared are the facts of `data.json`: which images there are and, where every pixel has a class, how many each
class has. Nothing is read for it once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from segtune.core import rundir as names
from segtune.core.errors import DataError
from segtune.core.rundir import RunDir

_COUNTS = ("images", "queries")
_LISTED = 3


class Facts(Protocol):
    """Data that say what they hold: `Prepared`, `PreparedDense`."""

    def to_dict(self) -> dict[str, Any]:
        """For `data.json`: `ids_sha256`, `bad`, `images`, and `queries` or `classes` and `counts`."""
        ...


def data_facts(training: Facts, validation: Facts | None) -> dict[str, dict[str, Any] | None]:
    """The content of `data.json`."""
    return {"train": training.to_dict(), "val": validation.to_dict() if validation else None}


def require_unchanged(run: RunDir, training: Facts, validation: Facts | None) -> None:
    """Makes sure that the data are those of which the run has written down the facts.

    Args:
        run: The run that goes on; one without `data.json` is believed.
        training: As it is now.
        validation: As it is now.

    Raises:
        DataError: A dataset has another number of images or queries than before, other ones, or other labels.
    """
    path = run.path / names.DATA
    if not path.is_file():
        return
    before = run.read_json(names.DATA)
    expected, found = [], []
    for part, now in data_facts(training, validation).items():
        then = before.get(part) if isinstance(before, Mapping) else None
        if isinstance(then, Mapping) and now is not None and (changed := _changes(then, now)) is not None:
            expected.append(f"{part}: {changed[0]}")
            found.append(f"{part}: {changed[1]}")
    if found:
        raise DataError(
            "the data are no longer those that this run was trained on", where=str(path),
            expected="; ".join(expected), found="; ".join(found),
            fix="put the data back as they were and resume again, or train on these in a new run: "
            f"`segtune train {run.path} run.name=NAME`",
        )  # fmt: skip


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, str] | None:
    """What was there and what is; None where it is the same. Runs from before the digest have counts alone."""
    digest = then.get("ids_sha256", now["ids_sha256"])
    if all(then.get(key) == now.get(key) for key in _COUNTS):
        return _changed_labels(then, now) if digest == now["ids_sha256"] else (
            _counted(then), f"{_counted(now)}, but not the same ones"
        )  # fmt: skip
    lost = [item for item in now["bad"] if item not in then.get("bad", ())]
    listed = "".join(f"\n    {item}" for item in lost[:_LISTED])
    more = f"\n    ... and {len(lost) - _LISTED} more" if len(lost) > _LISTED else ""
    return _counted(then), f"{_counted(now)}{listed}{more}"


def _changed_labels(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, str] | None:
    """What classes with how many pixels there were and are; None where that is the same or was not written down."""
    before, after = _labels(then), _labels(now)
    if not before or before == after:
        return None
    return f"{_counted(then)} with {before}", f"{_counted(now)} with {after}"


def _labels(facts: Mapping[str, Any]) -> str:
    """The classes in their order with their pixels, in words; nothing where there are no classes."""
    rows = facts.get("counts", {}).get("classes", {})
    return ", ".join(f"{rows[name]['pixels']} pixels of {name}" for name in facts.get("classes", ()))


def _counted(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{facts[key]} {key}" for key in _COUNTS if key in facts)
