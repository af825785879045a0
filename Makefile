# Everything below works from a fresh clone with Python 3.11+ and a package index, and nothing else.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test quick check format bench serve lock clean

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rowvec needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: install
	$(BIN)/rowvec demo

test: install
	$(BIN)/pytest -n 2 --dist loadfile

quick: install
	$(BIN)/pytest -m "not slow" -x

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p rowvec
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install
	$(BIN)/python -m benchmarks

serve: install
	$(BIN)/rowvec serve

# Needs uv. The model package wants torch; its weights do not, so torch and its kin are overridden away.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --override requirements.override --all-extras --group dev pyproject.toml | python3 tools/lock.py > requirements.lock

clean:
	rm -rf .venv .rowvec rowvec-demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
