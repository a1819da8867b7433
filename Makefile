# make train    from a fresh clone to a trained, scored and shown model      make test   the tests
# The rules only call; what they call is in scripts/, .venv/ and the package.
PYTHON ?=
TORCH ?=
export PYTHON TORCH
SETUP = @bash scripts/setup.sh
BIN = .venv/bin
# two threads that spin on two shared cores are many times slower than one
ONE_THREAD = OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
PYTEST = $(ONE_THREAD) $(BIN)/python -m pytest
# a process a core, four at most: each needs about 1.5 GB; a file stays in one process, which trains its models once
WORKERS ?= -n auto --maxprocesses 4 --dist loadfile

.PHONY: help train test test-slow check format clean

help:
	@echo "make train      install, train the embedded model on the embedded data, score it (ARGS='key=value ...')"
	@echo "make test       install and run the tests (ARGS='tests/core -k name'; WORKERS= for one process)"
	@echo "make test-slow  the slow tests, and those of the extra quant, which it installs"
	@echo "make check      lint, format, types, layers"
	@echo "make clean      remove caches and build products; .venv and runs stay"

train:
	$(SETUP) train
	@OMP_WAIT_POLICY=passive $(BIN)/segtune train quickstart run.num_processes=auto $(ARGS)

test:
	$(SETUP) test
	@$(PYTEST) -q $(WORKERS) -m "not slow" $(ARGS)

test-slow:
	$(SETUP) slow
	@$(PYTEST) -q $(WORKERS) -m "(slow or quant) and not long" $(ARGS)

check:
	$(SETUP) test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST) -q tests/test_layers.py

format:
	$(SETUP) test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
	find src tests scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
