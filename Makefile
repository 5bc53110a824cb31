# Two commands from a fresh machine: `make bench` answers the question, `make test` checks the code. Each sets itself up.
PYTHON ?= python3
VENV   := .venv
JOBS   ?= 2
RUN    := $(VENV)/bin/python -m

.PHONY: bench smoke gate gpu test test-all numerics mutation audit docs clean

bench: $(VENV)/installed  ## the benchmark, profile quick: tables in reports/latest/
	$(RUN) pytest bench -v --profile quick

smoke: $(VENV)/installed  ## the short benchmark for CI
	$(RUN) pytest bench --profile smoke

gate: $(VENV)/installed  ## the short benchmark held against its baseline; the report goes to .dipddpm/gate
	$(RUN) pytest bench --profile smoke --baseline baselines/smoke.json --results .dipddpm/gate

gpu:  ## OUT=dir [WHEELS=dir] [PART=1|2]: what needs a GPU, with the python3 that is there; .ci/gpu --list says what
	$(if $(OUT),,$(error no folder for logs and results: make gpu OUT=DIR))
	$(PYTHON) .ci/gpu --out "$(OUT)" $(if $(WHEELS),--wheels "$(WHEELS)") --part $(or $(PART),1)

test: $(VENV)/installed-dev  ## linter, types and tests, these in JOBS processes of one thread
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	OMP_NUM_THREADS=1 $(RUN) pytest tests -m "not long" -n $(JOBS) --dist loadfile --durations=10

test-all: $(VENV)/installed-dev  ## all tests, those that take minutes or large extras too: the nightly workflow runs it
	$(RUN) pip install --quiet --editable '.[dev,mlflow,peers,wandb]'
	$(RUN) pytest tests --durations=20

numerics: $(VENV)/installed-dev  ## the tests that compare numbers, with the instructions of a CPU without AVX-512
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 $(RUN) pytest tests -m "numerics and not long"

mutation: $(VENV)/installed-dev  ## how many changes of the code that decides no test notices: docs/mutation.md
	$(RUN) pip install --quiet 'mutmut>=3.8'
	$(RUN) mutmut run --max-children 2
	$(RUN) mutmut results

audit: $(VENV)/installed-dev  ## known vulnerabilities of what is installed
	$(RUN) pip install --quiet pip-audit
	$(RUN) pip_audit --skip-editable

docs: $(VENV)/installed  ## the documentation as a site, in build/site: strict, without a network once its tools are there
	$(RUN) pip install --quiet --editable '.[docs]'
	$(RUN) mkdocs build --strict

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
