# make demo     set everything up, deblur two example photos
# make test     set everything up, run the tests; make test-all runs the heavy ones and those of several processes too
# make check    set everything up, then style, types, tables and layers
# make audit    ask PyPI about known faults of the installed packages; make sbom lists the packages in sbom.json
# make dist     build the wheel and the sdist, and try both; make matrix tries them with other Pythons and old packages
# make docs     set everything up, build the site into docs/_build; make docs-serve shows it on localhost
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test test-all check audit sbom dist matrix docs docs-serve clean

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
	$(BIN)/tfmlc deblur examples/flower.jpg examples/taxi.png -o demo --compare

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

.tools/all:
	@$(PYTHON) -m venv .tools
	@.tools/bin/python -m pip --disable-pip-version-check --quiet install 'pip-audit>=2.9,<3' 'cyclonedx-bom>=7,<8' 'uv>=0.7'
	@touch $@

audit: .venv/base .tools/all
	@.tools/bin/python benchmarks/release/audit.py $(BIN)/python

sbom: .venv/base .tools/all
	@.tools/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-reproducible -o sbom.json
	@echo sbom.json

dist: .venv/base .tools/all
	@rm -rf dist
	@.tools/bin/uv build --quiet
	@$(BIN)/python benchmarks/release/check_dist.py dist "$$($(BIN)/python -c 'import torch; print(torch.__path__[0] + "/..")')"

matrix: dist
	@PATH="$(CURDIR)/.tools/bin:$$PATH" $(BIN)/python benchmarks/release/matrix.py dist

docs: .venv/all
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build
	@echo "docs/_build/index.html"

docs-serve: docs
	$(BIN)/python -m http.server --bind localhost --directory docs/_build

clean:
	rm -rf .venv .tools sbom.json demo runs dist docs/_build docs/gallery docs/sg_execution_times.rst
