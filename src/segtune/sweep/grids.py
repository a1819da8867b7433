"""Finding and reading grid files: shipped with the package or written by the user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segtune.core.config import nearest, validate
from segtune.core.errors import ConfigError
from segtune.core.recipe_files import shipped_recipes
from segtune.core.yaml_files import load_mapping
from segtune.sweep.config import SearchConfig

_SHIPPED = Path(__file__).resolve().parent.parent / "recipes" / "grids"


def shipped_grids() -> dict[str, Path]:
    """The grid files that come with the package: name to file, in order of name."""
    return {path.stem: path for path in sorted(_SHIPPED.glob("*.yaml"))}


def find_grid(name: str) -> Path:
    """The file of a grid.

    Args:
        name: A path, or the name of a shipped one: `NAME` or `grids/NAME.yaml`.

    Raises:
        ConfigError: There is none; the message lists the shipped ones and the nearest.
    """
    shipped, path = shipped_grids(), Path(name)
    if path.is_file():
        return path
    if path.parent in (Path(), Path("grids")) and path.suffix in ("", ".yaml") and path.stem in shipped:
        return shipped[path.stem]
    near = nearest(path.stem, shipped, 1)
    raise ConfigError(
        "no such grid file", where=name, expected=f"the path of a YAML file, or one of: {', '.join(shipped)}",
        fix=f"did you mean {near[0]}?" if near else "",
    )  # fmt: skip


def load_search(
    name: str,
    settings: Sequence[str] = (),
    *,
    study: str | None = None,
    root: str | None = None,
    trials: int | None = None,
) -> SearchConfig:
    """Reads a grid file; nothing of its recipe is read yet.

    Args:
        name: As for `find_grid`.
        settings: `key=value` of the recipe for all points, after the file's own overrides.
        study: Replaces the file's `name`.
        root: Replaces the file's `root`.
        trials: Replaces the file's `trials`.

    Returns:
        The search, its name filled in and its recipe found beside the grid file where it lies there.

    Raises:
        ConfigError: No such file, it is no grid file, or a value of it is wrong.
    """
    path = find_grid(name)
    mapping = load_mapping(path)
    if "axes" not in mapping:
        raise ConfigError(
            "not a grid file", where=str(path), expected="the keys `recipe` and `axes`",
            found=", ".join(list(mapping)[:6]) or "nothing",
            fix="docs/search.md shows one; a recipe is trained by `segtune train`",
        )  # fmt: skip
    search = validate(SearchConfig, mapping, where=str(path))
    beside = path.parent / search.recipe
    chosen = study or search.name or path.stem
    if chosen.startswith(".") or any(bad in chosen for bad in "/\\\0\n") or len(chosen.encode()) > 200:
        raise ConfigError("not a name for a study", where="name", found=repr(chosen), expected="one file name")
    changes = {
        "name": chosen,
        "root": root or search.root,
        "trials": trials or search.trials,
        "overrides": (*search.overrides, *settings),
        "recipe": str(beside) if search.recipe not in shipped_recipes() and beside.is_file() else search.recipe,
    }
    return validate(SearchConfig, {**search.model_dump(), **changes}, where=str(path))
