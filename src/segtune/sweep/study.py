"""A study on disk: Optuna's journal, and who runs which of its trials.

Every trial is one line of the journal when it begins, with all its values, and is claimed by a lock that ends with the
process that holds it: what a killed search has left is found as a running trial whose lock is free.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from segtune.core.errors import CheckpointError, ConfigError
from segtune.core.files import cut_torn_row
from segtune.core.rng import derive
from segtune.sweep.config import Axis, Range, label
from segtune.sweep.locks import FileLock
from segtune.sweep.place import StudyPlace, read_study
from segtune.sweep.points import Point, grid_points, highest_is_best
from segtune.sweep.trials import State, Trial, standing

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

_STATES: dict[str, State] = {"RUNNING": "running", "COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
_DRAWS = 100  # of a point that has not been drawn before


def require_optuna() -> Any:
    """The module `optuna`, quiet.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            "a search needs Optuna, which is not installed", fix="pip install 'segtune[search]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


@dataclass
class Claim:
    """A trial that this process runs, until `release`.

    Attributes:
        trial: As it was when it was claimed.
        lock: Held; its end is what tells others that nobody runs the trial.
    """

    trial: Trial
    lock: FileLock

    def release(self) -> None:
        """Gives the trial up, finished or not."""
        self.lock.release()


