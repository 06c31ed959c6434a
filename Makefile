# Everything a newcomer needs is `python3` (3.11 or newer) and `make`. `make` alone prints this list.
# Each environment is made once from a lock file and again only when that file changes.

PYTHON ?= python3
ONCE ?=
VENV := .venv
BIN := $(VENV)/bin
PIP_QUIET := -qq --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help run test check bench bench-large bench-peers chaos test-matrix asyncapi lock format clean

help: ## This list
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

run: $(VENV)/run.stamp ## Start everything on an embedded PostgreSQL and watch a real job run (ONCE=1 ends after it)
	@$(BIN)/trunkline up --demo $(if $(ONCE),--once)

test: $(VENV)/dev.stamp tests/node/node_modules/.stamp ## The test suite, on an embedded PostgreSQL (under 10 minutes on 2 cores)
	@TRUNKLINE_TEST_DIR=$${TRUNKLINE_TEST_DIR-$$(test -w /dev/shm && echo /dev/shm)} $(BIN)/python -m pytest -n $${TEST_WORKERS:-4} --dist worksteal -m "not chaos" $(ARGS)

check: $(VENV)/dev.stamp ## Lint, format check and strict types
	@$(BIN)/ruff check src tests bench examples
	@$(BIN)/ruff format --check src tests bench examples
	@$(BIN)/mypy

chaos: $(VENV)/dev.stamp tests/node/node_modules/.stamp ## The full list of faults (long)
	@$(BIN)/python -m pytest -m "chaos or not chaos" -n 0 tests/flows $(ARGS)
	@$(BIN)/python -m pytest -m chaos -n 0 --ignore=tests/flows tests $(ARGS)

test-matrix: $(VENV)/dev.stamp ## The suite on PostgreSQL 15, 16, 17 and 18
	@PYTHON=$(PYTHON) sh tests/matrix.sh

bench: $(VENV)/run.stamp ## Measure queue and gateway beside floors and stock servers; one JSON line per measure (under 20 minutes)
	@sh bench/peers.sh --install-node || true
	@TRUNKLINE_BENCH_NODE=bench/node $(BIN)/trunkline bench --json $(ARGS)

bench-large: $(VENV)/run.stamp ## Claim cost with 1M queued and 10M finished jobs, and the five-minute sustained runs
	@$(BIN)/trunkline bench --json --large $(ARGS)

bench-peers: $(VENV)/run.stamp ## The same measures for pg-boss, graphile-worker, pgqueuer and procrastinate (needs npm)
	@PYTHON=$(PYTHON) sh bench/peers.sh $(ARGS)

format: $(VENV)/dev.stamp ## Rewrite the code in the house format
	@$(BIN)/ruff check --fix -q src tests bench examples; $(BIN)/ruff format -q src tests bench examples

asyncapi: $(VENV)/run.stamp ## Write docs/asyncapi.json, the sockets as a document for machines
	@$(BIN)/python -c 'import json; from importlib.metadata import version; from trunkline.wire.asyncapi import asyncapi; print(json.dumps(asyncapi(version("trunkline")), indent=1))' > docs/asyncapi.json

lock: ## Resolve the lock files again (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  $(addprefix --extra ,client embedded encryption fast psycopg schema server sqlalchemy) pyproject.toml requirements/build.in -o requirements/run.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --all-extras --group dev pyproject.toml requirements/build.in -c requirements/run.lock -o requirements/dev.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  $(addprefix --extra ,ai client encryption fast leads schema server xlsx) pyproject.toml requirements/build.in -c requirements/dev.lock -o requirements/image.lock

tests/node/node_modules/.stamp: tests/node/package-lock.json
	@if command -v npm >/dev/null; then echo "installing the Socket.IO client for the tests (once)" && cd tests/node && npm ci --no-audit --no-fund --silent \
	  && touch node_modules/.stamp; else echo "npm is not there: the tests with the stock Socket.IO client are skipped"; fi

clean: ## Remove the environments (the data folder .trunkline stays)
	rm -rf $(VENV) .venv-* dist build bench/.venv-peers bench/node/node_modules tests/node/node_modules bench/out

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Trunkline needs Python 3.11 or newer, this is %s. Set PYTHON=/path/to/python3.11." % sys.version.split()[0])'
	@echo "making $(VENV) (once)"; $(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements/run.lock pyproject.toml | $(BIN)/python
	@echo "installing the locked packages (once)"
	@$(BIN)/pip install $(PIP_QUIET) --require-hashes -r requirements/run.lock
	@$(BIN)/pip install $(PIP_QUIET) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.lock $(VENV)/run.stamp
	@echo "installing the locked development packages (once)"
	@$(BIN)/pip install $(PIP_QUIET) --require-hashes -r requirements/dev.lock
	@touch $@
