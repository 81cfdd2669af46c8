# make demo        installs into .venv and trains MAE on 5,000 digits
# make test        installs and runs the checks; the agreement of devices and a whole run of
#                  the laptop, for one method of every shape and for those that changed since
#                  `make test-all`, and two steps of the published settings of the latter
# make test-all    runs all the checks, and writes tests/full-tier.json
# make test-fast   the developers' lane: the house, and one method of every shape;
#                  ALSO="tests -k simclr" adds what you changed
# make test-papers rehearses three published settings at their real sizes;
#                  PAPERS="byol:paper gan:ring" chooses others
# make test-method runs one method's tests: M=byol, its contract, its own and its experiment
# make results     runs what docs/results.md lacks, for hours, and writes it
# make bench       installs torch, lightly and other peers into .venv-bench, measures jssl
#                  beside them for half an hour, and writes benchmarks/RESULTS.md;
#                  ONLY="rbm-cd views-28-grey" measures these anew, and
#                  LABEL=jax-0.12 BENCH=.venv-bench-12 keeps another environment's apart
# PYTHON=python3.12 make ... chooses another Python (3.11 or newer)

PYTHON ?= python3
VENV ?= .venv
BENCH ?= .venv-bench
PAPERS ?= mae:paper moco:paper simclr:cifar
BIN = $(VENV)/bin
REHEARSED = tests/papers_test.py::test_a_published_setting_reaches_its_end
CACHE = $(CURDIR)/.cache
CACHED = JSSL_CACHE=$(CACHE)/tests JAX_COMPILATION_CACHE_DIR=$(CACHE)/xla
PYTEST = $(CACHED) $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: demo results bench test test-all test-fast test-papers test-method install install-test clean

demo: install
	$(BIN)/python -m jssl.main --config=experiments/mae.py

test: install-test
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) --doctest-modules -m "not learning and not settled and not papers"

test-all: install-test
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) --doctest-modules -m "not learning and not papers" --settle

test-fast: install-test
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) -m "not learning and not slow and not papers" tests/*_test.py tests/methods tests/evals tests/data
	$(if $(ALSO),$(PYTEST) -m "not learning" $(ALSO))

test-papers: install-test
	$(CACHED) $(BIN)/python -m pytest -v -m papers $(foreach name,$(PAPERS),"$(REHEARSED)[$(name)]")

test-method: install-test
	$(if $(M),,$(error test-method needs a method: make test-method M=byol))
	$(PYTEST) tests/methods/*/$(M)_test.py tests/contract_test.py tests/experiments_test.py -m "not learning" -k "$(M)"

results: install
	$(BIN)/python benchmarks/results.py run
	$(BIN)/python benchmarks/results.py table > docs/results.md

bench: $(BENCH)/.installed
	PYTHONPATH=benchmarks $(BENCH)/bin/python -m peers run $(if $(ONLY),--only $(ONLY)) $(if $(LABEL),--label $(LABEL))

install: $(VENV)/.installed
install-test: $(VENV)/.installed-test

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt setup.cfg | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[run]"
	touch $@

$(VENV)/.installed-test: requirements.txt setup.cfg | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	touch $@ $(VENV)/.installed

$(BENCH)/.installed: requirements.txt setup.cfg
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[bench]"
	touch $@

clean:
	rm -rf $(VENV) $(BENCH) .cache runs build *.egg-info
