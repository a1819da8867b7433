"""The last words of a training run: its scores before and after, beside what needs no model."""

from __future__ import annotations

from typing import Any

from segtune.core.rundir import RunDir

BEFORE = "before"
"""The folder of a run that holds the scores of the model it started from."""


def closing_lines(run: RunDir) -> list[str]:
    """Scores of a run as lines of text, empty where nothing was scored.

    Args:
        run: The run directory.

    Returns:
        A table of gIoU (overall and by kind of query) in each mode before and after, emission rate, and baselines.
    """
    after = _documents(run.path)
    if not after:
        return []
    before = _documents(run.path / BEFORE)
    parts = [name for name, row in after[0]["by"].items() if row["queries"]]
    header = "".join(f"{name.removeprefix('kind:'):>12}" for name in ("gIoU", "cIoU", *parts))
    lines = [f"{'':<20}{header}"]
    for title, documents in (("before", before), ("after", after)):
        for document in documents:
            values = [document["metrics"]["gIoU"], document["metrics"]["cIoU"]]
            values += [document["by"][part]["gIoU"] for part in parts]
            numbers = "".join(f"{_number(value):>12}" for value in values)
            lines.append(f"{title + ', ' + document['mode']:<20}{numbers}")
    for document in after:
        if document["mode"] == "generate":
            rate = document["metrics"]["emission_rate"]
            lines.append(f"<SEG> said by itself on {rate:.1%} of {document['counts']['queries']} queries")
    baselines = "  ".join(f"{name} {_number(row['gIoU'])}" for name, row in after[0]["baselines"].items())
    return [*lines, f"without a model (gIoU): {baselines}"]


def _documents(folder: Any) -> list[dict[str, Any]]:
    return [RunDir(folder).read_json(path.name) for path in sorted(folder.glob("eval_*.json"))]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
