# Two commands: `make demo` shows the whole way on the embedded digits, `make test` checks everything.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKSPACE ?= workspace
PORT ?= 8501
WORKERS ?= 2

.PHONY: help demo app test lint types tests env env-dev browser wheel clean

help:
	@echo "make demo   make the environment, run every verb on the embedded digits, open the app"
	@echo "make app    open the app on WORKSPACE=$(WORKSPACE)"
	@echo "make test   make the environment, run lint, types and every test"
	@echo "make wheel  build the wheel into dist/"

demo: env
	$(BIN)/d2c demo --workspace $(WORKSPACE)
	$(BIN)/d2c app --workspace $(WORKSPACE) --port $(PORT)

app: env
	$(BIN)/d2c app --workspace $(WORKSPACE) --port $(PORT)

test: env-dev browser lint types tests

lint: env-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: env-dev
	$(BIN)/mypy

# Two files at a time, the browser walks last.
tests: env-dev browser
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

wheel: env-dev
	$(BIN)/python -m build --wheel --outdir dist .

env: $(VENV)/.app
env-dev: $(VENV)/.dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "d2c needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.app: $(VENV)/bin/python requirements.txt pyproject.toml
	$(BIN)/python -m pip install --quiet --requirement requirements.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.app
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

# A browser for the browser tests: the one that is there, else the distribution's, else Playwright's own.
browser: env-dev
	@$(BIN)/python -m tests.browser 2>/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
		|| $(BIN)/playwright install chromium

clean:
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis test-output
