"""`segtune config`: what a recipe amounts to, how two differ, and what may stand in one."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import typer

from segtune.cli.output import echo

app = typer.Typer(help="Show, compare and describe configurations.", no_args_is_help=True, rich_markup_mode=None)
Task = Literal["reasoning", "dense"]
"""What a run segments."""

_RECIPE = "Name of a shipped recipe, a YAML or JSON file, or a run directory."


@app.command("show")
def show(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help=_RECIPE)],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings over the recipe's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of YAML.")] = False,
) -> None:
    """Print the whole configuration that a recipe gives, defaults written out.

    \b
    Example:
      segtune config show quickstart optim.lr=1e-4
    """
    from segtune.config import load_recipe
    from segtune.core.config import dump_yaml

    config = load_recipe(recipe, settings or [])
    text = json.dumps(config.model_dump(mode="json"), indent=2, ensure_ascii=False) if as_json else dump_yaml(config)
    echo(text.rstrip("\n"))


@app.command("diff")
def diff(
    first: Annotated[str, typer.Argument(metavar="A", help=_RECIPE)],
    second: Annotated[str, typer.Argument(metavar="B", help=_RECIPE)],
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of {key, a, b}.")] = False,
) -> None:
    """List the settings in which two recipes or runs differ.

    \b
    Example:
      segtune config diff quickstart runs/first
    """
    from segtune.config import load_recipe
    from segtune.core import config

    rows = config.diff(load_recipe(first, []), load_recipe(second, []))
    if as_json:
        echo(json.dumps([{"key": key, "a": a, "b": b} for key, a, b in rows], indent=2, ensure_ascii=False))
    elif not rows:
        echo("no difference")
    else:
        echo("\n".join(f"{key}: {_short(a)} -> {_short(b)}" for key, a, b in rows))


@app.command("schema")
def schema(
    task: Annotated[
        Task | None, typer.Option("--task", metavar="TASK", help="reasoning or dense; default both, told by task.")
    ] = None,
) -> None:
    """Print the JSON schema of a recipe, for editors and other programs.

    \b
    Example:
      segtune config schema > segtune.schema.json
      segtune config schema --task dense
    """
    from segtune.config import recipe_schema

    echo(json.dumps(recipe_schema(task), indent=2, ensure_ascii=False))


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
