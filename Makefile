# Every target sets itself up on a fresh machine: a virtual environment in .venv, made with pip.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint test-all test-kill
.DELETE_ON_ERROR:

.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[test]"
	touch $@

demo: .venv/installed  ## the main job on bundled images, into ./memloc-store
	$(BIN)/memloc sweep demo

test: lint  ## everything that must hold before a change lands
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-all: test test-kill  ## the longer checks too
	$(BIN)/python -m pytest -m slow

test-kill: .venv/installed  ## kill -9 at random moments of the demo; writes docs/reliability.md
	$(BIN)/python -m pytest -m kill -s
