# Two commands from a fresh machine: `make bench` answers the question, `make test` checks the code. Each sets itself up.
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python -m

.PHONY: bench smoke gate test lint clean

bench: $(VENV)/installed  ## the benchmark, profile quick: tables in reports/latest/
	$(RUN) pytest bench -v --profile quick

smoke: $(VENV)/installed  ## the short benchmark for CI
	$(RUN) pytest bench --profile smoke

gate: $(VENV)/installed  ## the short benchmark held against its baseline; the report goes to .dipddpm/gate
	$(RUN) pytest bench --profile smoke --baseline baselines/smoke.json --results .dipddpm/gate

test: $(VENV)/installed-dev  ## linter, types and tests
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) pytest tests --durations=10

$(VENV)/installed: pyproject.toml
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(RUN) pip install --quiet --upgrade pip
	$(RUN) pip install --quiet --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(RUN) pip install --quiet --editable '.[dev]'
	touch $@

clean:  ## forget environment, cache, raw runs and the latest report
	rm -rf $(VENV) .dipddpm reports/latest
