# Everything below works from a fresh clone with Python 3.11+ and a package index, and nothing else.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install develop demo test quick torture check format docs package example-samples example-datasets example-products bench serve lock clean

# What the demo needs. The tests need the rest too: `make develop`.
install: .venv/installed
develop: .venv/developed

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

demo: install
	$(BIN)/rowvec demo

# Three processes on two cores: many tests wait for a process or a server. In the order of the folders the long ones come
# first, and the short ones fill up the end.
PYTEST := $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

test: develop
	$(PYTEST)

# What needs no process of its own, and every store against the contract.
quick: develop
	$(PYTEST) -m "not slow" -x tests/unit tests/contract

# Everything that tries to break it, in its long form: about a quarter of an hour. Prints a table of faults tried, survived, lost.
TORTURE := property/test_convergence acceptance/test_kill acceptance/test_kill_events acceptance/test_kill_matrix \
  acceptance/test_paid_kill acceptance/test_fleet acceptance/test_secrets integration/test_network \
  integration/test_resources integration/test_injection integration/test_peers integration/test_embedded_kill
torture: develop
	ROWVEC_TORTURE=1 ROWVEC_TORTURE_RESULT=benchmarks/results/torture.json \
	  $(BIN)/pytest -n 2 --dist worksteal --timeout 1200 $(TORTURE:%=tests/%.py)
	$(BIN)/python -m tests.torture

check: develop
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p rowvec
	$(BIN)/lint-imports

format: develop
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: develop
	$(BIN)/python -m benchmarks

# The site goes to site/; look at it with: python -m http.server -d site
docs: develop
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

package: develop
	$(BIN)/python -m build --no-isolation

example-samples: develop
	$(BIN)/python examples/samples/run.py

example-datasets: develop
	$(BIN)/python examples/datasets/run.py

example-products: develop
	$(BIN)/python examples/products/run.py

serve: install
	$(BIN)/rowvec serve

# Needs uv. The model package wants torch; its weights do not, so torch and its kin are overridden away.
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --override requirements.override
lock:
	$(COMPILE) --all-extras --group dev pyproject.toml | python3 tools/lock.py > requirements-dev.lock
	$(COMPILE) --constraint requirements-dev.lock --extra minilm --extra serve --extra eval --group build pyproject.toml | python3 tools/lock.py > requirements.lock

clean:
	rm -rf .venv .rowvec rowvec-demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis site
