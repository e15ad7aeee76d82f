# make demo     set everything up, deblur the example photo
# make test     set everything up, run the tests; make test-all runs the heavy ones and those of several processes too
# make check    set everything up, then style, types, tables and layers
# make docs     set everything up, build the site into docs/_build; make docs-serve shows it on localhost
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test test-all check docs docs-serve clean

.venv/base: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "tfmlc needs Python 3.11 or later; name one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	@echo "setting up .venv (PyTorch is large: some minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) install --upgrade pip
	@$(PIP) install --editable .
	@$(BIN)/python -c 'import torchvision' || \
		{ echo "torch and torchvision do not match: remove .venv, then again"; exit 2; }
	@touch $@

# pyiqa brings opencv-python, which needs a screen's libraries; the headless build must stay the one that is imported.
# gradio asks for Pillow below 13 and works with 13; Pillow 12 cannot read some TIFF files that the tests have.
.venv/all: .venv/base
	@$(PIP) install --editable '.[train,metrics,video,app,heic,jxl,raw,onnx,ray,spandrel,docs,dev]'
	@$(PIP) uninstall --yes opencv-python
	@$(PIP) install --force-reinstall --no-deps opencv-python-headless
	@$(PIP) install --upgrade --no-deps 'pillow>=13,<14'
	@touch $@

demo: .venv/base
	$(BIN)/tfmlc deblur examples/taxi.png -o demo --compare

test: .venv/all
	$(BIN)/python -m pytest -n auto --dist worksteal

test-all: .venv/all
	$(BIN)/python -m pytest -n auto --dist worksteal -m 'not slow and not gpu'

check: .venv/all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python benchmarks/tables.py --check
	$(BIN)/python -m pytest tests/test_layers.py

docs: .venv/all
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build
	@echo "docs/_build/index.html"

docs-serve: docs
	$(BIN)/python -m http.server --bind localhost --directory docs/_build

clean:
	rm -rf .venv demo runs dist docs/_build docs/gallery docs/sg_execution_times.rst
