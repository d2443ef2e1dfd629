# The same commands on a developer's machine and in CI. Nothing but Python 3.11 and make is needed to start.

VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.8

# The demo runs faster than life, so that a mixed fleet is through in about a minute.
DEMO_SCENARIO ?= simulator/scenarios/demo.toml
DEMO_FLAGS ?= --limit 150
PYTEST_FLAGS ?=

# The first interpreter that is new enough; `make PYTHON=/path/to/python3` chooses another.
NEW_ENOUGH := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(foreach name,python3.11 python3 python3.12 python3.13 python,\
	$(shell $(name) -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && echo $(name))))

# Two stamps, because a change of the project's metadata needs no new look at eighty libraries.
LIBRARIES := $(VENV)/.libraries-installed
PROJECT := $(VENV)/.project-installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq

.DEFAULT_GOAL := check
.NOTPARALLEL:
.DELETE_ON_ERROR:

.PHONY: check
check: test  ## What CI runs; the default

.PHONY: setup
setup: $(PROJECT)  ## Make .venv from the lock, with this project in it
	@:

$(LIBRARIES): requirements/all.txt
	@if [ -z '$(PYTHON)' ]; then \
	  echo 'setup: found no Python 3.11 or newer with the venv module. Install one (Debian: apt-get install python3 python3-venv)' >&2; \
	  echo 'setup: or name it: make setup PYTHON=/path/to/python3' >&2; \
	  exit 1; \
	fi
	@echo 'setup: installing the locked libraries into $(VENV) (a minute or two the first time)'
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --require-hashes --only-binary :all: -r requirements/all.txt
	@touch $@

# The build backend is among the locked libraries, so this step needs no network.
$(PROJECT): $(LIBRARIES) pyproject.toml
	@echo 'setup: installing the project itself'
	@$(PIP) install --no-build-isolation --no-deps -e .
	@touch $@

.PHONY: demo
demo: setup  ## A mixed fleet enrolls here, watched on the board
	@$(BIN)/esp-sim run $(DEMO_SCENARIO) $(DEMO_FLAGS)

.PHONY: test
test: lint  ## Format, lint, types, import rule, tests
	@echo 'tests: pytest'
	@$(BIN)/python -m pytest $(PYTEST_FLAGS)

.PHONY: lint
lint: setup  ## Format, lint, types, import rule
	@echo 'format: ruff format --check'
	@$(BIN)/ruff format --check .
	@echo 'lint: ruff check'
	@$(BIN)/ruff check .
	@echo 'types: mypy'
	@$(BIN)/mypy
	@echo 'types: mypy, of the agent as on Windows'
	@$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 agent
	@echo 'import rule: lint-imports'
	@$(BIN)/lint-imports --no-logo

.PHONY: format
format: setup  ## Rewrite the code in the project's format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# Pins stay where they are unless `make lock UPGRADE=--upgrade` asks for newer ones. An endpoint gets the
# versions that the tests ran with, so its list is bound by the whole one.
LOCK_FLAGS = --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	--custom-compile-command 'make lock' --quiet $(UPGRADE)

.PHONY: lock
lock: setup  ## Write requirements/*.txt anew from pyproject.toml
	@tools=$$(mktemp -d) && trap 'rm -rf "$$tools"' EXIT && \
	$(BIN)/python -m venv "$$tools" && \
	"$$tools/bin/python" -m pip --disable-pip-version-check -qq install uv==$(UV_VERSION) && \
	echo 'lock: requirements/all.txt' && \
	"$$tools/bin/uv" pip compile pyproject.toml $(LOCK_FLAGS) --all-extras --group dev -o requirements/all.txt && \
	echo 'lock: requirements/agent.txt' && \
	"$$tools/bin/uv" pip compile pyproject.toml $(LOCK_FLAGS) -c requirements/all.txt -o requirements/agent.txt

.PHONY: clean
clean:  ## Remove the environment and everything generated
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help:  ## This list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'
