"""What a search has found: the leaderboard, the best configuration as a recipe, and the figure."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segtune.core.config import dump_yaml
from segtune.core.files import write_bytes, write_text
from segtune.reports.tables import Block, Bullets, Cell, Section, Table, markdown, shown
from segtune.sweep.config import label
from segtune.sweep.figure import axes_figure
from segtune.sweep.place import StudyPlace, run_name
from segtune.sweep.study import Study
from segtune.sweep.trials import State, Trial, best_first, standing

LEADERBOARD, CSV, FIGURE, BEST = "leaderboard.md", "leaderboard.csv", "axes.png", "best.yaml"


@dataclass(frozen=True)
class Results:
    """A study at one moment.

    Attributes:
        place: Its directory.
        metric: By which its trials are compared.
        highest: Whether the largest value is the best one.
        axes: The keys that vary.
        size: How many points it has.
        trials: All of them.
    """

    place: StudyPlace
    metric: str
    highest: bool
    axes: tuple[str, ...]
    size: int
    trials: tuple[Trial, ...]

    @property
    def standing(self) -> list[Trial]:
        """The trials that count: without the failed ones whose point was begun again."""
        return standing(self.trials)

    @property
    def best(self) -> Trial | None:
        """The complete trial with the best value, of equal ones the earliest; None where none is complete."""
        return next(iter(best_first(self.standing, highest=self.highest)), None)

    def count(self, state: State) -> int:
        """How many points are in a state."""
        return sum(trial.state == state for trial in self.standing)

    def ranked(self) -> list[tuple[int | None, Trial]]:
        """Rank and trial: complete ones best first (equal values share a rank), then pruned, running, failed ones."""
        complete = best_first(self.standing, highest=self.highest)
        values = [trial.value for trial in complete]
        rows: list[tuple[int | None, Trial]] = [(values.index(trial.value) + 1, trial) for trial in complete]
        for state in ("pruned", "running", "failed"):
            rows += [(None, trial) for trial in self.standing if trial.state == state]
        return rows

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        best = self.best
        return {
            "study": str(self.place.path), "metric": self.metric, "goal": "max" if self.highest else "min",
            "points": self.size, "best": None if best is None else best.number,
            "trials": [
                {
                    "trial": trial.number, "rank": rank, "state": trial.state, "value": trial.value,
                    "settings": trial.settings, "epochs": {str(e): v for e, v in trial.reported.items()},
                    "seconds": trial.seconds, "message": trial.message if trial.state == "failed" else "",
                    "retry_of": trial.retry_of, "run": str(self.place.run(trial.number).path),
                }
                for rank, trial in self.ranked()
            ],
        }  # fmt: skip


def read_results(study: Study) -> Results:
    """The study as it is now."""
    search = study.search
    return Results(
        study.place, str(search.metric), study.highest, tuple(search.axes), study.size, tuple(study.trials())
    )  # fmt: skip


def write_results(study: Study, *, figure: bool = False) -> Results:
    """Writes `leaderboard.md`, `leaderboard.csv` and `best.yaml` of a study, and `axes.png` where asked for.

    Args:
        study: Finished or not.
        figure: Draw it too, which takes a second or two.

    Returns:
        What was written.
    """
    with study.place.mutex():  # or an older state could replace a newer one
        results = read_results(study)
        write_text(results.place.path / LEADERBOARD, leaderboard(results))
        write_text(results.place.path / CSV, to_csv(results))
        if results.best is not None:
            write_text(results.place.path / BEST, best_recipe(study, results.best))
        if figure and results.trials:
            write_bytes(results.place.path / FIGURE, axes_figure(study.search, results.standing, results.best))
    return results


def leaderboard(results: Results) -> str:
    """The trials as a page of Markdown."""
    columns = ("rank", "trial", "state", results.metric, "epoch", *results.axes, "seconds")
    rows = tuple(_row(results, rank, trial) for rank, trial in results.ranked())
    blocks: list[Block] = [_words(results), Table(columns, rows)]
    failed = [trial for trial in results.standing if trial.state == "failed"]
    sections = [Section("Trials", tuple(blocks))]
    if failed:
        told = tuple(f"{run_name(trial.number)}: {trial.message}" for trial in failed)
        sections.append(Section("Failed", (Bullets(told),)))
    return markdown(f"Search {results.place.path.name}", sections)


def to_csv(results: Results) -> str:
    """A line a trial: the columns of the leaderboard, and the message of a failed one."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("rank", "trial", "state", results.metric, "epoch", *results.axes, "seconds", "run", "message"))
    for rank, trial in results.ranked():
        settings = (label(trial.settings.get(key)) for key in results.axes)
        message = trial.message if trial.state == "failed" else ""
        writer.writerow(
            (rank, trial.number, trial.state, trial.value, _epoch(results, trial), *settings, trial.seconds,
             run_name(trial.number), message)
        )  # fmt: skip
    return text.getvalue()


def best_recipe(study: Study, best: Trial) -> str:
    """The configuration of the best trial as a recipe, with what it is as a comment above."""
    config = study.base.config(best.settings | {"run.name": None})
    name, value = run_name(best.number), f"{study.search.metric} {best.value:.4f}"
    epochs = f"# Each trial had {config.train.epochs} epochs; train.epochs=N trains longer.\n"
    return f"# The best of the search {study.place.path.name}: {name}, {value}\n{epochs}{dump_yaml(config)}"


def paths(place: StudyPlace) -> list[Path]:
    """The files of the results that are there."""
    return [path for name in (LEADERBOARD, CSV, FIGURE, BEST) if (path := place.path / name).is_file()]


def _row(results: Results, rank: int | None, trial: Trial) -> tuple[Cell, ...]:
    settings = tuple(_shown(trial.settings.get(key)) for key in results.axes)
    value = None if trial.value is None else f"{trial.value:.4f}"
    return (rank, trial.number, _state(trial), value, _epoch(results, trial), *settings, trial.seconds)


def _state(trial: Trial) -> str:
    if trial.state == "pruned" and trial.reported:
        return f"pruned after epoch {max(trial.reported)}"
    again = "" if trial.retry_of is None else f" (after trial {trial.retry_of} failed)"
    return trial.state + again


def _epoch(results: Results, trial: Trial) -> int | None:
    """The first epoch with the value of the trial."""
    if trial.value is None:
        return None
    found = [epoch for epoch, value in sorted(trial.reported.items()) if value == trial.value]
    return found[-1 if trial.state == "pruned" else 0] if found else None


def _shown(value: Any) -> str:
    return shown(value) if isinstance(value, float) else label(value)


def _words(results: Results) -> str:
    counts = [f"{results.count(state)} {state}" for state in ("complete", "pruned", "running", "failed")]
    left = results.size - len({trial.point for trial in results.trials})
    goal = "high" if results.highest else "low"
    words = f"{results.size} points: {', '.join(counts)}, {left} not begun. {results.metric} is better when {goal}"
    words += "; the value of a trial is that of its best epoch, of a pruned one that of its last."
    best = results.best
    equal = [trial for trial in results.standing if trial.state == "complete" and best and trial.value == best.value]
    if best is not None and len(equal) > 1:
        words += f" {len(equal)} trials share the best value; {BEST} is the first of them, {run_name(best.number)}."
    return words
