"""What a run is, how its best epoch went and what it cost: columns of names and values that stand side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from segtune.reports.documents import data_name, is_number
from segtune.reports.facts import RunFacts
from segtune.reports.tables import Cell

_SPEED = ("epoch_time", "avg_iter_time", "iter_per_sec")


def about(run: RunFacts) -> dict[str, Cell]:
    """What a run was."""
    return {
        "recipe": run.setting("recipe"),
        "starts from": _start(run),
        **(_about_dense(run) if run.task == "dense" else {}),
        "parameters": _count(run.parameters.get("total")),
        "of these trained": _count(run.parameters.get("trainable")),
        "training data": data_name(run.data.get("train"), run.setting("data.train")),
        "validation data": data_name(run.data.get("val"), run.setting("data.val")),
        "epochs": f"{len(run.train)} of {run.setting('train.epochs', '?')}" + ", stopped early" * run.stopped_early,
        "seed": str(run.setting("run.seed", "?")),
    }


def _start(run: RunFacts) -> str:
    if run.task == "dense":
        return str(run.setting("model.encoder", "?"))
    parts = [run.setting(f"model.{part}") for part in ("vlm", "vision", "language", "mask_model")]
    return str(run.setting("model.base") or " + ".join(part for part in parts if part) or "?")


def _about_dense(run: RunFacts) -> dict[str, Cell]:
    """The decoder, what it sees and what it answers with."""
    named = (row.get("classes") for row in run.data.values() if isinstance(row, dict))
    classes = next((names for names in named if names), None)
    heads = [f"{len(classes) if classes else '?'} classes"] if run.setting("model.multiclass", True) else []
    foreground = run.setting("model.binary_classes") or []
    heads += [f"binary mask of {' + '.join(map(str, foreground))}"] if foreground else []
    size = run.setting("model.image_size") or []
    return {
        "decoder": run.setting("model.decoder"),
        "heads": ", ".join(heads),
        "image size": " x ".join(map(str, size)) or None,
        "stages": str(len(run.stages)) if run.stages else None,
    }


def _count(value: Any) -> str | None:
    return f"{value:,}" if is_number(value) else None


def best_values(run: RunFacts) -> dict[str, Cell]:
    """The best epoch, and every number that its history rows hold."""
    row = run.epochs.get(run.best_epoch or 0, {})
    return {"best epoch": run.best_epoch, **{k: v for k, v in row.items() if k != "epoch" and is_number(v)}}


def speed_and_memory(run: RunFacts) -> dict[str, Cell]:
    """Means over the epochs, their sum, peak memory and the machine."""
    means = {key: _mean([row.get(key) for row in run.train]) for key in _SPEED}
    seconds = [row["epoch_time"] for row in run.train if is_number(row.get("epoch_time"))]
    devices = run.environment.get("devices") or []
    machine = ", ".join(str(d.get("name", d)) if isinstance(d, dict) else str(d) for d in devices)
    return {
        "training time, s": float(sum(seconds)) if seconds else None,
        "time per epoch, s": means["epoch_time"],
        "time per step, s": means["avg_iter_time"],
        "steps per second": means["iter_per_sec"],
        f"inference per {'image' if run.task == 'dense' else 'query'}, s": run.benchmarks.get("avg_inference_time_s"),
        "peak memory, GB": run.benchmarks.get("peak_memory_gb"),
        "what memory means": run.benchmarks.get("memory_kind"),
        "machine": machine or run.environment.get("cpu"),
    }


def side_by_side(columns: Sequence[dict[str, Cell]]) -> tuple[tuple[Cell, ...], ...]:
    """One line a quantity and one column a run, whatever quantities there are."""
    keys = list(dict.fromkeys(key for column in columns for key in column))
    return tuple((key, *(column.get(key) for column in columns)) for key in keys)


def _mean(values: list[Any]) -> float | None:
    numbers = [value for value in values if is_number(value)]
    return sum(numbers) / len(numbers) if numbers else None
