"""The same study on a Ray cluster: several processes of it, wherever there is room, the journal on a shared disk.

Needs the extra `ray`. Of Ray it uses `init`, `cluster_resources`, `remote`, `get` and `cancel`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segtune.core.errors import ConfigError, Interrupted
from segtune.core.log import get_logger
from segtune.sweep.config import SearchConfig
from segtune.sweep.place import StudyPlace
from segtune.sweep.results import Results, write_results
from segtune.sweep.search import prepare, work
from segtune.sweep.study import Study
from segtune.sweep.training import COMMAND

_log = get_logger(__name__)


def search_on_ray(
    spec: SearchConfig,
    *,
    retry_failed: bool = False,
    workers: int | None = None,
    gpus: float | None = None,
    command: Sequence[str] = COMMAND,
) -> Results:
    """Begins or continues a study with trials that a Ray cluster runs.

    Args:
        spec: As for `search`. Its directory and the data must be on a disk that all nodes see under the same paths.
        retry_failed: As for `search`.
        workers: Trials at once; default as many as there are GPUs, else 1.
        gpus: GPUs of a trial; default 1 where the cluster has any, else 0.
        command: As for `search`, on every node.

    Returns:
        The study at the end.

    Raises:
        ConfigError: Ray is not installed, or as for `search`.
        Interrupted: Ctrl-C; the trials that run are asked to save themselves.
    """
    ray = require_ray()
    place = StudyPlace(prepare(spec).path.resolve())
    ray.init(ignore_reinit_error=True)  # RAY_ADDRESS, else a cluster on this machine
    there = float(ray.cluster_resources().get("GPU", 0))
    share = float(there > 0) if gpus is None else gpus
    count = workers or max(1, int(there / share) if share else 1)
    _log.info("%d trials at once on Ray, %g GPUs each", count, share)
    remote = ray.remote(num_cpus=1, num_gpus=share)(work_there)
    waiting = [remote.remote(str(place.path), str(Path.cwd()), retry_failed, tuple(command)) for _ in range(count)]
    try:
        ray.get(waiting)
    except KeyboardInterrupt as error:
        for one in waiting:
            ray.cancel(one)  # SIGINT to its process, which passes it on to the training
        raise Interrupted(
            "stopped; the trials that run save themselves", signal_number=2, fix="the same command goes on from here"
        ) from error
    return write_results(Study(place), figure=True)


def work_there(place: str, directory: str, retry_failed: bool, command: Sequence[str]) -> int:
    """What each process of the cluster runs: points of the study, until none is left to begin.

    Args:
        place: The study, as all nodes see it.
        directory: The working directory of the search, below which relative paths of the recipe are.
        retry_failed: As for `search`.
        command: As for `search`.

    Returns:
        How many points are complete, a number that Ray can send anywhere.
    """
    os.chdir(directory)
    return work(place, retry_failed=retry_failed, command=command).count("complete")


def require_ray() -> Any:
    """The module `ray`.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--ray needs Ray, which is not installed", fix="pip install 'segtune[ray,search]'") from error
    return ray
