# Everything a newcomer needs on Debian with Python 3.11 or newer: `make run`, `make test`, `make check`.
# What a target lacks it installs: packages of Python into .venv, servers for the tests with apt-get.

VENV ?= .venv
PYTHON ?= $(shell for python in python3.11 python3 python3.13 python3.12 /usr/bin/python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
BIN := $(VENV)/bin
# As many tests at a time as there are processors; who has none left takes some of another's.
PYTEST_ARGS ?= -n logical --dist worksteal
CREATED := $(VENV)/.created
DEMO := $(VENV)/.installed-demo
TEST := $(VENV)/.installed-test

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test test-thespian check bench clean servers

help:
	@echo 'make run      start the agent with simulated devices and a broker, in this terminal'
	@echo 'make test     run every test (installs the servers that they talk to) and the suite of Thespian'
	@echo 'make check    lint, format, types, import contracts'
	@echo 'make bench    measure throughput, latency and memory'
	@echo 'make clean    remove the virtual environment and everything built'

run: $(DEMO)
	@exec $(BIN)/callboard run --demo

test: $(TEST) servers
	$(BIN)/python -m pytest $(PYTEST_ARGS)
	@$(MAKE) --no-print-directory test-thespian

# One of its tests relies on a child's output being buffered.
test-thespian: $(TEST)
	cd tests/thespian_suite && env -u PYTHONUNBUFFERED $(abspath $(BIN))/python -m pytest
	cd tests/thespian_suite && $(abspath $(BIN))/python -m pytest -n 0 -m alone

check: $(TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs/settings.rst: conf/runtime.py conf/runtime_page.py | $(TEST)
	$(BIN)/python -m conf.runtime_page $@

docs/command-line.rst: api/cli/page.py api/cli/registry.py $(wildcard api/cli/commands/*.py) | $(TEST)
	$(BIN)/python -m api.cli.page > $@

bench: $(TEST) servers
	$(BIN)/python tests/bench/run.py

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

servers:
	@tests/install-servers.sh

# What installing says goes to stderr: `make run | head` shows readings.
$(CREATED):
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or newer is needed: apt-get install python3' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || .ci/apt-install \
		$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])') >&2
	$(PYTHON) -m venv --clear $(VENV) >&2
	@touch $@

$(DEMO): setup.cfg pyproject.toml | $(CREATED)
	$(BIN)/python -m pip install --quiet --editable '.[demo]' >&2
	@touch $@

$(TEST): setup.cfg pyproject.toml | $(CREATED)
	$(BIN)/python -m pip install --quiet --editable '.[test,demo]' >&2
	@touch $@ $(DEMO)
