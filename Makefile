# The workbook's commands. `make help` lists them.
#
# Which Python: the one that PYTHON= names, else `python3`. Where this checkout of invlib is installed in its environment
# (conda, a virtual environment of your own), it is used as it is. Else `.venv` is made with it, once.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help env run train lossless lab publish test test-all lint clean distclean

CANDIDATES = $(if $(PYTHON),"$(PYTHON)",python3 python3.11 python3.12 python3.13 python)
# The first candidate from 3.11 on, as a path; looked up when a recipe first needs it, so `make help` needs no Python.
BASE = $(eval BASE := $(shell for p in $(CANDIDATES); do if "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null; then command -v "$$p"; break; fi; done))$(BASE)
# -I keeps this folder off the path: only what is installed counts, and only an installation of this checkout.
HAS_INVLIB = import importlib.util as u, os, sys; s = u.find_spec("invlib"); \
	sys.exit(not (s and os.path.realpath(s.origin) == os.path.realpath("invlib/__init__.py")))
PY = $(eval PY := $(shell if [ -n "$(BASE)" ] && [ "$$("$(BASE)" -c 'import sys; print(sys.prefix)')" != "$(CURDIR)/.venv" ] \
	&& "$(BASE)" -I -c '$(HAS_INVLIB)' 2>/dev/null; then echo "$(BASE)"; else echo .venv/bin/python; fi))$(PY)

help:  ## list the commands
	@echo "make COMMAND [NAME=value ...]"
	@grep -hE '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:[^#]*## /#/' | awk -F'#' '{printf "  %-10s %s\n", $$1, $$2}'
	@echo "PYTHON= names a Python from 3.11; without it python3, in the active environment where invlib is installed there, else in .venv"

env:  ## make the environment (.venv), where none is active
	@if [ "$(PY)" = .venv/bin/python ]; then $(MAKE) --no-print-directory .venv/installed; fi

.venv/installed: pyproject.toml constraints.txt
	@if [ -z "$(BASE)" ]; then \
		echo "invlib needs Python 3.11 or later; $(if $(PYTHON),$(PYTHON) is not,none of python3 python3.11 python3.12 python3.13 python is)." \
			"Give one: make PYTHON=/path/to/python3.11 ..." >&2; exit 2; fi
	@[ -x .venv/bin/python ] || "$(BASE)" -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]' -c constraints.txt
	@touch $@

run: env  ## the whole series: PRESET=cpu RUN=name ARGS="--resume --only 03 -p data my.csv"
	$(PY) -m invlib.series $(if $(PRESET),--preset "$(PRESET)") $(if $(RUN),--run "$(RUN)") $(ARGS)

train: env  ## one row by itself: ROW=att_pool_768 PRESET=study RUN=study
	@if [ -z "$(ROW)" ]; then echo "name the row: make train ROW=att_pool_768 PRESET=study RUN=study" >&2; exit 2; fi
	$(PY) -m invlib.training --row "$(ROW)" $(if $(PRESET),--preset "$(PRESET)") $(if $(RUN),--run "$(RUN)") $(ARGS)

lossless: env  ## the two near-lossless models alone, an hour each at most, resumable: PRESET=study RUN=study
	$(PY) -m invlib.training --row hybrid_384_long --row hybrid_768_long $(if $(PRESET),--preset "$(PRESET)") $(if $(RUN),--run "$(RUN)") $(ARGS)

lab: env  ## JupyterLab on the notebooks, on the loopback address with its token
	$(PY) -m jupyterlab --ServerApp.ip=127.0.0.1 --ServerApp.root_dir=notebooks $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

publish: env  ## a run's notebooks, results and figures into the repository: RUN=last NAME=study
	@if [ -z "$(RUN)" ]; then echo "name the run: make publish RUN=last (a name under runs/, or a folder)" >&2; exit 2; fi
	$(PY) -m invlib.series.publish "$(RUN)" $(if $(NAME),--name "$(NAME)") $(ARGS)

lint: env  ## ruff over code and notebooks
	$(PY) -m ruff check .

test: lint  ## lint, unit tests, the notebooks through nbval
	$(PY) -m pytest -q
	$(PY) -m pytest -q --nbval-lax notebooks

test-all: test  ## and the slow tests, and the exercises' solutions
	$(PY) -m pytest -q -m slow
	$(PY) -m invlib.series --preset smoke --solutions

clean:  ## remove what tests and tools left behind (runs/ stays)
	rm -rf build .pytest_cache .ruff_cache
	find . -path ./.venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -exec rm -rf {} +

distclean: clean  ## and the environment
	rm -rf .venv *.egg-info
