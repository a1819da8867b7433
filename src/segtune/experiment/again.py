"""The same command again: `--resume auto` goes on with the run that it began, or begins it.

A scheduler that has taken a machine away starts the same command later. What it finds is a run that is complete, one
that goes on, one that was killed before it had written anything, or none.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from segtune.config import AnyConfig, DenseExperimentConfig, ExperimentConfig, validate_run
from segtune.core import rundir as names
from segtune.core.config import diff, merge_overrides
from segtune.core.errors import SegtuneError
from segtune.core.rundir import RunDir
from segtune.core.yaml_files import load_mapping
from segtune.engine.dense_loading import absolute_paths
from segtune.engine.loading import FROM_NOTHING, RUN_BASE
from segtune.experiment import continuing
from segtune.models.weights import EMBEDDED

_UNBORN = frozenset({"base"})
"""What may lie in a run that was killed before its `config.yaml` was written, beside hidden files."""


def load_run(run: RunDir) -> AnyConfig:
    """What `config.yaml` of a run says."""
    return validate_run(load_mapping(run.config), where=str(run.config))


def changed(run: RunDir, found: AnyConfig, overrides: Sequence[str], wanted: AnyConfig | None) -> AnyConfig:
    """The configuration with which a run is asked to go on.

    Args:
        run: The run.
        found: What its `config.yaml` says.
        overrides: `key=value` texts.
        wanted: The configuration of a whole command, which has the overrides in it; None lays them over `found`.
    """
    if wanted is not None:
        return settled_as(wanted, found)
    where = f"{run.config} with {' '.join(overrides)}"
    return validate_run(merge_overrides(found.model_dump(mode="json"), overrides), where=where)


def settled_as(wanted: AnyConfig, found: AnyConfig) -> AnyConfig:
    """A configuration with what a run fills in when it begins, and the name and place of that run."""
    place = {"run": wanted.run.model_copy(update={"name": found.run.name, "root": found.run.root})}
    if isinstance(wanted, DenseExperimentConfig):
        return wanted.model_copy(update={**place, "model": absolute_paths(wanted.model)})
    if not isinstance(found, ExperimentConfig):
        return wanted.model_copy(update=place)
    base, hidden = wanted.model.base, wanted.model.seg_hidden
    if base == FROM_NOTHING:
        base = RUN_BASE
    elif base is not None and base not in EMBEDDED:
        base = os.path.abspath(base)
    hidden = found.model.seg_hidden if hidden is None else hidden
    model = wanted.model.model_copy(update={"base": base, "seg_hidden": hidden})
    return wanted.model_copy(update={**place, "model": model})


def find_run(config: AnyConfig, overrides: Sequence[str]) -> Path | None:
    """The run with which a command goes on; None where it has to begin one.

    Args:
        config: The configuration of the command. With a `run.name` it is that run, whatever its settings; without one
            it is the newest run of this recipe that is not complete, is not being trained and has these settings.
        overrides: What the command line names.

    Returns:
        Its directory. A directory that a killed process had made and not yet written into is removed.
    """
    root = Path(config.run.root)
    if config.run.name is not None:
        path = root / config.run.name
        return None if not path.exists() or _removed_unborn(path) else path
    return next(_fitting(root, config, overrides), None)


def _fitting(root: Path, config: AnyConfig, overrides: Sequence[str]) -> Iterator[Path]:
    """The runs that a command without a name may go on with, the newest first."""
    there = [path for path in root.glob("*") if (path / names.CONFIG).is_file()]
    for path in sorted(there, key=lambda path: (path / names.CONFIG).stat().st_mtime, reverse=True):
        run = RunDir(path)
        if (path / names.CARD).is_file():
            continue
        with suppress(SegtuneError):  # damaged, of another kind, with other settings, or held by another process
            found = load_run(run)
            if type(found) is not type(config) or found.recipe != config.recipe:
                continue
            continuing.require_allowed(run, diff(found, settled_as(config, found)), overrides, digests=True)
            with run.lock():
                pass
            yield path


def _removed_unborn(path: Path) -> bool:
    """Removes what a process left that was killed before it had written the configuration; whether there was that."""
    if not path.is_dir() or (path / names.CONFIG).is_file():
        return False
    if any(not name.startswith(".") and name not in _UNBORN for name in os.listdir(path)):
        return False
    with RunDir(path):  # refused where another process is only just beginning
        shutil.rmtree(path)
    return True
