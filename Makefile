# The tools live in $(VENV), which is made when it is needed.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# What is tested once more with workers that fetch each job by itself.
ALONE = $(foreach name,attribution prefetched prefetched_from_outside storm supervision,tests/faults/test_$(name).py)

.DEFAULT_GOAL := help
.PHONY: help venv check lint test faults crash-report bench bench-apart bench-peers

# What `make bench-peers` measures beside litequeue; redis-server is not among it.
PEERS = huey persist-queue tinyjobs potatoq rq celery[redis]

help:  ## show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(VENV)/made  ## make the virtual environment; it is made again when pyproject.toml changes

$(VENV)/made: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "$(PYTHON) is older than Python 3.10; name another: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' \
	  || { echo "$(PYTHON) has no venv; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

check: lint test  ## run the linter, the type checker and the tests

lint: venv  ## run the linter and the type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: venv  ## run the tests
	$(BIN)/python -m pytest tests --ignore=tests/faults

faults: venv  ## run the tests that kill real processes
	$(BIN)/python -m pytest tests/faults
	FAULTS_MODE=alone $(BIN)/python -m pytest $(ALONE)

crash-report: venv  ## kill workers for some minutes, and write bench/crash-report.txt
	FAULTS_MODE=measured $(BIN)/python -m tests.faults.storm --jobs 60000 --kills 300 --report bench/crash-report.txt

bench: venv  ## measure beside bare sqlite3 loops for some minutes, and write bench/results.txt
	$(BIN)/python -m bench --output bench/results.txt
	$(BIN)/python -m bench.page

bench-apart: venv  ## measure sizes of pages, and a worker's memory over 2 GB of payloads, and write bench/apart.txt
	$(BIN)/python -m bench --only page_sizes memory --output bench/apart.txt
	$(BIN)/python -m bench.page

bench-peers: .venv-peers/made  ## measure other libraries at the same work, and write bench/peers.txt
	.venv-peers/bin/python -m bench.peers --output bench/peers.txt
	.venv-peers/bin/python -m bench.page

.venv-peers/made: Makefile
	$(PYTHON) -m venv --clear .venv-peers
	for package in $(PEERS); do \
	  .venv-peers/bin/python -m pip install --quiet --disable-pip-version-check $$package || true; \
	done
	@touch $@
