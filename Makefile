# Each target makes the environment that it needs: `make demo` and `make test` work in a fresh clone.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
BIN := $(VENV)/bin

.PHONY: demo test cover check bench clean

demo: $(STAMP)
	$(BIN)/mvdefect demo --out mvdefect-demo --overwrite

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadscope

cover: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadscope --cov --cov-report=term --cov-fail-under=90

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python benchmarks/input.py
	$(BIN)/python benchmarks/duplicates.py scale
	$(BIN)/python benchmarks/audit.py
	$(BIN)/python benchmarks/evaluate.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/train_step.py
	$(BIN)/python benchmarks/fit.py --data "$${MVDEFECT_SHARED:-../shared}/data/magnetic_tile"

clean:
	rm -rf $(VENV) mvdefect-demo .mypy_cache .pytest_cache .ruff_cache build *.egg-info

# Installed anew when it is missing or when the metadata or the pinned versions have changed.
$(STAMP): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "mvdefect needs Python 3.11, 3.12 or 3.13, this is " + sys.version.split()[0] + ". Name one: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)
