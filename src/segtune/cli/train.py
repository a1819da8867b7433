"""`segtune train`: a run from a recipe, or the continuation of one."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segtune.cli.launch import companions, end_with_parent, wanted_processes
from segtune.core.errors import ConfigError, DataError
from segtune.core.recipe_files import shipped_recipes
from segtune.core.rundir import RunDir
from segtune.core.yaml_files import load_mapping

if TYPE_CHECKING:
    from segtune.data.spec import DataSpec


def train(
    recipe: Annotated[
        str | None, typer.Argument(metavar="RECIPE", help="Name of a shipped recipe, or a YAML or JSON file.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings over the recipe's, e.g. optim.lr=1e-4.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="RUN", help="Continue this run directory where it stopped.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and print the configuration, train nothing.")
    ] = False,
) -> None:
    """Train a model from a recipe, and score it.

    \b
    Examples:
      segtune train quickstart
      segtune train own data.root=photos optim.lr=1e-4 run.name=first
      segtune train --resume runs/first
    """
    end_with_parent()
    if resume is not None:
        if recipe is not None or dry_run:
            raise ConfigError("--resume stands alone: a run continues with the settings that it began with")
        run = RunDir.open(resume)  # a wrong path is told before the seconds that the engine takes to load
        with companions(_begun_with(run), ["train", "--resume", str(resume)]):
            from segtune import experiment

            _closing(experiment.resume(resume))
        return
    if recipe is None or ("=" in recipe and not Path(recipe).is_file()):
        names = ", ".join(shipped_recipes())
        raise ConfigError("which recipe?", expected=f"one of: {names}; or the path of a YAML file", found=recipe or "")
    from segtune.config import load_recipe

    config = load_recipe(recipe, settings or [])
    if dry_run:
        from segtune.core.config import dump_yaml

        typer.echo(dump_yaml(config), nl=False)
        return
    count = wanted_processes(config.run.num_processes, config.train)
    with companions(count, ["train", recipe, *(settings or []), f"run.num_processes={count}"]):
        from segtune import experiment

        _closing(experiment.train(config))


def _begun_with(run: RunDir) -> int:
    """The number of processes that the command itself had started; 1 where a launcher was used or none was needed."""
    section = load_mapping(run.config).get("run")
    count = section.get("num_processes", 1) if isinstance(section, dict) else 1
    return count if isinstance(count, int) and count > 0 else 1


def _closing(run: RunDir) -> None:
    """Ends with the scores, where the run is and what to do with it."""
    from segtune.config import load_recipe
    from segtune.data.spec import DataSpec
    from segtune.reports.summary import closing_lines

    for line in ["", *scores] if (scores := closing_lines(run)) else []:
        typer.echo(line)
    config = load_recipe(str(run.config))
    data = config.data
    where = DataSpec.parse(data.val or data.train, root=data.root)
    path, scored = shlex.quote(str(run.path)), shlex.quote(str(where))
    typer.echo(f"\nrun directory: {run.path}")
    typer.echo("try next:")
    if config.task == "dense":
        typer.echo(f"  segtune predict {path} {_image(where)}")
        typer.echo(f"  segtune evaluate {path} --data {scored} --flip --overlays 12 --out scores")
        typer.echo("  segtune data check DIR      # your own images and masks")
        return
    typer.echo(f"  segtune predict {path} {_example(where)}")
    typer.echo(f"  segtune evaluate {path} --data {scored} --mode both --overlays 12 --out scores")
    typer.echo("  segtune data check DIR      # your own photographs and questions, before `segtune train own`")


def _image(spec: DataSpec) -> str:
    """A picture of the data as an argument; a placeholder where nothing lies on disk."""
    from segtune.data.images import SUFFIXES

    place = None if spec.directory is None else spec.directory / spec.split
    found = (path for path in sorted(place.rglob("*")) if path.suffix.lower() in SUFFIXES) if place else iter(())
    first = next((path for path in found if place is None or "masks" not in path.relative_to(place).parts), None)
    return "IMAGE.jpg" if first is None else shlex.quote(str(first))


def _example(spec: DataSpec) -> str:
    """A picture of the data with a question about it, as two arguments; placeholders where nothing lies on disk."""
    from segtune.data.images import SUFFIXES
    from segtune.data.sources.annotations import read_annotation

    place = None if spec.directory is None else spec.directory / spec.split
    for annotation in sorted(place.rglob("*.json")) if place is not None else []:
        images = [path for suffix in SUFFIXES if (path := annotation.with_suffix(suffix)).is_file()]
        with contextlib.suppress(DataError):
            if images:
                return f"{shlex.quote(str(images[0]))} {shlex.quote(read_annotation(annotation).texts[0])}"
    return 'IMAGE.jpg "your question"'
