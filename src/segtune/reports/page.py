"""`report.html`: all of a run on one page that can be mailed, printed and opened without a network."""

from __future__ import annotations

from pathlib import Path

from segtune.core import rundir as names
from segtune.core.errors import CheckpointError
from segtune.core.files import read_json, write_bytes, write_text
from segtune.core.rundir import RunDir
from segtune.core.yaml_files import dump_mapping
from segtune.reports import dense
from segtune.reports.columns import about, best_values, side_by_side, speed_and_memory
from segtune.reports.documents import Row, data_name, interval_words, is_number, number, picture_score, title, verdict
from segtune.reports.facts import RunFacts, read_run
from segtune.reports.figures import history_figure
from segtune.reports.published import published_section
from segtune.reports.render import page, picture_uri, png_uri
from segtune.reports.tables import Block, Bullets, Cell, Section, Table, escape, html_sections

INDEX = "index.json"
RANKS = {"best": "Best by {score}", "median": "Around the median", "worst": "Worst"}
_EACH = 2  # pictures of a rank and mode; more make the page heavy to mail
_BAD_SHOWN = 20
_NO_SCORES = Section("Scores", ("No scores yet: `segtune evaluate` writes them, as does the end of a training.",))


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
    is_dense = facts.task == "dense"
    scores = (dense.score_sections(facts) if is_dense else _scores(facts)) or [_NO_SCORES]
    stages = dense.stage_section(facts)
    rest = [
        Section("Speed and memory", (_pairs(speed_and_memory(facts)),)),
        Section("Parameters", (_parameters(facts),)),
        Section("Data", dense.data_blocks(facts) if is_dense else _data(facts)),
    ]
    body = [
        f"<p>{escape(facts.setting('description', ''))}</p>",
        html_sections([Section("The run", (_state(facts), _pairs(about(facts)))), *scores]),
        _curves(figure),
        html_sections([Section("Best epoch", _best(facts)), *([stages] if stages else [])]),
        _examples(facts),
        html_sections(rest if is_dense else [published_section([facts]), *rest]),
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
    how = "The answer is given and masks are compared in model pixels, but for the keys with `generate`."
    if facts.task == "dense":
        how = "Labels are compared in model pixels, after resizing; a scores file compares them at the original size."
    words = f"Epoch {facts.best_epoch}, by `{facts.best_key}`. {how}"
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
        return []
    blocks: list[Block] = [verdict(document, "gIoU") for document in facts.scores]
    columns = ("", "queries", "gIoU", "95% interval", "cIoU", "95% interval", "says <SEG>")
    rows = [_score_row(f"{when}{title(d)}", d["metrics"], d) for when, d in _with_before(facts)]
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
        blocks += [f"{title(document)}, by length and kind of query:", Table(columns, tuple(rows))]
    return [Section("Scores", tuple(blocks))]


def _with_before(facts: RunFacts) -> list[tuple[str, Row]]:
    return [*(("before training: ", d) for d in facts.before), *(("", d) for d in facts.scores)]


def _score_row(name: str, metrics: Row, document: Row) -> tuple[Cell, ...]:
    count = (document.get("counts") or document).get("queries")
    cells: list[Cell] = [name, count]
    for key in ("gIoU", "cIoU"):
        cells += [metrics.get(key), interval_words(document, key)]
    return (*cells, metrics.get("emission_rate"))


def _curves(figure: bytes) -> str:
    if not figure:
        return "<section><h2>Curves</h2><p>No epoch has ended yet.</p></section>"
    image = f'<img src="{png_uri(figure)}" alt="Nine panels: losses and metrics by epoch">'
    return f'<section><h2>Curves</h2><div class="wide"><figure class="sheet">{image}</figure></div></section>'


def _examples(facts: RunFacts) -> str:
    parts = ["<section><h2>Examples</h2>"]
    colours = ("", "") if facts.task == "dense" else (" (green)", " (red)")
    parts.append("<p>Left the image, in the middle the truth{}, on the right the prediction{}.</p>".format(*colours))
    found: dict[str, list[Row]] = {}
    for document in facts.scores:
        folder = RunDir(facts.path).predictions(document["data"], document["split"], document["mode"]).with_suffix("")
        rows = _pictures(folder)
        if not rows:
            continue
        if twin := next((name for name, shown in found.items() if _same_pictures(rows, shown)), None):
            parts.append(f"<p>The pictures of {escape(title(document))} are those of {escape(twin)}: same answers.</p>")
            continue
        found[title(document)] = rows
        for rank, words in RANKS.items():
            score = picture_score(document)
            figures = [_example(folder, row, score) for row in rows if row["rank"] == rank][:_EACH]
            if not figures:
                continue
            parts.append(f"<h3>{words.format(score=score)}: {escape(title(document))}</h3>")
            parts.append(f'<div class="panels">{"".join(figures)}</div>')
    if not found:
        parts = ["<section><h2>Examples</h2>", "<p>No pictures: <code>segtune evaluate --overlays N</code>.</p>"]
    return "\n".join([*parts, "</section>"])


def _same_pictures(rows: list[Row], others: list[Row]) -> bool:
    """Whether two indexes of pictures show the same answers, as those of both modes where the model answers alone."""
    keys = ("rank", "id", "iou", "query", "answer", "emitted")
    return [[row.get(key) for key in keys] for row in rows] == [[row.get(key) for key in keys] for row in others]


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


def _example(folder: Path, row: Row, score: str) -> str:
    """One picture with its score and words; labelled images have no words, and go by their id."""
    try:
        image = f'<img src="{picture_uri(folder / row["file"])}" alt="image, truth, prediction">'
    except OSError:
        image = f"<p>(the picture {escape(row['file'])} is missing)</p>"
    words = f"{escape(row['query'])}<br>answer: {escape(row['answer'])}" if row["query"] else escape(row.get("id", ""))
    caption = f"<b>{score} {number(row['iou'])}</b> &middot; {words}"
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


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
        (n, data_name(r), r.get("images"), r.get("queries"), len(r.get("bad") or [])) for n, r in parts.items()
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
