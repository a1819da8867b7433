"""Finding and reading recipes: YAML files that describe a run, shipped with the package or written by the user.

A recipe may say `extends: NAME`; what it says itself wins. Nothing here knows what a recipe may contain.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segtune.core.config import merge, merge_overrides, nearest
from segtune.core.errors import ConfigError
from segtune.core.rundir import CONFIG
from segtune.core.yaml_files import load_mapping

_SHIPPED = Path(__file__).resolve().parent.parent / "recipes"
_SUFFIXES = (".yaml", ".yml", ".json")


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with the package: name to file, in order of name."""
    return {path.stem: path for path in sorted(_SHIPPED.glob("*.yaml"))}


def find_recipe(name: str | Path, beside: Path | None = None) -> Path:
    """The file of a recipe.

    Args:
        name: Name of a shipped recipe, path of a YAML or JSON file, or a run directory (its configuration).
        beside: The folder against which a relative path is read first (that of the recipe that extends this one).

    Raises:
        ConfigError: There is none; the message lists the shipped ones and the nearest.
    """
    shipped = shipped_recipes()
    if str(name) in shipped:
        return shipped[str(name)]
    for path in dict.fromkeys(((beside or Path()) / name, Path(name))):
        if path.is_dir() and (path / CONFIG).is_file():
            return path / CONFIG
        if path.is_file():
            return path
    near = nearest(Path(name).stem, shipped, 1)
    if Path(name).exists():
        found = "a folder that holds no run" if Path(name).is_dir() else "a pipe or device"
        raise ConfigError("not a recipe", where=str(name), expected="a YAML or JSON file, or a run", found=found)
    looks_like_a_path = Path(name).suffix.lower() in _SUFFIXES or len(Path(name).parts) > 1
    raise ConfigError(
        "no such file" if looks_like_a_path else "no such recipe",
        where=str(name),
        expected="a path to a YAML or JSON file, or one of: " + (", ".join(shipped) or "(none is shipped)"),
        fix=f"did you mean {near[0]}?" if near else "",
    )


def recipe_name(name: str | Path) -> str:
    """The short name of a recipe, for the names of its runs: of a path the file (or run directory) without suffix."""
    path = Path(name)
    return path.parent.resolve().name if path.name == CONFIG else path.stem if path.suffix in _SUFFIXES else path.name


def read_recipe(name: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """A recipe as plain data, with what it extends below it and the overrides on top.

    Args:
        name: As for `find_recipe`.
        overrides: `section.key=value`, as for `merge_overrides`.

    Raises:
        ConfigError: No such recipe, a file that is not well-formed, recipes that extend each other in a circle, or a
            malformed override.
    """
    return merge_overrides(_read(find_recipe(name), ()), overrides)


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    path = path.resolve()
    if path in above:
        circle = " -> ".join(item.name for item in (*above, path))
        raise ConfigError("recipes extend each other in a circle", where=str(path), found=circle)
    mapping = load_mapping(path)
    base = mapping.pop("extends", None)
    if base is None:
        return mapping
    if not isinstance(base, str):
        raise ConfigError(
            "one recipe is extended", where=f"{path}: extends", expected="a name or path", found=repr(base)
        )
    return merge(_read(find_recipe(base, path.parent), (*above, path)), mapping)
