# make demo: sets up and runs the main job end to end on drawn scenes.   make test: sets up and runs the tests.
# Both need Python 3.11 or 3.12 and nothing else; everything goes into .venv and demo/.

PYTHON ?= $(shell for p in python3.11 python3.12 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1 && echo $$p && break; done)
BIN := .venv/bin
DEMO := demo

.PHONY: demo test lint format clean

demo: .venv/ready
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh tools/demo.sh $(DEMO)

test: .venv/ready lint
	$(BIN)/python -m pytest -q --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/ready: requirements.txt setup.cfg pyproject.toml
	@test -n "$(PYTHON)" || { echo "deeplab_tf needs Python 3.11 or 3.12 on the path; name one with: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@echo "Setting up .venv (about a minute) ..."
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch .venv/ready

clean:
	rm -rf .venv build *.egg-info demo/scenes demo/run demo/labels demo/bundle demo/drive.mp4
