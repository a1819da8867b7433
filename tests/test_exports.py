"""The names of the Python interface, which cost nothing until they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import segtune
from segtune import experiment
from segtune.engine import dense_predictor, predictor


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
