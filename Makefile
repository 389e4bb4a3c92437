# Two commands do everything: `make demo` and `make test`. Both set up what they need first.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST_ARGS ?=
# A process per core; the tests of a file share what it sets up, so they stay together.
SIDE_BY_SIDE := -n logical --maxprocesses 4 --dist loadfile

# The first of these that runs and is new enough; override with `make PYTHON=/path/to/python`.
PYTHON ?= $(shell for name in python3.11 python3; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$name"; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint docs dist format golden setup clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

demo: $(READY) ## Train a clean and a backdoored model, scan both from a registry (output in ./demo-out)
	@$(BIN)/backdoor-gate demo --out ./demo-out

test: $(READY) ## Run the fast tests
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(PYTEST_ARGS)

test-slow: $(READY) ## Run the tests that train networks or scan many
	@$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

lint: $(READY) ## Check format, style, types, docstrings, documents, workflows, action and Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/interrogate --quiet backdoor_gate
	$(BIN)/zizmor --offline --no-progress --quiet action.yml .github examples/github/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-actions action.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml examples/github/*.yml
	$(BIN)/check-jsonschema --builtin-schema custom.github-workflows-require-timeout .github/workflows/*.yml examples/github/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/hadolint Dockerfile
	$(BIN)/shellcheck scripts/*.sh .ci/run
	@# Not --quiet: that would silence what --strict counts.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/python -m pytest tests/test_docs.py tests/test_architecture.py

docs: $(READY) ## Build the documents' site (into ./site) and look for broken links
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dist: $(READY) ## Build the source distribution and the wheel (into ./dist)
	$(BIN)/python -m build

format: $(READY) ## Put the code into its standard form
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

golden: $(READY) ## Renew the expected outputs in tests/ and the help texts in docs/; read the diff before you commit it
	$(BIN)/python -m pytest --renew-goldens

setup: $(READY) ## Only install

clean: ## Remove the virtual environment, the caches and the demo's output
	rm -rf $(VENV) demo-out dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find backdoor_gate tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "backdoor-gate needs Python 3.11 or newer; found none. Install one, or run: make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Setting up $(VENV): this happens once and takes a few minutes."
	@"$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	@touch $@
