# Everything a fresh machine needs: `make quickstart` for the main job, `make test` for the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The older TFLite runtime needs numpy 1 and Python 3.11 at most: it has an environment of its own.
TFLITE_VENV := $(VENV)-tflite
# A real tritonserver: its Python stub needs the distribution's own interpreter (with python3-venv and libpython).
PYTRITON_VENV := $(VENV)-pytriton
SYSTEM_PYTHON ?= /usr/bin/python3
# Tests mostly wait, for a few seconds of measuring and for links that break: more run side by side than there are cores.
# A file's tests stay together, in the files' order: pages of the manual come early, for they take longest.
# A test that takes too long fails by a signal there: a worker that ends with it, as the usual way has it, may take the
# others' tests along. WORKERS=0 runs them one after another.
WORKERS ?= 4
LAB_WORKERS ?= 3
side_by_side = -n $(1) $(if $(filter-out 0,$(1)),--dist loadfile --no-loadscope-reorder --timeout-method=signal)

.PHONY: quickstart test lint unit lab soak install dev tflite pytriton clean

quickstart: install
	$(BIN)/edgewise quickstart

install: $(VENV)/.installed
dev: $(VENV)/.dev
tflite: $(TFLITE_VENV)/.installed
pytriton: $(PYTRITON_VENV)/.installed

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("edgewise needs Python 3.10 or newer, this is %d.%d: make PYTHON=python3.11" % sys.version_info[:2] if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

$(VENV)/.installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[split]'
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group dev --group torch --group ray
	@touch $@

$(TFLITE_VENV)/.installed: $(VENV)/.installed
	@if $(PYTHON) -c 'import sys; sys.exit(sys.version_info >= (3, 12))'; then \
	  $(PYTHON) -m venv $(TFLITE_VENV) && \
	  $(TFLITE_VENV)/bin/python -m pip install --quiet --upgrade 'pip>=25.1' && \
	  $(TFLITE_VENV)/bin/python -m pip install --quiet --group tflite-runtime; \
	else echo "tflite-runtime has no wheels for this Python: its tests are skipped"; mkdir -p $(TFLITE_VENV); fi
	@touch $@

$(PYTRITON_VENV)/.installed: pyproject.toml
	@if [ "$$(uname -sm)" = "Linux x86_64" ] && [ -x "$(SYSTEM_PYTHON)" ]; then \
	  $(SYSTEM_PYTHON) -m venv $(PYTRITON_VENV) && \
	  $(PYTRITON_VENV)/bin/python -m pip install --quiet --upgrade 'pip>=25.1' && \
	  $(PYTRITON_VENV)/bin/python -m pip install --quiet --group pytriton; \
	else echo "nvidia-pytriton has wheels for Linux on x86-64 only: its tests are skipped"; mkdir -p $(PYTRITON_VENV); fi
	@touch $@

test: lint unit

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: dev tflite pytriton
	EDGEWISE_TFLITE_PYTHON=$(abspath $(TFLITE_VENV)/bin/python) \
	  EDGEWISE_PYTRITON_PYTHON=$(abspath $(PYTRITON_VENV)/bin/python) $(BIN)/python -m pytest -m 'not lab' \
	  $(call side_by_side,$(WORKERS)) $(PYTEST_ARGS)

# The virtual device lab: root on Linux x86-64, `python -m tests.lab install` once. Each worker has a lab of its own.
lab: dev
	$(BIN)/python -m pytest -m lab $(call side_by_side,$(LAB_WORKERS)) $(PYTEST_ARGS)

# Random faults in numbers; COUNT=300 takes hours. CI runs a tenth as a part of `make lab`.
COUNT ?= 30
soak: dev
	$(BIN)/python -m tests.soak.push --count $(COUNT)
	$(BIN)/python -m tests.soak.runs --count $(COUNT)
	$(BIN)/python -m tests.soak.energy --count $(COUNT)
	$(BIN)/python -m tests.soak.wire --frames 1000000
	$(BIN)/python -m tests.soak.cuts --count 10000

clean:
	rm -rf $(VENV) $(TFLITE_VENV) $(PYTRITON_VENV) .mypy_cache .ruff_cache .pytest_cache