class Study:
    """The trials of one study; any number of processes may have it open.

    Args:
        place: A directory that `begin` has made.

    Raises:
        ConfigError: Optuna is not installed.
        CheckpointError: It is no study, or its journal is damaged.
    """

    def __init__(self, place: StudyPlace) -> None:
        optuna = require_optuna()
        self.place = place
        self.search, self.base = read_study(place)
        self.highest = highest_is_best(self.search, self.base)
        self.direction = "maximize" if self.highest else "minimize"
        self._points = grid_points(self.search) if self.search.sampler == "grid" else None
        with place.mutex(), _journal_errors(place):
            backend = optuna.storages.journal.JournalFileBackend(str(place.journal), lock_obj=_JournalLock(place))
            self._storage = optuna.storages.JournalStorage(backend)
            self._study = optuna.create_study(
                storage=self._storage, study_name=place.path.name, direction=self.direction,
                pruner=_pruner(self.search.prune, self.search.prune_after, self.search.prune_startup),
                load_if_exists=True,
            )  # fmt: skip
            self._id = self._storage.get_study_id_from_name(place.path.name)

    @property
    def size(self) -> int:
        """How many points the search has."""
        return self.search.budget if self._points is None else len(self._points)

    def trials(self) -> list[Trial]:
        """All trials, in the order in which they began."""
        with _journal_errors(self.place):
            return [_trial(frozen) for frozen in self._study.get_trials(deepcopy=False)]

    def claim(self, retry: frozenset[int] = frozenset()) -> Claim | None:
        """Takes what is to be done next: a trial that its process has left, else a new point, else a failed one again.

        Args:
            retry: Numbers of the failed trials that may be begun again.

        Returns:
            None where nothing is left, or other processes run it.
        """
        with self.place.mutex():
            trials = self.trials()
            for trial in trials:
                lock = self.place.claim_lock(trial.number)
                if trial.state == "running" and lock.take():
                    return Claim(trial, lock)
            point, params = self._next_point(trials)
            if point is not None:
                return self._begin(point, params, None)
            for trial in standing(trials):
                if trial.state == "failed" and trial.number in retry:
                    frozen = self._frozen(trial.number)
                    return self._begin(Point(trial.point, trial.settings), frozen.params, trial.number)
        return None

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Notes a value of the metric; whether the trial should end after this epoch."""
        self._storage.set_trial_intermediate_value(self._trial_id(number), epoch, float(value))
        return bool(self._study.pruner.prune(self._study, self._frozen(number)))

    def note(self, number: int, **facts: Any) -> None:
        """Notes facts about a trial: `message`, `pruned_at`, `seconds`."""
        for name, value in facts.items():
            self._storage.set_trial_user_attr(self._trial_id(number), name, value)

    def finish(self, number: int, state: Literal["complete", "pruned", "failed"], value: float | None = None) -> None:
        """Ends a trial.

        Args:
            number: Of a running trial.
            state: How it ended.
            value: Of a complete trial.
        """
        from optuna.trial import TrialState

        states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        self._study.tell(number, value if state == "complete" else None, state=states[state])

    def _begin(self, point: Point, params: dict[str, Any], retry_of: int | None) -> Claim:
        """Writes a new running trial, all of it in one row, and holds its lock; called with the mutex held."""
        from optuna.trial import TrialState, create_trial

        facts = {"point": point.index, "settings": point.settings, "retry_of": retry_of}
        number = len(self._study.get_trials(deepcopy=False))
        lock = self.place.claim_lock(number)
        lock.take(wait=True)
        self._study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=params,
                user_attrs=facts,
                distributions={key: _distribution(axis) for key, axis in self.search.axes.items()},
            )
        )
        return Claim(_trial(self._frozen(number)), lock)

    def _next_point(self, trials: list[Trial]) -> tuple[Point | None, dict[str, Any]]:
        """The first point that no trial has, and its values as Optuna keeps them."""
        begun = {trial.point for trial in trials}
        index = next((index for index in range(self.size) if index not in begun), None)
        if index is None:
            return None, {}
        if self._points is not None:
            point = self._points[index]
            return point, {key: _internal(axis, point.settings[key]) for key, axis in self.search.axes.items()}
        params = sample(self, index, self._study.get_trials(deepcopy=False))
        if params is None:
            return None, {}
        return Point(index, {key: _external(axis, params[key]) for key, axis in self.search.axes.items()}), params

    def _trial_id(self, number: int) -> int:
        return int(self._storage.get_trial_id_from_study_id_trial_number(self._id, number))

    def _frozen(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._trial_id(number))


def sample(study: Study, index: int, earlier: list[FrozenTrial]) -> dict[str, Any] | None:
    """Draws one point, on a copy in memory, so that the study on disk never holds half of one.

    The seed is that of the search and the index: whatever was interrupted before, a random search has the same points.

    Args:
        study: Its search and direction.
        index: Of the point.
        earlier: The trials so far; TPE learns from them.

    Returns:
        Key to value as Optuna keeps it; None where a hundred draws gave only points that there are already.
    """
    search = study.search
    return _sample(search.sampler, search.seed, study.direction, search.axes, index, earlier)


def drawn_points(seed: int, axes: dict[str, Axis], count: int) -> list[Point]:
    """The points of a random search, which depend on nothing but the seed and the axes.

    Raises:
        ConfigError: Optuna is not installed.
    """
    optuna = require_optuna()
    points: list[Point] = []
    earlier: list[FrozenTrial] = []
    distributions = {key: _distribution(axis) for key, axis in axes.items()}
    for index in range(count):
        params = _sample("random", seed, "maximize", axes, index, earlier)
        if params is None:
            break
        earlier.append(optuna.trial.create_trial(value=0.0, params=params, distributions=distributions))
        points.append(Point(index, {key: _external(axis, params[key]) for key, axis in axes.items()}))
    return points


def _sample(
    sampler: str, seed: int, direction: str, axes: dict[str, Axis], index: int, earlier: list[FrozenTrial]
) -> dict[str, Any] | None:
    optuna = require_optuna()
    known = [trial.params for trial in earlier]
    distributions = {key: _distribution(axis) for key, axis in axes.items()}
    for attempt in range(_DRAWS):
        number = derive(seed, "point", index, attempt) % 2**32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "experimental": the liar, which keeps processes from the same point
            chooser = (
                optuna.samplers.TPESampler(seed=number, constant_liar=True)
                if sampler == "tpe"
                else optuna.samplers.RandomSampler(seed=number)
            )
            copy = optuna.create_study(sampler=chooser, direction=direction)
            if sampler == "tpe":
                copy.add_trials(earlier)
            params: dict[str, Any] = copy.ask(fixed_distributions=distributions).params
        if params not in known:
            return params
    return None


def _distribution(axis: Axis) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(axis, Range):
        return CategoricalDistribution([label(value) for value in axis])
    last = axis.high if axis.step is None else axis.values()[-1]  # Optuna wants whole steps up to the end
    if isinstance(axis.low, int) and isinstance(last, int):
        return IntDistribution(axis.low, last, log=axis.log, step=int(axis.step or 1))
    return FloatDistribution(axis.low, last, log=axis.log, step=axis.step)


def _internal(axis: Axis, value: Any) -> Any:
    return value if isinstance(axis, Range) else label(value)


def _external(axis: Axis, value: Any) -> Any:
    if isinstance(axis, Range):
        return float(f"{value:.12g}") if axis.step is not None and isinstance(value, float) else value
    return next(choice for choice in axis if label(choice) == value)


def _trial(frozen: FrozenTrial) -> Trial:
    facts = frozen.user_attrs
    return Trial(
        frozen.number, _STATES[frozen.state.name], facts["point"], facts["settings"], frozen.value,
        dict(frozen.intermediate_values), facts.get("message", ""), facts.get("retry_of"), facts.get("pruned_at"),
        facts.get("seconds"),
    )  # fmt: skip


def _pruner(kind: str, after: int, startup: int) -> optuna.pruners.BasePruner:
    from optuna import pruners

    if kind == "median":
        return pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=after)
    if kind == "halving":
        return pruners.SuccessiveHalvingPruner(min_resource=after)
    return pruners.NopPruner()


class _JournalLock:
    """Optuna's lock of its journal: one that ends with its process, and cuts off a row that a kill had torn."""

    def __init__(self, place: StudyPlace) -> None:
        self._lock, self._journal = place.journal_lock(), place.journal

    def acquire(self) -> bool:
        """Waits for the lock; True."""
        self._lock.take(wait=True)
        cut_torn_row(self._journal)
        return True

    def release(self) -> None:
        """Gives it back."""
        self._lock.release()


@contextmanager
def _journal_errors(place: StudyPlace) -> Iterator[None]:
    """Tells a damaged journal by its name."""
    try:
        yield
    except ValueError as error:
        raise CheckpointError(
            "the journal of this study is damaged", where=str(place.journal), found=str(error).splitlines()[0],
            fix="put a copy of it back, or begin another study: `--name NAME`; the runs below trials/ are whole",
        ) from error  # fmt: skip
