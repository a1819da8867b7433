"""The shape of the code: which layer imports which, sizes, types and docstrings. Reads the source, imports nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "segtune"
FILES = sorted(SOURCE.rglob("*.py"))
MAX_LINES, MAX_FUNCTION = 350, 60

SIBLINGS = {"data", "models", "losses", "metrics"}
MAY_IMPORT = {
    "core": set(),
    "ops": {"core"},
    **{sibling: {"core", "ops"} for sibling in SIBLINGS},
    "engine": {"core", "ops"} | SIBLINGS,
    "config": {"core", "ops", "engine"} | SIBLINGS,
    "experiment": {"core", "ops", "engine", "config", "reports"} | SIBLINGS,
    "sweep": {"core", "config", "experiment", "reports"},
    "reports": {"core"},
    "cli": {"core", "ops", "engine", "config", "experiment", "sweep", "reports", "demo", "segtune"} | SIBLINGS,
    "demo": {"core", "config", "experiment", "reports"},
    "segtune": {"experiment"},
    "__main__": {"cli"},
}
HEAVY = {"torch", "transformers", "accelerate", "peft", "safetensors", "bitsandbytes", "matplotlib"}
TORCH_IN_CORE = {"segtune.core.types"}


def _module(path: Path) -> str:
    parts = ["segtune", *path.relative_to(SOURCE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(path): path for path in FILES}


def _layer(module: str) -> str:
    return module.split(".")[1] if "." in module else "segtune"


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _statements(node: ast.AST, *, functions: bool, typing: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
            continue
        hidden = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not functions
        if not hidden and (typing or not _is_type_checking(child)):
            yield from _statements(child, functions=functions, typing=typing)


@cache
def imported(module: str, *, functions: bool, typing: bool) -> frozenset[str]:
    """What a module imports: full names; a name imported from a package counts as the submodule where it is one."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names = set()
    for node in _statements(_tree(path), functions=functions, typing=typing):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
            continue
        base = ".".join(package.split(".")[: len(package.split(".")) + 1 - node.level]) if node.level else ""
        start = ".".join(part for part in (base, node.module) if part)
        for alias in node.names:
            full = f"{start}.{alias.name}"
            names.add(full if full in MODULES else start)
    return frozenset(names)


def _at_import(module: str) -> set[str]:
    """All modules of the package, and outside packages, that importing `module` loads."""
    loaded: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in loaded:
            continue
        loaded.add(name)
        if name in MODULES:
            parents = [name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1)]
            waiting += [*parents, *imported(name, functions=False, typing=False)]
    return loaded


def _outside(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names} - {"segtune"}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    layer = _layer(module)
    assert layer in MAY_IMPORT, f"{layer} has no place among the layers"
    # the command line may import lazily whatever it calls; everywhere else a hidden import is an import
    names = imported(module, functions=layer != "cli", typing=True)
    layers = {_layer(name) for name in names if name.split(".")[0] == "segtune"} - {layer}
    assert layers <= MAY_IMPORT[layer], f"{module} imports {sorted(layers - MAY_IMPORT[layer])}"


def test_no_import_cycles() -> None:
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, "a cycle: " + " -> ".join((*above[above.index(module) :], module))
        if module in done or module not in MODULES:
            return
        lazy = _layer(module) not in ("cli", "segtune")
        for name in sorted(imported(module, functions=lazy, typing=False)):
            visit(name, (*above, module))
        done.add(module)

    for module in MODULES:
        visit(module, ())


def _light_modules() -> list[str]:
    def is_light(module: str) -> bool:
        return (
            MODULES[module].name == "__init__.py"
            or module.endswith(".config")
            or _layer(module) in ("cli", "reports")
            or (_layer(module) == "core" and module not in TORCH_IN_CORE)
        )

    return [module for module in MODULES if is_light(module)]


@pytest.mark.parametrize("module", _light_modules())
def test_loads_nothing_heavy(module: str) -> None:
    heavy = _outside(_at_import(module)) & (HEAVY - {"matplotlib"} if _layer(module) == "reports" else HEAVY)
    assert not heavy, f"importing {module} loads {sorted(heavy)}"


def test_torchvision_is_never_imported() -> None:
    users = [name for name in MODULES if "torchvision" in _outside(set(imported(name, functions=True, typing=True)))]
    assert not users


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_sizes(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES
    long = [
        f"{node.name} ({node.end_lineno - node.lineno + 1} lines)"
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION
    ]
    assert not long


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_no_decorator_stands_twice(path: Path) -> None:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            marks = [ast.unparse(mark) for mark in node.decorator_list]
            assert len(set(marks)) == len(marks), f"{node.name}: {marks}"


def _public(node: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield prefix + child.name, child
            yield from _public(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
            yield prefix + child.name, child


def _untyped(function: ast.FunctionDef | ast.AsyncFunctionDef, *, method: bool) -> list[str]:
    arguments = function.args
    plain = [*arguments.posonlyargs, *arguments.args]
    static = any(isinstance(mark, ast.Name) and mark.id == "staticmethod" for mark in function.decorator_list)
    named = [*plain[1 if method and not static else 0 :], *arguments.kwonlyargs]
    named += [extra for extra in (arguments.vararg, arguments.kwarg) if extra]
    return [item.arg for item in named if item.annotation is None] + (["return"] if function.returns is None else [])


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_public_names_have_types_and_docstrings(path: Path) -> None:
    tree = _tree(path)
    problems = [] if ast.get_docstring(tree) else ["the module has no docstring"]
    for name, node in _public(tree):
        marks = [ast.unparse(mark) for mark in getattr(node, "decorator_list", [])]
        overload = any(mark.endswith(("overload", "override", ".setter")) for mark in marks)
        if not ast.get_docstring(node) and not overload:  # type: ignore[arg-type]
            problems.append(f"{name} has no docstring")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            problems += [f"{name} lacks the type of {item}" for item in _untyped(node, method="." in name)]
    assert not problems


def test_every_package_says_what_lives_in_it() -> None:
    folders = {path.parent for path in FILES}
    missing = [str(folder.relative_to(SOURCE)) for folder in folders if not (folder / "__init__.py").exists()]
    assert not missing
