# make demo | make test | make repro | make survey | make study | make leaderboard | make bench | make docs | make check    (each installs what it needs into .venv first)

PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
PIPELINE := $(VENV)/.pipeline
ALL := $(VENV)/.all
# Bytecode is written as modules are first used, which takes less than to compile all; at once where use may not write.
BYTECODE := $(if $(PYTHONDONTWRITEBYTECODE),--compile,--no-compile)
export PATH := $(BIN):$(PATH)

.PHONY: help setup demo test repro survey study leaderboard bench docs check lock

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 20

setup: $(ALL)  ## create .venv and install all pinned packages

$(PIPELINE): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "privpipe needs Python 3.11, 3.12 or 3.13; set one: make setup PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(BYTECODE) --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(ALL): requirements-dev.lock $(PIPELINE)
	$(BIN)/python -m pip install --quiet $(BYTECODE) --requirement requirements-dev.lock
	touch $@

demo: $(PIPELINE)  ## the whole pipeline on images that the code draws: offline, 1 to 3 minutes
	tools/demo.sh

test: setup  ## the tests
	OMP_NUM_THREADS=1 python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder --durations=15 tests/pipeline tests

repro: $(PIPELINE)  ## the experiment of params.yaml on CIFAR-10 (downloads 170 MB; 5 to 15 minutes on 2 cores)
	dvc repro

survey: $(PIPELINE)  ## accuracy against measured privacy for many perturbations (about half an hour on 2 cores; goes on where it stopped)
	dvc --cd studies/survey repro
	cp studies/survey/results.csv metrics/survey.csv

study: $(PIPELINE)  ## the paper's whole grid and its figures (a GPU, or hours on 2 cores; goes on where it stopped)
	dvc --cd studies/paper repro

leaderboard: $(PIPELINE)  ## methods under the standard suite, 3 keys and 3 seeds each, as one page (hours on 2 cores; goes on where it stopped)
	dvc --cd studies/leaderboard repro
	@echo "studies/leaderboard/leaderboard.html"

bench: $(VENV)/.peers  ## how fast it is against what one would write without it: docs/performance.md (about 20 minutes)
	python -m benchmarks

$(VENV)/.peers: benchmarks/peers.txt $(ALL)
	$(BIN)/python -m pip install --quiet --no-deps --requirement benchmarks/peers.txt
	touch $@

docs: setup  ## the documents as a site to open from disk: build/docs/index.html
	python -m sphinx --fail-on-warning --keep-going --quiet --fresh-env --doctree-dir build/doctrees docs build/docs
	@echo "build/docs/index.html"

check: setup  ## ruff, mypy and the walls between the packages
	ruff check .
	ruff format --check .
	mypy
	lint-imports

lock: setup  ## pin the newest versions that pyproject.toml allows (needs uv)
	tools/lock.sh
