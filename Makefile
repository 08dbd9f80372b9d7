# `make demo` and `make test` need nothing installed by hand: they make .venv themselves.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
SHAPES := build/shapes
DEMO   := runs/multitask/demo

.PHONY: help setup demo test test-slow bench lint types format clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

setup: $(VENV)/installed  ## create .venv with the suite and its developer tools

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "onetrunk needs Python 3.11 or newer; '$(PYTHON)' is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	# setuptools warns that folders here are called like packages; they are mapped on purpose (docs/architecture.md)
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: setup  ## train five heads on one pretrained trunk, offline, look at pictures with all of them, and print the card
	$(BIN)/onetrunk data shapes --output $(SHAPES) --overwrite
	$(BIN)/onetrunk multitask train --config configs/multitask/shapes_efficientnet_lite0.yaml \
	  --data $(SHAPES) --output $(DEMO) --overwrite
	$(BIN)/onetrunk multitask predict --model $(DEMO) --images $(SHAPES)/images/test/0000[0-8]?.jpg \
	  --questions "how many shapes are there?" "is there a star?" --output $(DEMO)-pictures --overwrite
	$(BIN)/onetrunk multitask evaluate --model $(DEMO) --data $(SHAPES) --split test \
	  --output $(DEMO)-test --overwrite
	@echo "pictures   $(DEMO)-pictures: segmentation/overlays, and in detection, captioning and vqa the folder pictures"

test: setup  ## run the default test suite: minutes on two cores, no network, no GPU
	$(BIN)/pytest -n 2 -q

test-slow: setup  ## run the long tests too
	$(BIN)/pytest -n 2 -m "slow and not gpu"

bench: setup  ## measure the claims beside the peers and write benchmarks/RESULTS.md: about two and a half hours on two cores
	$(BIN)/python benchmarks/run_all.py

lint: setup  ## check format and style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## type-check the three packages through links that give them their installed names
	@mkdir -p build/types/onetrunk
	@for room in apps backbones datasets; do ln -sfn ../../../$$room build/types/onetrunk/$$room; done
	# from there, because seen from here `datasets` would be what other packages import by that name
	cd build/types && $(abspath $(BIN))/mypy --config-file ../../pyproject.toml

format: setup  ## put the code into the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what the targets made
	rm -rf $(VENV) build runs *.egg-info
