# make demo | make test | make venv: nothing else is needed on a fresh machine.
PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
STAMP := $(VENV)/.installed

.PHONY: venv demo test test-all lint clean panel test-slicer

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt Makefile
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,slicer-core,cohort]"
	$(BIN)/python -c "open('$(STAMP)', 'w').close()"

demo: venv
	$(BIN)/regrefine demo

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One process a core, one thread each; a file's tests stay together and share its fixtures.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile

test test-all: export OMP_NUM_THREADS := 1

test: lint
	$(PYTEST) -m "not slow"

# With the slow tests: long trainings and searches. The checks of .ci/run.
test-all: lint
	$(PYTEST)

# A preview of the Slicer panel in a window; PNG=file writes a picture instead.
panel: venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[panel]"
	PYTHONPATH="$(CURDIR):$(CURDIR)/Testing:$(CURDIR)/RegRefine" $(BIN)/python -m support.panel_preview $(if $(PNG),--png "$(PNG)") $(PANEL)

# The module's self tests in a real Slicer, with PyTorch in its Python: SLICER=/path/to/Slicer
test-slicer:
	@test -n "$(SLICER)" || { echo "give the program: make test-slicer SLICER=/path/to/Slicer"; exit 2; }
	REGREFINE_REQUIRE_RUN=1 "$(SLICER)" --testing --no-splash --no-main-window \
	  --disable-cli-modules --additional-module-paths "$(CURDIR)/RegRefine" \
	  --python-script "$(CURDIR)/Testing/in_slicer/self_tests.py"

clean:
	rm -rf $(VENV) build dist *.egg-info
