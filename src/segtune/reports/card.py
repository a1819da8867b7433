"""The model card of a run: what it was trained from and on, its scores and its curve, from the run directory alone."""

from __future__ import annotations

from typing import Any

import yaml

from segtune.core import rundir as names
from segtune.core.rundir import RunDir


def model_card(run: RunDir) -> str:
    """Writes the card of a run as Markdown.

    Args:
        run: The run directory; scores and history are used where they are there.

    Returns:
        The text of its `README.md`.
    """
    config = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    parts = [f"# {run.name}", _facts(config, run)]
    scores = sorted(run.path.glob("eval_*.json"))
    if scores:
        parts.append("## Scores\n\n" + _scores([run.read_json(path.name) for path in scores]))
    if (run.path / names.HISTORY).is_file():
        parts.append("## Curve\n\n" + _curve(run.read_json(names.HISTORY)))
    if (run.path / names.HISTORY_FIGURE).is_file():
        parts.append(f"![losses and metrics by epoch]({names.HISTORY_FIGURE})")
    return "\n\n".join(parts) + "\n"


def _facts(config: dict[str, Any], run: RunDir) -> str:
    model, data, train = config["model"], config["data"], config["train"]
    parameters = run.read_json(names.PARAMETERS)
    parts = (model.get(part) for part in ("vlm", "vision", "language", "mask_model"))
    start = model["base"] or " + ".join(part for part in parts if part)
    environment = run.read_json(names.ENVIRONMENT)
    return "\n".join(
        [
            f"{config['description']}\n" if config.get("description") else "",
            f"- recipe: `{config['recipe']}`, seed {config['run']['seed']}",
            f"- starts from: `{start}`; mask features: {model['mask_features']}",
            f"- parameters: {parameters['total']:,} in all, {parameters['trainable']:,} trained",
            f"- data: train `{data['train']}`, validation `{data['val']}`",
            f"- {train['epochs']} epochs, {train['batch_size']} images a batch, rate {config['optim']['lr']}",
            f"- made on {environment.get('time', '?')}, {environment.get('cpu', '?')}, "
            f"torch {environment.get('packages', {}).get('torch', '?')}",
        ]
    )


def _scores(documents: list[dict[str, Any]]) -> str:
    lines = ["| data | split | mode | queries | gIoU | cIoU | short | long |", "|---|---|---|---|---|---|---|---|"]
    for document in documents:
        metrics, by = document["metrics"], document["by"]
        cells = [document["data"], document["split"], document["mode"], str(document["counts"]["queries"])]
        numbers = [metrics["gIoU"], metrics["cIoU"], by["short"]["gIoU"], by["long"]["gIoU"]]
        lines.append("| " + " | ".join(cells + [_number(value) for value in numbers]) + " |")
    return "\n".join([*lines, "", "Protocol `segtune-1`; intervals and baselines stand in the `eval_*.json` files."])


def _curve(history: dict[str, Any]) -> str:
    validation = {row["epoch"]: row for row in history["val"]}
    lines = ["| epoch | loss | gIoU | val_loss | val_gIoU | val_generate_gIoU |", "|---|---|---|---|---|---|"]
    for row in history["train"]:
        val = validation.get(row["epoch"], {})
        values = [row["loss"], row["gIoU"], *(val.get(k) for k in ("val_loss", "val_gIoU", "val_generate_gIoU"))]
        lines.append(f"| {row['epoch']} | " + " | ".join(_number(value) for value in values) + " |")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
