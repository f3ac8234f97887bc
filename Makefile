# make demo: set up, then run the main job end to end on synthetic scenes.   make test: set up, then lint, types and all tests.
# Both need Python 3.11 or 3.12 and nothing else; everything goes into .venv and demo/.

PYTHON ?= $(shell for p in python3.11 python3.12 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1 && echo $$p && break; done)
BIN := .venv/bin
DEMO := demo
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest -q --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: install demo test lint format docs coverage clean

install: .venv/ready

demo: .venv/ready
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh tools/demo.sh $(DEMO)

test: .venv/ready lint
	$(PYTEST)

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -m deeplab_tf.lab.config.reference docs/recipes.md

# The documentation site, in build/site: open build/site/index.html. A broken link or a page outside the menu fails it.
docs: .venv/ready-docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Built build/site/index.html"

# Lines and branches that the tests reach, the least covered modules first.
coverage: .venv/ready
	$(PYTEST) --cov --cov-report=
	$(BIN)/coverage report --sort=cover

.venv/ready: requirements.txt setup.cfg pyproject.toml
	@test -n "$(PYTHON)" || { echo "deeplab_tf needs Python 3.11 or 3.12 on the path; name one with: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@echo "Setting up .venv (about a minute) ..."
	$(PYTHON) -m venv .venv
	$(PIP) -r requirements.txt
	$(PIP) --no-deps -e .
	@touch .venv/ready

.venv/ready-docs: .venv/ready requirements-docs.txt
	$(PIP) -r requirements-docs.txt
	@touch .venv/ready-docs

clean:
	rm -rf .venv build *.egg-info .coverage* demo/scenes demo/run demo/labels demo/bundle demo/drive.mp4
