PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
AUDIT := .venv-audit
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
INSTALL := $(BIN)/pip install --quiet --constraint constraints.txt --editable

.PHONY: demo ui test test-fast lint bench docs audit sbom clean

demo: $(VENV)/.installed-demo
	$(BIN)/gemma-keras-tune demo --root .

ui: $(VENV)/.installed-ui
	$(BIN)/gemma-keras-tune ui --root .

test: $(VENV)/.installed-dev
	$(PYTEST) -m "not accelerator"

test-fast: $(VENV)/.installed-dev
	$(PYTEST)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(VENV)/.installed-dev
	$(BIN)/python -m tests.bench.compare
	$(BIN)/python -m tests.bench.answers
	$(BIN)/python -m tests.bench.answers --dtype bfloat16
	$(BIN)/python -m tests.bench.token_parts
	$(BIN)/python -m tests.bench.engine
	$(BIN)/python -m tests.bench.growth
	$(BIN)/python -m tests.bench.loading
	$(BIN)/python -m tests.bench.queue
	$(BIN)/python -m tests.bench.upload --mebibytes 512
	$(BIN)/python -m tests.bench.viewers

docs: $(VENV)/.installed-dev
	$(BIN)/python docs/generate_reference.py

# Known weaknesses of what is installed; asks the advisory database of the package index.
audit: $(VENV)/.installed-ui $(AUDIT)/.installed
	$(AUDIT)/bin/pip-audit --skip-editable --path "$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')"

# What is installed, by name and version, as a CycloneDX file.
sbom: $(VENV)/.installed-ui $(AUDIT)/.installed
	mkdir -p dist
	$(AUDIT)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	  --output-file dist/sbom.cdx.json $(BIN)/python

clean:
	rm -rf $(VENV) $(AUDIT) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(VENV)/pyvenv.cfg
	$(INSTALL) '.[demo,export,eval]'
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/pyvenv.cfg
	$(INSTALL) '.[test,demo,export,eval,ui,lint]'
	touch $@

$(VENV)/.installed-ui: pyproject.toml constraints.txt | $(VENV)/pyvenv.cfg
	$(INSTALL) '.[demo,export,eval,ui]'
	touch $@

# Apart from the rest, so that the tools are not among what they look at.
$(AUDIT)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/pip install --quiet --constraint constraints.txt cyclonedx-bom pip-audit
	touch $@
