# Every target sets itself up on a fresh machine: a virtual environment in .venv, made with pip.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint test-all test-slow test-cuda test-faults bench wheel
.DELETE_ON_ERROR:

.venv/memloc: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing memloc and what it needs into .venv (PyTorch is large: some minutes)"
	$(PIP) -e ".[report]"
	touch $@

.venv/test: .venv/memloc
	$(PIP) -e ".[test]"
	touch $@

demo: .venv/memloc  ## the main job on bundled images, into ./memloc-store, and the page that tells what it found
	$(BIN)/memloc sweep demo
	$(BIN)/memloc report demo

# Compiling the tests takes each of its processes longer than importing torch: so bytecode is kept, whatever is usual here.
test: .venv/test  ## everything that must hold before a change lands; lint and types run beside the tests
	@$(MAKE) --no-print-directory lint > .venv/lint.log 2>&1 & lint=$$!; \
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder; tests=$$?; \
	wait $$lint; lint=$$?; cat .venv/lint.log; test $$tests -eq 0 -a $$lint -eq 0

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

test-all: test test-slow test-faults  ## the longer checks too

test-slow: .venv/test
	$(BIN)/python -m pytest -m slow

test-cuda: .venv/test  ## the tests that need a GPU; without one they are skipped
	$(BIN)/python -m pytest -m cuda

test-faults: .venv/test  ## sweeps under kills, damage and storage that fails, in slices of an hour; writes docs/reliability.md
	$(BIN)/python -m tests.faults build/faults

bench: .venv/test  ## every engine against its plain reference; `python -m benchmarks --help` says how to ask for less
	$(BIN)/python -m benchmarks

wheel: .venv/memloc  ## dist/memloc-….whl, for `pip install` on other machines
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls dist/memloc-*.whl
