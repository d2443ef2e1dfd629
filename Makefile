# The same commands on a developer's machine and in CI. Nothing but Python 3.11 and make is needed to start.

VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.8

# The demo runs faster than life, so that a mixed fleet is through in about a minute.
DEMO_SCENARIO ?= simulator/scenarios/demo.toml
DEMO_FLAGS ?= --limit 150
PYTEST_FLAGS ?=
# One process for each processor; a file stays with one of them, for its fixtures are dear.
PYTEST_JOBS ?= -n auto --dist loadfile

# The first interpreter that is new enough; `make PYTHON=/path/to/python3` chooses another.
NEW_ENOUGH := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(foreach name,python3.11 python3 python3.12 python3.13 python,\
	$(shell $(name) -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && echo $(name))))

# Two stamps, because a change of the project's metadata needs no new look at eighty libraries.
LIBRARIES := $(VENV)/.libraries-installed
PROJECT := $(VENV)/.project-installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq

# The mutation tool needs a newer click than the broker allows, so it has an environment of its own.
MUTATION_VENV := .venv-mutation
MUTATION_LIBRARIES := $(MUTATION_VENV)/.libraries-installed

# So has the other client of the live benchmark, which brings greenlets and a web server.
LOCUST_VENV := .venv-locust
LOCUST_LIBRARIES := $(LOCUST_VENV)/.libraries-installed

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
	@$(BIN)/python -m pytest $(PYTEST_JOBS) $(PYTEST_FLAGS)

# Every crash point of every story, and 20,000 random enrollments: a quarter of an hour, with figures at the end.
.PHONY: nightly
nightly: setup  ## What takes too long for every change: all crash points, 20,000 random enrollments
	@echo 'nightly: pytest'
	@$(BIN)/python -m pytest tests/agent/core/test_crash.py tests/agent/core/test_enrollment_properties.py \
	  --hypothesis-profile=nightly --hypothesis-show-statistics --timeout=0 $(PYTEST_FLAGS)

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

.PHONY: mutation
mutation: $(MUTATION_LIBRARIES)  ## Plant mistakes in agent/core; how many the tests notice
	@$(MUTATION_VENV)/bin/python -m tests.mutation

$(MUTATION_LIBRARIES): requirements/mutation.txt | setup
	@echo 'mutation: installing the locked libraries into $(MUTATION_VENV)'
	@$(BIN)/python -m venv --clear $(MUTATION_VENV)
	@$(MUTATION_VENV)/bin/python -m pip --disable-pip-version-check --no-input -qq install \
	  --require-hashes --only-binary :all: -r requirements/mutation.txt
	@touch $@

.PHONY: locust
locust: $(LOCUST_LIBRARIES)  ## Make .venv-locust, for benchmarks.live to compare the agents with
	@:

$(LOCUST_LIBRARIES): requirements/locust.txt | setup
	@echo 'locust: installing the locked libraries into $(LOCUST_VENV)'
	@$(BIN)/python -m venv --clear $(LOCUST_VENV)
	@$(LOCUST_VENV)/bin/python -m pip --disable-pip-version-check --no-input -qq install \
	  --require-hashes --only-binary :all: -r requirements/locust.txt
	@touch $@

VERIFY_FLAGS ?= --seeds 300
MUTANTS_FLAGS ?= --jobs 2

.PHONY: verify
verify: setup  ## Simulated worlds full of faults, judged; each is run twice
	@$(BIN)/esp-sim verify $(VERIFY_FLAGS)

.PHONY: mutants
mutants: setup  ## Plant bugs in the product; in how many simulated worlds each is noticed, and by what
	@$(BIN)/python -m tests.simulator.verify.mutants $(MUTANTS_FLAGS)

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
	"$$tools/bin/uv" pip compile pyproject.toml $(LOCK_FLAGS) -c requirements/all.txt -o requirements/agent.txt && \
	echo 'lock: requirements/mutation.txt' && \
	"$$tools/bin/uv" pip compile pyproject.toml $(LOCK_FLAGS) --group mutation -o requirements/mutation.txt && \
	echo 'lock: requirements/locust.txt' && \
	"$$tools/bin/uv" pip compile $(LOCK_FLAGS) --group locust -o requirements/locust.txt

.PHONY: clean
clean:  ## Remove the environment and everything generated
	@rm -rf $(VENV) $(MUTATION_VENV) $(LOCUST_VENV) mutants .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help:  ## This list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'
