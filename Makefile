# Everything below works from a fresh clone with Python 3.11+ and a package index, and nothing else.
PYTHON ?= python3
BIN := .venv/bin
# Tests start hundreds of processes: where each compiles rowvec again, that takes longer than the rest.
unexport PYTHONDONTWRITEBYTECODE

# `make` alone lists what there is: the words behind each ##.
.DEFAULT_GOAL := help
.PHONY: help install develop demo test quick torture coverage check scripts format docs package example-samples example-datasets example-products bench serve lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: .venv/installed ## .venv with what the demo needs, in locked versions
develop: .venv/developed ## and with what tests, docs and benchmarks need

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rowvec needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(PIP) -r requirements.lock
	$(PIP) --no-build-isolation -e .
	@touch $@

.venv/developed: .venv/installed requirements-dev.lock
	$(PIP) -r requirements-dev.lock
	@touch $@

demo: install ## a first result on rows that every machine has
	$(BIN)/rowvec demo

# Six processes on two cores: many tests wait for a process or a server. In the order of the folders the long ones come
# first, and the short ones fill up the end.
PYTEST_WORKERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 4)')
PYTEST := $(BIN)/pytest -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder

test: develop ## all tests; some of them: make test T=tests/unit/test_plan.py; how many at once: PYTEST_WORKERS=8
	$(PYTEST) $(T)

quick: develop ## the tests that start no process: unit tests and every store against the contract
	$(PYTEST) -m "not slow" -x tests/unit tests/contract

# Prints a table of faults tried, survived, lost.
TORTURE := property/test_convergence property/test_differential acceptance/test_kill acceptance/test_kill_events acceptance/test_kill_matrix \
  acceptance/test_paid_kill acceptance/test_pauses acceptance/test_fleet acceptance/test_fleet_hosts acceptance/test_secrets integration/test_network \
  contract/test_store_* integration/test_resources integration/test_injection integration/test_peers integration/test_embedded_kill
torture: develop ## everything that tries to break it, in its long form: an hour
	ROWVEC_TORTURE=1 ROWVEC_TORTURE_RESULT=benchmarks/results/torture.json \
	  $(BIN)/pytest -n 2 --dist worksteal --timeout 1200 $(TORTURE:%=tests/%.py)
	$(BIN)/python -m tests.torture

coverage: develop ## which lines and branches the tests pass; takes T= as well; pages in htmlcov/
	$(PYTEST) --cov --cov-report term:skip-covered --cov-report html $(T)

check: develop scripts ## ruff, mypy over code and tests, the layers, the lock files, the scripts of the page
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p rowvec
	$(BIN)/mypy tests
	$(BIN)/lint-imports
	$(BIN)/python tools/check_lock.py

# The scripts of the page need no build step: node is for this check alone.
NO_BIOME := "npm is missing or could not fetch Biome: the scripts of the page are not checked."
scripts: ## Biome over the scripts of the page, where npm can fetch it
	@if [ ! -e node_modules/.installed ] || [ package-lock.json -nt node_modules/.installed ]; then \
	  npm ci --silent --fetch-retries=1 --fetch-retry-mintimeout=1000 --fetch-timeout=30000 2>/dev/null \
	    && touch node_modules/.installed || { echo $(NO_BIOME); exit 0; }; \
	fi; \
	node_modules/.bin/biome lint --error-on-warnings src/rowvec/serve/page/static tests/scripts

format: develop ## put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: develop ## benchmarks: tables on the screen, JSON in benchmarks/results
	$(BIN)/python -m benchmarks

# Look at it with: python -m http.server -d site
docs: develop ## the site, into site/; broken links are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

package: develop ## wheel and sdist, into dist/
	$(BIN)/python -m build --no-isolation

example-samples: develop ## SQLite and a paid model, from nothing to search
	$(BIN)/python examples/samples/run.py

example-datasets: develop ## vectors in a table of one's own, Celery
	$(BIN)/python examples/datasets/run.py

example-products: develop ## dbt and pgvector
	$(BIN)/python examples/products/run.py

serve: install ## the API and the page over the rowvec.toml of this folder
	$(BIN)/rowvec serve

# The model package wants torch; its weights do not, so torch and its kin are overridden away. What is locked stays as it
# is: delete a line of requirements-dev.lock to renew it, or the file to renew all.
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --override requirements.override
lock: ## write the lock files again after a change of pyproject.toml; needs uv
	touch requirements-dev.lock && cp requirements-dev.lock requirements-dev.lock.before
	$(COMPILE) --constraint requirements-dev.lock.before --all-extras --group dev pyproject.toml | $(PYTHON) tools/lock.py > requirements-dev.lock
	$(COMPILE) --constraint requirements-dev.lock --extra serve --extra eval --group build --group model pyproject.toml | $(PYTHON) tools/lock.py > requirements.lock
	rm requirements-dev.lock.before

clean: ## remove everything that the others made
	rm -rf .venv node_modules .rowvec rowvec-demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* htmlcov site
