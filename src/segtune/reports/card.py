"""The model card of a run: what it was trained from and on, its scores and its curve, from the run directory alone."""

from __future__ import annotations

from typing import Any

import yaml

from segtune.core import rundir as names
from segtune.core.rundir import RunDir
from segtune.reports import dense
from segtune.reports.columns import about, best_values, side_by_side
from segtune.reports.compare import progression_keys, shown_epochs
from segtune.reports.documents import Row, data_name, is_number, number, scored_classes, title
from segtune.reports.facts import RunFacts, read_run
from segtune.reports.tables import Block, Section, Table, code, markdown, paragraph, plain


def model_card(run: RunDir) -> str:
    """Writes the card of a run as Markdown.

    Args:
        run: The run directory; scores and history are used where they are there.

    Returns:
        The text of its `README.md`.
    """
    config = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    if config.get("task") == "dense":
        return _dense_card(read_run(run.path))
    parts = [f"# {plain(run.name)}", _facts(config, run)]
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
    used = run.read_json(names.DATA) if (run.path / names.DATA).is_file() else {}
    return "\n".join(
        [
            f"{paragraph(config['description'])}\n" if config.get("description") else "",
            f"- recipe: {code(config['recipe'])}, seed {config['run']['seed']}",
            f"- starts from: {code(start)}; mask features: {model['mask_features']}",
            f"- parameters: {parameters['total']:,} in all, {parameters['trainable']:,} trained",
            f"- data: train {_data(used, 'train', data)}, validation {_data(used, 'val', data)}",
            f"- {train['epochs']} epochs, {train['batch_size']} images a batch, rate {config['optim']['lr']}",
            f"- made on {environment.get('time', '?')}, {plain(str(environment.get('cpu', '?')))}, "
            f"torch {environment.get('packages', {}).get('torch', '?')}",
        ]
    )


def _data(used: dict[str, Any], part: str, setting: dict[str, Any]) -> str:
    """Which data a split was, by its folder and the digest of what it held."""
    row = used.get(part)
    digest = row.get("sha256") if isinstance(row, dict) else None
    told = f" (sha256 `{digest[:12]}`)" if isinstance(digest, str) and digest else ""
    return code(data_name(row, setting[part])) + told


def _scores(documents: list[dict[str, Any]]) -> str:
    lines = ["| data | split | mode | queries | gIoU | cIoU | short | long |", "|---|---|---|---|---|---|---|---|"]
    for document in documents:
        metrics, by = document["metrics"], document["by"]
        cells = [plain(str(document[key])) for key in ("data", "split", "mode")] + [str(document["counts"]["queries"])]
        numbers = [metrics["gIoU"], metrics["cIoU"], by["short"]["gIoU"], by["long"]["gIoU"]]
        lines.append("| " + " | ".join(cells + [number(value) for value in numbers]) + " |")
    return "\n".join([*lines, "", "Protocol `segtune-1`; intervals and baselines stand in the `eval_*.json` files."])


def _curve(history: dict[str, Any]) -> str:
    validation = {row["epoch"]: row for row in history["val"]}
    lines = ["| epoch | loss | gIoU | val_loss | val_gIoU | val_generate_gIoU |", "|---|---|---|---|---|---|"]
    for row in history["train"]:
        val = validation.get(row["epoch"], {})
        values = [row["loss"], row["gIoU"], *(val.get(k) for k in ("val_loss", "val_gIoU", "val_generate_gIoU"))]
        lines.append(f"| {row['epoch']} | " + " | ".join(number(value) for value in values) + " |")
    return "\n".join(lines)


def _dense_card(facts: RunFacts) -> str:
    """The card of a dense run: what it was made from, its scores over all and by class, its stages and its curve."""
    environment = facts.environment
    made = {
        "images a batch": facts.setting("train.batch_size"),
        "rate": facts.setting("optim.lr"),
        "made on": f"{environment.get('time', '?')}, {environment.get('cpu', '?')}, "
        f"torch {(environment.get('packages') or {}).get('torch', '?')}",
    }
    description = str(facts.setting("description", ""))
    blocks: list[Block] = [description] if description else []
    sections = [Section("The run", (*blocks, Table(("", ""), side_by_side([{**about(facts), **made}]))))]
    sections += [_dense_scores(document) for document in facts.scores]
    stages = dense.stage_section(facts)
    sections += [stages] if stages else []
    if facts.train:
        sections.append(Section("Curve", (_dense_best(facts), _dense_curve(facts))))
    text = markdown(facts.name, sections)
    if (facts.path / names.HISTORY_FIGURE).is_file():
        text += f"\n![losses and metrics by epoch]({names.HISTORY_FIGURE})\n"
    return text


def _dense_scores(document: Row) -> Section:
    words = f"Protocol `{document['protocol']}`, at the original size of the images."
    blocks: list[Block] = [words, dense.score_table(document)]
    if scored_classes(document):
        blocks += ["By class:", dense.class_table(document)]
    return Section(f"Scores: {title(document)}", tuple(blocks))


def _dense_best(facts: RunFacts) -> str:
    value = best_values(facts).get(facts.best_key)
    if facts.best_epoch is None or not is_number(value):
        return "No epoch has been the best yet."
    return f"The best checkpoint is that of epoch {facts.best_epoch}, with `{facts.best_key}` {number(value)}."


def _dense_curve(facts: RunFacts) -> Table:
    """The keys of the history by which a dense model is judged; about a dozen epochs of a long run."""
    rows = facts.epochs
    keys = [key for key in progression_keys([facts]) if any(is_number(row.get(key)) for row in rows.values())]
    epochs = shown_epochs(list(rows), {facts.best_epoch})
    return Table(("epoch", *keys), tuple((epoch, *(rows[epoch].get(key) for key in keys)) for epoch in epochs))
