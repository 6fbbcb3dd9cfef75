# The workbook's commands. `make help` lists them.
#
# Which Python: an active environment in which this checkout is installed is used as it is. Else `.venv` is made, once,
# with the Python that PYTHON= names.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help env run train lossless lab slides class publish test test-all coverage bench bundle lint clean distclean
# glibc keeps what a training step frees for the next one, which else spends half of its time on page faults
export MALLOC_MMAP_THRESHOLD_ ?= 1073741824
export MALLOC_TRIM_THRESHOLD_ ?= 2147483647

PYTHON ?= python3
# -I keeps this folder off the path: only an installed invlib counts, and only one of this checkout.
INSTALLED = import invlib, os, sys; here = os.path.realpath("invlib/__init__.py") == os.path.realpath(invlib.__file__); \
	sys.exit(not here or os.path.realpath(sys.prefix) == os.path.realpath(".venv"))
PY := $(shell "$(PYTHON)" -I -c '$(INSTALLED)' 2>/dev/null && echo '"$(PYTHON)"' || echo .venv/bin/python)

help:  ## list the commands
	@echo "make COMMAND [NAME=value ...]"
	@grep -hE '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:[^#]*## /#/' | awk -F'#' '{printf "  %-10s %s\n", $$1, $$2}'
	@echo "PYTHON= names a Python from 3.11 (default: python3)"

env: $(if $(filter .venv/bin/python,$(PY)),.venv/installed)  ## make the environment (.venv), where none is active

.venv/installed: pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "invlib needs Python 3.11 or later, not $(PYTHON); give one: make PYTHON=/path/to/python3.11 ..." >&2; exit 2; }
	@echo "Installing invlib and its packages into .venv: about 2.3 GB of disk, more with torch for CUDA; this takes some minutes."
	@[ -x .venv/bin/python ] || "$(PYTHON)" -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]' -c constraints.txt
	@touch $@

run: env  ## the whole series: PRESET=cpu RUN=name ARGS="--resume --only 03 -p data my.csv"
	$(PY) -m invlib.series $(if $(PRESET),--preset "$(PRESET)") $(if $(RUN),--run "$(RUN)") $(ARGS)

train: env  ## one row by itself: ROW=att_pool_768 PRESET=study RUN=study
	@if [ -z "$(ROW)" ]; then echo "name the row: make train ROW=att_pool_768 PRESET=study RUN=study" >&2; exit 2; fi
	$(PY) -m invlib.training --row "$(ROW)" $(if $(PRESET),--preset "$(PRESET)") $(if $(RUN),--run "$(RUN)") $(ARGS)

lossless: env  ## the two near-lossless models alone, an hour each at most, resumable: PRESET=study RUN=study
	$(PY) -m invlib.training --row hybrid_384_long --row hybrid_768_long $(if $(PRESET),--preset "$(PRESET)") $(if $(RUN),--run "$(RUN)") $(ARGS)

lab: env  ## JupyterLab on the whole repository (13_latent_lab needs no data), on the loopback address with its token
	$(PY) -m jupyterlab --ServerApp.ip=127.0.0.1 --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

slides: env  ## the talk as one HTML file that needs no network (build/slides.html), and a PDF where Chromium is found
	$(PY) -m invlib.series.slides $(ARGS)

class: env  ## the notebooks for students, without solutions and outputs (build/class)
	$(PY) -m invlib.series.student_copies $(ARGS)

publish: env  ## a run's notebooks, results and figures into the repository: RUN=last NAME=study
	@if [ -z "$(RUN)" ]; then echo "name the run: make publish RUN=last (a name under runs/, or a folder)" >&2; exit 2; fi
	$(PY) -m invlib.series.publish "$(RUN)" $(if $(NAME),--name "$(NAME)") $(ARGS)

lint: env  ## ruff over code and notebooks
	$(PY) -m ruff check .

test: lint  ## lint, types, unit tests, the notebooks with the exercises' solutions
	$(PY) -m mypy
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist loadfile
	$(PY) -m pytest -q --nbval-lax notebooks

test-all: test  ## and the slow tests
	$(PY) -m pytest -q -m slow --durations=10

coverage: env  ## the unit tests, and the lines of invlib that they run: an error below 92 %
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist loadfile --cov=invlib --cov-report=term:skip-covered --cov-fail-under=92

bench: env  ## the benchmarks that need no GPU, and their table in results/bench
	$(PY) -m benchmarks

bundle: env  ## all that a machine without a network needs, into build/bundle: ARGS="--python 3.12 --present have.txt"
	$(PY) -m invlib.series.bundle $(ARGS)

clean:  ## remove what tests and tools left behind (runs/ stays)
	rm -rf build .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -path ./.venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -exec rm -rf {} +

distclean: clean  ## and the environment
	rm -rf .venv *.egg-info
