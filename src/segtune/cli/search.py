"""`segtune search`: a grid file, point by point, resumable, and what came of it."""

from __future__ import annotations

import json
import os
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from segtune.cli.output import echo
from segtune.core.environment import command_prefix
from segtune.core.errors import ConfigError, Interrupted, SegtuneError

if TYPE_CHECKING:
    from segtune.sweep.config import SearchConfig
    from segtune.sweep.results import Results


def search(
    grid: Annotated[str, typer.Argument(metavar="GRID", help="A grid file, or the name of a shipped one.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings of all points, over the recipe's.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the study; default that of the grid file.")
    ] = None,
    root: Annotated[
        str | None, typer.Option("--root", metavar="DIR", help="Folder of the studies; default runs/searches.")
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", metavar="N", min=1, help="How many points are drawn (random, tpe).")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check every point and list them, train nothing.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run points that had failed again.")] = False,
    on_ray: Annotated[bool, typer.Option("--ray", help="Run the trials on a Ray cluster (extra `ray`).")] = False,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", min=1, help="With --ray: trials at once.")
    ] = None,
    gpus: Annotated[
        float | None, typer.Option("--gpus-per-trial", metavar="G", min=0, help="With --ray: GPUs of a trial.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of Markdown.")] = False,
) -> None:
    """Try many settings: a grid, random points or TPE.

    The same command continues what was stopped or killed, and may run several times at once.

    \b
    Examples:
      segtune search quickstart --dry-run
      segtune search grids/quickstart.yaml
      segtune search mine.yaml data.root=photos --name second
    """
    from segtune.sweep.grids import load_search

    if not on_ray and (workers or gpus):
        raise ConfigError("--workers and --gpus-per-trial belong to --ray", fix="or start the command several times")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("a search is not launched by torchrun or accelerate", fix="start it as it is, once or more")
    spec = load_search(grid, settings or [], study=name, root=root, trials=trials)
    if dry_run:
        from segtune.sweep.study import require_optuna

        _list_points(spec, as_json=as_json)
        require_optuna()  # the points of a grid are known without it, but none can be run
        return
    try:
        results = _searched(spec, retry_failed, on_ray, workers, gpus)
    except Interrupted as error:
        words = shlex.join(["segtune", "search", grid, *(settings or []), *_places(name, root, trials)])
        raise Interrupted(error.message, signal_number=error.exit_code - 128, fix=f"go on with `{words}`") from error
    _closing(results, as_json=as_json)


def _searched(spec: SearchConfig, retry_failed: bool, on_ray: bool, workers: int | None, gpus: float | None) -> Results:
    if on_ray:
        from segtune.sweep.cluster import search_on_ray

        return search_on_ray(spec, retry_failed=retry_failed, workers=workers, gpus=gpus)
    from segtune.sweep.search import search as run_search

    return run_search(spec, retry_failed=retry_failed)


def _places(name: str | None, root: str | None, trials: int | None) -> list[str]:
    given = (("--name", name), ("--root", root), ("--trials", trials))
    return [text for option, value in given if value is not None for text in (option, str(value))]


def _list_points(spec: SearchConfig, *, as_json: bool) -> None:
    """Every point of a grid or of a random search; of TPE, which learns on the way, what it draws from."""
    from segtune.sweep.search import plan

    spec, _, points = plan(spec)
    if as_json:
        listed = None if points is None else [point.settings for point in points]
        axes = spec.model_dump(mode="json")["axes"]
        about = {"metric": spec.metric, "sampler": spec.sampler, "axes": axes, "points": listed}
        echo(json.dumps(about, indent=2, ensure_ascii=False))
        return
    count = spec.budget if points is None else len(points)
    echo(f"{spec.name}: {count} points by {spec.sampler}, recipe {spec.recipe}, metric {spec.metric}")
    for point in points or []:
        echo(f"{point.index + 1:>5}  {point}")
    if points is None:
        for key, axis in spec.model_dump(mode="json", exclude_none=True)["axes"].items():
            echo(f"  {key}: {json.dumps(axis)}")


def _closing(results: Results, *, as_json: bool) -> None:
    """Ends with the leaderboard, where it is, and what has failed."""
    from segtune.sweep.results import BEST, leaderboard, paths

    if as_json:
        echo(json.dumps(results.to_json(), indent=2, ensure_ascii=False))
    else:
        echo(leaderboard(results))
        for path in paths(results.place):
            echo(str(path))
        if running := results.count("running"):
            echo(f"{running} points are still run by other processes")
        if results.best is not None:
            echo(f"try next:\n  {command_prefix()} train {shlex.quote(str(results.place.path / BEST))}")
    if failed := results.count("failed"):
        raise SegtuneError(
            f"{failed} of {results.size} points failed", where=str(results.place.path),
            fix=f"read {results.place.trials}/trial-*.log, then run them again with --retry-failed",
        )  # fmt: skip
