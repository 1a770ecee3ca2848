# Each target but `lock` may be the first command ever typed; the second time nothing is downloaded or built again.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test faults replays lint types contracts lock down compose compose-down

# The interpreter of the venv: the first of these that is 3.11 or newer, unless PYTHON is given.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BOOTSTRAP = @$(if $(PYTHON),,$(error Python 3.11 or newer is needed; on Debian 12 or Ubuntu 24.04: sudo apt-get install python3)) \
	$(PYTHON) -m orchestrator.stack.bootstrap

help: ## Say what there is.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: ## Make .venv with the locked dependencies, and put dreamdock on PATH where that is possible.
	$(BOOTSTRAP) --link

demo: setup ## Set up everything and run the main job on real input; the stack stays up until `dreamdock down`.
	@.venv/bin/dreamdock demo

test: ## Set up everything and pass all tests.
	$(BOOTSTRAP)
	@.venv/bin/python -m orchestrator.stack.prepare
	@.venv/bin/python tests/tiers.py

SEEDS ?= 1

faults: ## Kill, stop, cut off and fill what runs rest on, each at SEEDS random moments; `make test` tries one each.
	$(BOOTSTRAP)
	@.venv/bin/python -m orchestrator.stack.prepare
	@.venv/bin/python tests/tiers.py faults --seeds $(SEEDS)

replays: ## Repair ten real bugs of real projects from scripts, and look whether their journals tell all of it.
	$(BOOTSTRAP)
	@.venv/bin/python -m orchestrator.stack.prepare
	@.venv/bin/python tests/tiers.py e2e -k real_bug

lint: ## Style: ruff, and its formatter.
	$(BOOTSTRAP)
	@.venv/bin/ruff check --quiet . && .venv/bin/ruff format --check --quiet .

types: ## Types: mypy --strict.
	$(BOOTSTRAP)
	@.venv/bin/mypy

contracts: ## The arrows between the rooms: import-linter.
	$(BOOTSTRAP)
	@.venv/bin/lint-imports --no-cache

down: ## Stop what `make demo` left running.
	$(BOOTSTRAP)
	@.venv/bin/dreamdock down

compose: ## Start DreamDock as services of compose.yaml, after building what they need; wait until they are up.
	$(BOOTSTRAP)
	@.venv/bin/python -m orchestrator.stack.compose up

compose-down: ## Stop the services; runs under way are released, and the state stays.
	$(BOOTSTRAP)
	@.venv/bin/python -m orchestrator.stack.compose down

UV_COMPILE = uv pip compile --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --quiet

lock: ## Resolve requirements.lock anew from pyproject.toml, and from it that of the services' image.
	@tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; $(PYTHON) -m venv "$$tmp" && "$$tmp/bin/pip" install --quiet uv \
	&& PATH="$$tmp/bin:$$PATH" \
	&& $(UV_COMPILE) pyproject.toml --group dev --universal --output-file requirements.lock \
	&& $(UV_COMPILE) pyproject.toml images/service/requirements.in --constraint requirements.lock --python-platform linux \
	   --no-annotate --output-file images/service/requirements.lock
