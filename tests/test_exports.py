"""The names of the Python interface, which cost nothing until they are used, and what is installed for them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import segtune
from segtune import experiment
from segtune.engine import dense_predictor, predictor

ROOT = Path(__file__).resolve().parents[1]


def test_the_names_are_those_of_the_engine() -> None:
    assert segtune.Predictor is predictor.Predictor
    assert segtune.DensePredictor is dense_predictor.DensePredictor
    assert experiment.DensePrediction is dense_predictor.DensePrediction
    for package in (segtune, experiment):
        assert all(getattr(package, name) for name in package.__all__)
        with pytest.raises(AttributeError, match="nothing_of_the_kind"):
            package.nothing_of_the_kind  # noqa: B018


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, segtune, segtune.experiment; sys.exit('torch' in sys.modules or 'pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def _imported() -> set[str]:
    """The first part of the name of every module that the package imports, also inside functions."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "src").rglob("*.py"))
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    return {name.partition(".")[0] for name in names}


def test_an_extra_exists_only_where_code_uses_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: of for name, of in project["optional-dependencies"].items() if name != "dev"}
    wanted = {name: {re.split(r"[<>=\[ ]", package)[0] for package in of} for name, of in extras.items()}
    assert extras
    assert {name: packages - _imported() for name, packages in wanted.items() if packages - _imported()} == {}


def test_the_pages_name_only_extras_that_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    texts = [
        path.read_text(encoding="utf-8") for path in (*(ROOT / "docs").glob("*.md"), *(ROOT / "src").rglob("*.py"))
    ]
    named = {name for text in texts for name in re.findall(r"extras? `(\w+)`|segtune\[(\w+)\]", text) for name in name}
    assert named - {"", *extras} == set()
    assert named & {*extras}
