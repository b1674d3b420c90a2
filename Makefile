# make demo and make test do all the set-up on a machine with Python 3.11 (or 3.12, 3.13) and git.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test check docs lock newest clean

help:
	@echo "make demo    the whole pipeline on synthetic posters"
	@echo "make test    the test suite"
	@echo "make check   style, types, import direction"
	@echo "make docs    the site, into site/"
	@echo "make lock    requirements.lock and conda.yaml anew, with the newest versions (needs uv)"
	@echo "make newest  tries the newest versions of everything, and reports"
	@echo "make clean   remove the virtual environment"

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "poster-ml needs Python 3.11, 3.12 or 3.13; found " + sys.version.split()[0] + ": call make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $(READY)

demo: $(READY)
	$(BIN)/poster-ml demo

test: $(READY)
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY)
	$(BIN)/python -m typer poster_ml.cli utils docs --name poster-ml --title "Command line" --output docs/commands.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lock: $(READY)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --extra dev --extra dashboard --extra docs pyproject.toml --upgrade --output-file requirements.lock
	$(BIN)/python scripts/conda_yaml.py

newest:
	PYTHON=$(PYTHON) bash scripts/newest.sh

clean:
	rm -rf $(VENV)
