"""`report.html`: all of a run on one page that can be mailed, printed and opened without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segtune.core import rundir as names
from segtune.core.errors import CheckpointError
from segtune.core.files import read_json, write_bytes, write_text
from segtune.core.rundir import RunDir
from segtune.core.yaml_files import dump_mapping
from segtune.reports.compare import about, best_values, side_by_side, speed_and_memory
from segtune.reports.facts import Row, RunFacts, is_number, read_run
from segtune.reports.figures import history_figure
from segtune.reports.published import published_section
from segtune.reports.render import page, picture_uri, png_uri
from segtune.reports.tables import Block, Bullets, Cell, Section, Table, escape, html_sections

INDEX = "index.json"
RANKS = {"best": "Best by IoU", "median": "Around the median", "worst": "Worst"}
_EACH = 2  # pictures of a rank and mode; more make the page heavy to mail
_BAD_SHOWN = 20


def write_report(path: str | Path) -> list[Path]:
    """Draws the figure of a run and writes its page, whatever of the run is there yet.

    Args:
        path: The run directory; it may still be training.

    Returns:
        What was written: `training_history.png` (where an epoch has ended) and `report.html`.

    Raises:
        SegtuneError: It is no run, or a file in it is damaged.
    """
    facts = read_run(path)
    written = []
    figure = b""
    if facts.train:
        figure = history_figure(facts)
        write_bytes(facts.path / names.HISTORY_FIGURE, figure)
        written.append(facts.path / names.HISTORY_FIGURE)
    write_text(facts.path / names.REPORT, report_page(facts, figure))
    return [*written, facts.path / names.REPORT]


def report_page(facts: RunFacts, figure: bytes) -> str:
    """The page as HTML.

    Args:
        facts: The run.
        figure: The PNG of `history_figure`, empty where there is none.
    """
    body = [
        f"<p>{escape(facts.setting('description', ''))}</p>",
        html_sections([Section("The run", (_state(facts), _pairs(about(facts)))), *_scores(facts)]),
        _curves(figure),
        html_sections([Section("Best epoch", _best(facts))]),
        _examples(facts),
        html_sections(
            [
                published_section([facts]),
                Section("Speed and memory", (_pairs(speed_and_memory(facts)),)),
                Section("Parameters", (_parameters(facts),)),
                Section("Data", _data(facts)),
            ]
        ),
        _config(facts),
    ]
    return page(f"Run {facts.name}", "\n".join(body))


def _best(facts: RunFacts) -> tuple[Block, ...]:
    """The numbers of the best epoch, training and validation side by side."""
    if facts.best_epoch is None:
        return ("There is none yet.",)
    values = {name: value for name, value in best_values(facts).items() if name != "best epoch"}
    keys = dict.fromkeys(name.removeprefix("val_") for name in values)
    rows = tuple((key, values.get(key), values.get(f"val_{key}")) for key in keys)
    words = (
        f"Epoch {facts.best_epoch}, by `{facts.best_key}`. The answer is given and masks are compared in model pixels, "
        "but for the keys with `generate`."
    )
    return (words, Table(("", "train", "val"), rows))


def _state(facts: RunFacts) -> str:
    planned, done = facts.setting("train.epochs", 0), len(facts.train)
    made = f"Begun {facts.environment.get('time', '?')}, torch {_torch(facts)}."
    if done < planned and facts.stopped_early:
        return f"Complete: stopped early, after {done} of {planned} epochs. {made}"
    if done < planned:
        return f"Not complete: {done} of {planned} epochs have ended. {made}"
    return f"Complete: {done} epochs. {made}"


def _torch(facts: RunFacts) -> str:
    return str((facts.environment.get("packages") or {}).get("torch", "?"))


def _pairs(values: dict[str, Cell]) -> Table:
    return Table(("", ""), side_by_side([values]))


def _scores(facts: RunFacts) -> list[Section]:
    if not facts.scores:
        return [Section("Scores", ("No scores yet: `segtune evaluate` writes them, as does the end of a training.",))]
    blocks: list[Block] = [_verdict(document) for document in facts.scores]
    columns = ("", "queries", "gIoU", "95% interval", "cIoU", "95% interval", "says <SEG>")
    rows = [_score_row(f"{title}{_title(d)}", d["metrics"], d) for title, d in _with_before(facts)]
    baselines = [
        (f"without a model: {name} ({data} {split})", None, row.get("gIoU"), None, row.get("cIoU"), None, None)
        for (data, split), document in {(d["data"], d["split"]): d for d in facts.scores}.items()
        for name, row in (document.get("baselines") or {}).items()
    ]
    blocks.append(Table(columns, (*rows, *baselines)))
    for document in facts.scores:
        rows = [
            _score_row(name.removeprefix("kind:"), row, row)
            for name, row in document["by"].items()
            if row.get("queries")
        ]
        blocks += [f"{_title(document)}, by length and kind of query:", Table(columns, tuple(rows))]
    return [Section("Scores", tuple(blocks))]


def _with_before(facts: RunFacts) -> list[tuple[str, Row]]:
    return [*(("before training: ", d) for d in facts.before), *(("", d) for d in facts.scores)]


def _title(document: Row) -> str:
    return f"{document['data']} {document['split']}, {document['mode']}"


def _score_row(title: str, metrics: Row, document: Row) -> tuple[Cell, ...]:
    intervals = document.get("ci95") or {}
    count = (document.get("counts") or document).get("queries")
    cells: list[Cell] = [title, count]
    for name in ("gIoU", "cIoU"):
        cells += [metrics.get(name), _interval(intervals.get(name))]
    return (*cells, metrics.get("emission_rate"))


def _interval(value: Any) -> str | None:
    return f"{value[0]:.3f} to {value[1]:.3f}" if value else None


def _verdict(document: Row) -> str:
    """Whether the model beats what needs no model, in words."""
    score, interval = document["metrics"].get("gIoU"), (document.get("ci95") or {}).get("gIoU")
    baselines = {n: r["gIoU"] for n, r in (document.get("baselines") or {}).items() if is_number(r.get("gIoU"))}
    if not is_number(score) or not interval or not baselines:
        return f"{_title(document)}: nothing to compare with."
    name, value = max(baselines.items(), key=lambda item: item[1])
    if interval[0] > value:
        verdict = "above it"
    elif interval[1] < value:
        verdict = "below it"
    else:
        verdict = "not told apart from it by so many images"
    return (
        f"{_title(document)}: gIoU {score:.3f} ({_interval(interval)}). The best answer without a model, `{name}`, "
        f"has {value:.3f}; the model is {verdict}."
    )


def _curves(figure: bytes) -> str:
    if not figure:
        return "<section><h2>Curves</h2><p>No epoch has ended yet.</p></section>"
    image = f'<img src="{png_uri(figure)}" alt="Nine panels: losses and metrics by epoch">'
    return f'<section><h2>Curves</h2><div class="wide"><figure class="sheet">{image}</figure></div></section>'


def _examples(facts: RunFacts) -> str:
    parts = ["<section><h2>Examples</h2>"]
    parts.append("<p>Left the image, in the middle the truth (green), on the right the prediction (red).</p>")
    found = False
    for document in facts.scores:
        folder = RunDir(facts.path).predictions(document["data"], document["split"], document["mode"]).with_suffix("")
        rows = _pictures(folder)
        if not rows:
            continue
        found = True
        for rank, words in RANKS.items():
            figures = [_example(folder, row) for row in rows if row["rank"] == rank][:_EACH]
            parts.append(f"<h3>{words}: {escape(_title(document))}</h3>")
            parts.append(f'<div class="panels">{"".join(figures)}</div>')
    if not found:
        parts = ["<section><h2>Examples</h2>", "<p>No pictures: <code>segtune evaluate --overlays N</code>.</p>"]
    return "\n".join([*parts, "</section>"])


def _pictures(folder: Path) -> list[Row]:
    """The rows of an index of pictures; only files that lie in its own folder are shown."""
    if not (folder / INDEX).is_file():
        return []
    content = read_json(folder / INDEX)
    rows = content.get("pictures") if isinstance(content, dict) else None
    keys = ("file", "rank", "iou", "query", "answer")
    if not isinstance(rows, list) or any(not isinstance(r, dict) or any(k not in r for k in keys) for r in rows):
        raise CheckpointError(
            "not an index of pictures", where=str(folder / INDEX), expected=f"`pictures`, each with {', '.join(keys)}",
            fix="remove it, or write it again with `segtune evaluate --overlays N`",
        )  # fmt: skip
    return [row for row in rows if Path(str(row["file"])).name == row["file"]]


def _example(folder: Path, row: Row) -> str:
    try:
        image = f'<img src="{picture_uri(folder / row["file"])}" alt="image, truth, prediction">'
    except OSError:
        image = f"<p>(the picture {escape(row['file'])} is missing)</p>"
    iou = f"IoU {row['iou']:.3f}" if is_number(row["iou"]) else "IoU -"
    words = f"<b>{iou}</b> &middot; {escape(row['query'])}<br>answer: {escape(row['answer'])}"
    return f"<figure>{image}<figcaption>{words}</figcaption></figure>"


def _parameters(facts: RunFacts) -> Table | str:
    parts = facts.parameters
    if not parts:
        return "Not written yet."
    rows = [(name, row) for name, row in (parts.get("components") or {}).items()] + [("all", parts)]
    keys = ("total", "trainable", "frozen", "bytes")
    cells = ((name, *(f"{row[k]:,}" if is_number(row.get(k)) else None for k in keys)) for name, row in rows)
    return Table(("component", *keys), tuple(cells))


def _data(facts: RunFacts) -> tuple[Block, ...]:
    parts = {name: row for name, row in facts.data.items() if isinstance(row, dict)}
    bad = [f"{name}: {item}" for name, row in parts.items() for item in row.get("bad") or []]
    columns = ("", "data", "images", "queries", "left out")
    rows = tuple(
        (n, r.get("data"), r.get("images"), r.get("queries"), len(r.get("bad") or [])) for n, r in parts.items()
    )
    shown: list[Block] = [Table(columns, rows)]
    if bad:
        more = [f"... and {len(bad) - _BAD_SHOWN} more, in data.json"] if len(bad) > _BAD_SHOWN else []
        shown += ["Left out:", Bullets((*bad[:_BAD_SHOWN], *more))]
    return tuple(shown)


def _config(facts: RunFacts) -> str:
    settings = escape(dump_mapping(facts.config))
    machine = escape(dump_mapping({"environment": facts.environment}))
    return _folded("Every setting", settings) + _folded("Machine and packages", machine)


def _folded(title: str, text: str) -> str:
    return f"<section><h2>{title}</h2><details><summary>show</summary><pre>{text}</pre></details></section>"
