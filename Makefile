# Every target works on a machine with python3, make and pip. Everything else is installed into .venv: for the demo the
# package and what draws its pages, for all other targets the tools of development too.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo pages docs test conformance check format clean

demo: $(VENV)/.installed-demo
	$(RUN) demo.py

# Rewrite the outputs, figures and images on the pages, from their commands and the demo.
pages: $(VENV)/.installed runs/demo/answers.png
	$(RUN) docs/rewrite_outputs.py

runs/demo/answers.png:
	$(MAKE) demo

# One process per test file: tiny models gain nothing from threads.
test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(RUN) -m pytest -q -n auto --maxprocesses 4 --dist loadfile

conformance: $(VENV)/.installed
	$(RUN) -m conformance

check: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/typos
	$(MAKE) docs

# The site, in build/site: start at build/site/index.html. Not --quiet, which hides warnings from --strict.
docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

format: $(VENV)/.installed
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

$(VENV)/.installed: pyproject.toml constraints.txt | $(RUN)
	$(INSTALL) -e ".[dev]"
	touch $@ $@-demo

$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(RUN)
	$(INSTALL) -e ".[report]"
	touch $@

$(RUN):
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) runs .mypy_cache .pytest_cache .ruff_cache
