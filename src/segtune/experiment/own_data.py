"""The training data of a run, for the baselines that need them: those and no others.

A run records where its training data were and the digest of what they held. An evaluation may be started from another
folder or on another machine, where another dataset may lie under the same relative name; what has another digest is not
taken for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from segtune.config import AnyConfig, DenseExperimentConfig, validate_run
from segtune.core import rundir as names
from segtune.core.errors import SegtuneError
from segtune.core.files import read_json
from segtune.core.yaml_files import load_mapping
from segtune.data.config import DataConfig
from segtune.data.dense.config import DenseDataConfig
from segtune.data.dense.prepare import PreparedDense, prepare_dense
from segtune.data.prepare import Prepared, prepare
from segtune.data.spec import DataSpec, is_absent
from segtune.engine.run_images import run_of

NO_RUN = "this model belongs to no run, so its training data are not known"
"""Why a base, or a checkpoint that was copied out of its run, has no baselines from training data."""

P = TypeVar("P", Prepared, PreparedDense)


@dataclass(frozen=True, slots=True)
class OwnData(Generic[P]):
    """What a run was trained on, as far as it is there.

    Attributes:
        data: The training data, known by their digest; None where they are not there, or no fixed set.
        missing: Why they are missing where a baseline would need them, in words; empty where nothing is missing.
    """

    data: P | None
    missing: str = ""


def config_of(model: str) -> AnyConfig | None:
    """The configuration of the run that a model belongs to; None where it belongs to none."""
    run = run_of(model)
    return None if run is None else validate_run(load_mapping(run / names.CONFIG), where=str(run / names.CONFIG))


def reasoning_data(model: str) -> OwnData[Prepared]:
    """The training data of a reasoning run, whose mean masks are baselines."""
    config = config_of(model)
    if config is None:
        return OwnData(None, NO_RUN)
    if isinstance(config, DenseExperimentConfig):
        return OwnData(None)
    settings: DataConfig = config.data
    return _found(
        model,
        settings,
        lambda name, root: prepare(
            name, settings.model_copy(update={"root": root}), max_samples=settings.max_train_samples
        ),
    )


def dense_data(model: str) -> OwnData[PreparedDense]:
    """The training data of a dense run, whose most frequent class is a baseline."""
    config = config_of(model)
    if config is None:
        return OwnData(None, NO_RUN)
    if not isinstance(config, DenseExperimentConfig):
        return OwnData(None)
    settings: DenseDataConfig = config.data
    return _found(
        model,
        settings,
        lambda name, root: prepare_dense(
            name, settings.model_copy(update={"root": root}), max_images=settings.max_train_images
        ),
    )


def _found(model: str, settings: DataConfig | DenseDataConfig, opened: Callable[[str, str | None], P]) -> OwnData[P]:
    """Looks where the run was trained, then where its configuration says from here; only the digest decides."""
    run = run_of(model)
    row = _recorded(run / names.DATA) if run is not None else {}
    digest = row.get("sha256")
    if row.get("kind") == "stream" or settings.train.startswith("stream:"):
        return OwnData(None)  # no fixed set, so there are no means of one
    if not isinstance(digest, str) or not digest:
        return OwnData(None, "the run is from before digests were kept, so its training data cannot be known again")
    reasons = []
    for name, root in _places(row, settings):
        try:
            data = opened(name, root)
        except SegtuneError as error:
            reasons.append(f"{name} cannot be read ({error.message})")
            continue
        if data.digests.sha256 == digest:
            return OwnData(data)
        reasons.append(f"{name} holds other data than the run was trained on")
    where = row.get("path") or settings.train
    return OwnData(None, "; ".join(reasons) or f"the training data of the run are no longer at {where}")


def _places(row: Mapping[str, Any], settings: DataConfig | DenseDataConfig) -> Iterator[tuple[str, str | None]]:
    """Where the training data may lie: dataset and root, each once; nothing is drawn."""
    seen = set()
    if isinstance(row.get("path"), str) and not is_absent(row["path"]):
        spec = DataSpec(str(row.get("kind")), row["path"], str(row.get("split", "")))
        seen.add(Path(row["path"]).resolve())
        yield str(spec), row["root"] if isinstance(row.get("root"), str) else None
    try:
        directory = DataSpec.parse(settings.train, root=settings.root).directory
    except SegtuneError:
        return
    if directory is not None and not is_absent(directory) and directory.resolve() not in seen:
        yield settings.train, settings.root


def _recorded(path: Path) -> Mapping[str, Any]:
    """What a run wrote down about its training data; nothing where it wrote nothing."""
    whole = read_json(path) if path.is_file() else {}
    row = whole.get("train") if isinstance(whole, Mapping) else None
    return row if isinstance(row, Mapping) else {}
