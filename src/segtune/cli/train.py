"""`segtune train`: a run from a recipe, or the continuation of one."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segtune.cli.launch import companions, end_with_parent, wanted_processes
from segtune.cli.output import echo
from segtune.core.environment import command_prefix
from segtune.core.errors import ConfigError, DataError
from segtune.core.log import get_logger
from segtune.core.recipe_files import shipped_recipes
from segtune.core.rundir import RunDir
from segtune.core.yaml_files import load_mapping

if TYPE_CHECKING:
    from segtune.config import DenseExperimentConfig
    from segtune.data.spec import DataSpec


_AUTO = "auto"
"""What stands for the run that the same command has begun."""


def train(
    recipe: Annotated[
        str | None, typer.Argument(metavar="RECIPE", help="Name of a shipped recipe, or a YAML or JSON file.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings over the recipe's, e.g. optim.lr=1e-4.")
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="RUN",
            help="Continue this run directory where it stopped; `auto`: the run that this same command began, if any.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check settings, machine, data and model, print the settings, train nothing."),
    ] = False,
) -> None:
    """Train a model from a recipe, and score it.

    \b
    Examples:
      segtune train quickstart
      segtune train own data.root=photos optim.lr=1e-4 run.name=first
      segtune train --resume runs/first
      segtune train --resume runs/first train.epochs=20
      segtune train own data.root=photos run.name=first --resume auto
    """
    end_with_parent()
    if resume is not None and resume != _AUTO:
        _resume(resume, [*([] if recipe is None else [recipe]), *(settings or [])], dry_run)
        return
    if recipe is None or ("=" in recipe and not Path(recipe).is_file()):
        names = ", ".join(shipped_recipes())
        raise ConfigError("which recipe?", expected=f"one of: {names}; or the path of a YAML file", found=recipe or "")
    from segtune.config import load_recipe

    config = load_recipe(recipe, settings or [])
    from segtune import experiment

    if dry_run:
        from segtune.core.config import dump_yaml

        for unknown in experiment.rehearse(config):
            get_logger(__name__).warning("not known: %s", unknown)
        echo(dump_yaml(config), nl=False)
        return
    count = wanted_processes(config.run.num_processes, config.train)
    again = [] if resume is None else ["--resume", _AUTO]
    with companions(
        count, ["train", recipe, *(settings or []), f"run.num_processes={count}", *again], config.run.ddp_timeout
    ):
        _closing(experiment.train(config) if resume is None else experiment.resume_or_train(config, settings or []))


def _resume(run: str, changes: list[str], dry_run: bool) -> None:
    """Continues a run that is named, perhaps with a few settings changed."""
    recipe = next((word for word in changes if "=" not in word), None)
    if recipe is not None or dry_run:
        raise ConfigError(
            "--resume RUN takes no recipe and no --dry-run: a run continues with the settings that it began with",
            found=recipe or "--dry-run",
            fix=f"`segtune train --resume {run}`; a whole command that is given again goes on with --resume auto",
        )
    found = RunDir.open(run)  # a wrong path is told before the seconds that the engine takes to load
    count, timeout = _begun_with(found)
    with companions(count, ["train", "--resume", run, *changes], timeout):
        from segtune import experiment

        _closing(experiment.resume(run, changes))


def _begun_with(run: RunDir) -> tuple[int, float]:
    """How many processes the command itself had started (1 where a launcher did, or none), and `run.ddp_timeout`."""
    section = load_mapping(run.config).get("run")
    known = section if isinstance(section, dict) else {}
    count, timeout = known.get("num_processes", 1), known.get("ddp_timeout", 600)
    return (
        count if isinstance(count, int) and count > 0 else 1,
        timeout if isinstance(timeout, int) and timeout > 0 else 600,
    )


def _closing(run: RunDir) -> None:
    """Ends with the scores, where the run is and what to do with it."""
    from segtune.config import load_recipe
    from segtune.data.spec import DataSpec
    from segtune.reports.summary import closing_lines

    for line in ["", *scores] if (scores := closing_lines(run)) else []:
        echo(line)
    config = load_recipe(str(run.config))
    data = config.data
    where = DataSpec.parse(data.val or data.train, root=data.root)
    call = command_prefix()
    path, scored = shlex.quote(str(run.path)), shlex.quote(str(where)) + _root(where, data.root)
    echo(f"\nrun directory: {run.path}")
    echo("try next:")
    if config.task == "dense":
        echo(f"  {call} predict {path} {_image(where)}")
        echo(f"  {call} evaluate {path} --data {scored}{_flip(run, config)} --overlays 12 --out scores")
        echo(f"  {call} data check DIR      # your own images and masks")
        return
    echo(f"  {call} predict {path} {_example(where, data.root)}")
    echo(f"  {call} evaluate {path} --data {scored} --mode both --overlays 12 --out scores")
    echo(f"  {call} data check DIR      # your own photographs and questions, before `{call} train own`")


def _flip(run: RunDir, config: DenseExperimentConfig) -> str:
    """The option for mirror images; nothing where `evaluate` would refuse it."""
    from segtune.engine.checkpoint_names import find_checkpoint

    checkpoint = find_checkpoint(str(run.path))
    told = {} if checkpoint is None else checkpoint.about
    tta = config.eval.tta.model_copy(update={"flip": True, "flip_vertical": False})
    try:
        tta.order(told.get("classes") or (), config.model.binary_classes, told.get("sided") or ())
    except ConfigError:
        return ""
    return " --flip"


def _root(spec: DataSpec, root: str | None) -> str:
    """The option without which links of the data would lead too far; nothing where the root is the dataset itself."""
    if root is None or spec.directory is None or Path(root).expanduser().resolve() == spec.directory.resolve():
        return ""
    return f" --root {shlex.quote(root)}"


def _image(spec: DataSpec) -> str:
    """A picture of the data as an argument; a placeholder where nothing lies on disk."""
    from segtune.data.images import SUFFIXES

    if spec.directory is None:
        return "IMAGE.jpg"
    place = spec.directory / spec.split
    for path in sorted(place.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file() and "masks" not in path.relative_to(place).parts:
            return shlex.quote(str(path))
    return "IMAGE.jpg"


def _example(spec: DataSpec, root: str | None) -> str:
    """A picture of the data with a question about it, as two arguments; placeholders where nothing lies on disk."""
    from segtune.data.sources.annotations import read_annotation
    from segtune.data.sources.listing import link_roots, list_files
    from segtune.data.sources.pairing import FilesByStem

    if spec.directory is not None:
        place = spec.directory / spec.split
        files = list_files(place, link_roots(spec.directory, root)).files
        annotations = FilesByStem(files, (".json",))
        for stem, picture in sorted(FilesByStem(files).partners(annotations.stems).items()):
            with contextlib.suppress(DataError):
                text = read_annotation(place / annotations.all_of(stem)[0]).texts[0]
                return f"{shlex.quote(str(place / picture))} {shlex.quote(text)}"
    return 'IMAGE.jpg "your question"'
