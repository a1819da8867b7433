"""A search from beginning to end: claim a trial, train it, note how it ended, write the results, take the next one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segtune.core.errors import Interrupted, SegtuneError
from segtune.core.log import get_logger
from segtune.sweep.config import SearchConfig
from segtune.sweep.place import StudyPlace, begin, run_name
from segtune.sweep.points import Base, Point, check_points, grid_points, resolved
from segtune.sweep.results import Results, write_results
from segtune.sweep.signals import Signals
from segtune.sweep.study import Study, drawn_points, require_optuna
from segtune.sweep.training import COMMAND, Training, fail
from segtune.sweep.trials import standing

_log = get_logger(__name__)


def search(spec: SearchConfig, *, retry_failed: bool = False, command: Sequence[str] = COMMAND) -> Results:
    """Begins or continues a study and runs its points until none is left to begin.

    Any number of processes may do so at once: each takes the next point, and no point is taken twice.

    Args:
        spec: As `load_search` gives it.
        retry_failed: Begin the points that had failed before this call again.
        command: The program that trains, as for `Training`.

    Returns:
        The study as it then is; other processes may still run some of it.

    Raises:
        ConfigError: Something about the search is wrong; nothing has been started.
        Interrupted: A signal came; the next call goes on from there.
    """
    return work(prepare(spec), retry_failed=retry_failed, command=command)


def prepare(spec: SearchConfig) -> StudyPlace:
    """Checks everything about a search that can be known before it runs, and makes its directory.

    Raises:
        ConfigError: As for `search`.
    """
    require_optuna()
    spec, base, _ = plan(spec)
    return begin(spec, base)


def plan(spec: SearchConfig) -> tuple[SearchConfig, Base, list[Point] | None]:
    """Checks a search and lists its points; starts and writes nothing.

    Returns:
        The search with its metric filled in, its recipe, and all its points; None of TPE, which learns on the way.

    Raises:
        ConfigError: The recipe, the metric or a point is wrong; or a random search without Optuna.
    """
    base = Base.read(spec)
    spec = resolved(spec, base)
    if spec.sampler == "grid":
        return spec, base, grid_points(spec)
    if spec.sampler == "tpe":
        return spec, base, None
    points = drawn_points(spec.seed, spec.axes, spec.budget)
    check_points(base, points)
    return spec, base, points


def work(place: StudyPlace | str | Path, *, retry_failed: bool = False, command: Sequence[str] = COMMAND) -> Results:
    """Runs points of a study that is there until none is left to begin: what each process of a search does.

    Args:
        place: The study.
        retry_failed: As for `search`.
        command: As for `search`.
    """
    place = place if isinstance(place, StudyPlace) else StudyPlace(Path(place))
    with Signals() as signals:
        study = Study(place)
        failed = (trial.number for trial in standing(study.trials()) if trial.state == "failed")
        retry = frozenset(failed) if retry_failed else frozenset()
        try:
            while (claim := study.claim(retry)) is not None:
                try:
                    _run(study, claim.trial.number, Training(study, claim, signals, command))
                except Interrupted:
                    raise
                except SegtuneError as error:
                    fail(study, claim.trial.number, str(error))
                finally:
                    claim.release()
                write_results(study)
                if signals.received is not None:
                    raise Interrupted("stopped between two trials", signal_number=signals.received)
        except Interrupted as error:
            results = write_results(study, figure=True)
            raise Interrupted(
                f"{error.message}; {results.count('complete')} of {study.size} points are complete",
                signal_number=error.exit_code - 128, fix="the same command goes on from here",
            ) from error  # fmt: skip
        return write_results(study, figure=True)


def _run(study: Study, number: int, training: Training) -> None:
    begun = "goes on" if training.run.config.is_file() else "begins"
    point = Point(training.trial.point, training.trial.settings)
    _log.info("%s %s (point %d of %d): %s", run_name(number), begun, point.index + 1, study.size, point)
    training.complete()
