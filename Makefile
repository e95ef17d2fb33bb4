# Every target sets up what it needs (.venv and the packages) and is safe to repeat.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo quick-start test test-all bench zoo lint format clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: $(READY)  ## make .venv and install gan-cli into it, editable, with the test tools

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "gan-cli needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(READY)  ## the main job: WGAN-GP on real handwritten digits, at most 3 minutes, then a grid of samples
	$(BIN)/gan-train experiment=demo hydra.run.dir=outputs/demo
	$(BIN)/gan-sample checkpoint=outputs/demo/checkpoints/last.pt n=64 seed=0 mode=grid output=outputs/demo/grid.png
	@$(BIN)/python -m gan_cli.runs.summary outputs/demo

test: $(READY)  ## the tests (5 to 9 minutes on 2 idle cores)
	$(BIN)/python -m pytest -n 2

test-all: $(READY)  ## the tests and the slow ones, which train for minutes
	$(BIN)/python -m pytest -m 'slow or not slow' --timeout 3600

quick-start:  ## run docs/quick_start.md line by line, from a clean install (about 9 minutes)
	$(PYTHON) tests/quick_start.py

bench: $(READY)  ## measure speed on MNIST and write the tables of docs/performance.md (15 minutes)
	$(BIN)/python -m gan_cli.benchmarks.page docs/performance.md

zoo: $(READY)  ## train every model and write docs/zoo.md (about 3 hours on 2 cores; QUICK=1: a smoke run)
	$(BIN)/gan-zoo zoo.jobs=2 $(if $(QUICK),zoo.seeds=[1] zoo.folder=outputs/quick_zoo zoo.output=outputs/quick_zoo/zoo.md minutes=0.05 evaluate_samples=200,zoo.folder=outputs/zoo/docs zoo.output=docs/zoo.md minutes=$(or $(MINUTES),3))

lint: $(READY)  ## ruff (check and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what make made; outputs/ stays
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .mypy_cache
