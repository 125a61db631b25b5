# Everything runs from one virtual environment, made on first use and pinned by constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
RUFF_CHECK := $(BIN)/ruff check hjbbench baselines tasks tests

.PHONY: bench test lint format perf torture report clean install
.DEFAULT_GOAL := bench

bench: $(READY)            ## run the quick suite and write its report
	$(BIN)/hjbbench run quick
	$(BIN)/hjbbench report results/quick

test: $(READY)             ## the whole test suite
	$(BIN)/pytest

lint: $(READY)             ## style, format, types
	$(RUFF_CHECK)
	$(BIN)/ruff format --check hjbbench baselines tasks tests
	$(BIN)/mypy

format: $(READY)
	$(RUFF_CHECK) --fix
	$(BIN)/ruff format hjbbench baselines tasks tests

perf: $(READY)             ## speed figures against their limits
	$(BIN)/python -m tests.perf

torture: $(READY)          ## kills, lost nodes, full disks, nonsense: reliability figures against their limits
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray]'
	$(BIN)/python -m tests.torture

report: $(READY)           ## rewrite the report of the quick suite
	$(BIN)/hjbbench report results/quick

install: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hjbbench needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:                     ## remove the environment and caches; results stay
	rm -rf .venv build *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
