# Tasks for development; `make help` lists them. Every task first creates the environment in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SAMPLE := tests/data/sample

.PHONY: help demo test test-slow test-all coverage fuzz lint bench dist reference docs linkcheck clean notebooks
help:  ## list the tasks
	@awk -F ':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' \
	    $(MAKEFILE_LIST)

# The version of PyTorch with which the published results were measured. Set TORCH for another version, or for the options
# of pip that install the CPU build, which is gigabytes smaller on Linux.
TORCH ?= torch==2.13.0
$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable '.[train]' --group test --group lint
	@test -f src/pleura/viewer/static/index.html || echo "Node.js is not installed: pleura view has no page"
	touch $(READY)

##@ Try
demo: $(READY)  ## segment a scan, then train, evaluate and export a model on the shipped sample
	$(BIN)/python tests/dicom_files.py $(SAMPLE)/volume/ct.nii.gz demo/dicom
	$(BIN)/pleura info demo/dicom
	$(BIN)/pleura segment $(SAMPLE)/volume/ct.nii.gz -o demo/scan_lungs.nii.gz --preview --overwrite
	$(BIN)/pleura segment demo/dicom -o demo/dicom_lungs.dcm --overwrite
	$(BIN)/pleura check $(SAMPLE)/images $(SAMPLE)/masks
	$(BIN)/pleura train $(SAMPLE)/images $(SAMPLE)/masks --recipe quick -o demo/run --overwrite \
	    --set split.method=file --set split.file=$(SAMPLE)/split.csv
	$(BIN)/pleura predict demo/run $(SAMPLE)/images -o demo/masks --overlay --masked --overwrite
	$(BIN)/pleura evaluate demo/run $(SAMPLE)/images $(SAMPLE)/masks
	$(BIN)/pleura export demo/run -o demo/lungs.onnx --data "the shipped sample"
	$(BIN)/pleura segment $(SAMPLE)/images --model demo/lungs.onnx -o demo/segmented --preview \
	    --overwrite
	@echo "results: demo/scan_lungs_preview.png         a scan with the mask of the shipped model"
	@echo "         demo/run/pairs.png                  training images with their masks"
	@echo "         demo/run/curves.png                 loss and accuracy by epoch"
	@echo "         demo/run/evaluation-test/cases.png  predictions for a patient of the test set"
	@echo "         demo/masks/*_overlay.png            predicted masks"
	@echo "         demo/segmented/*_preview.png        right and left lung by the exported model"

##@ Test
# One process for each core, four at most: each loads PyTorch, about 1 GB of memory.
PYTEST := $(BIN)/python -m pytest --numprocesses=logical --maxprocesses=4 --dist=worksteal

test: $(READY)  ## run the tests, without the slow ones
	$(PYTEST)

test-slow: $(READY)  ## run the slow tests: several processes, killed processes, large data sets
	$(PYTEST) -m slow

test-all: test test-slow  ## run all tests

coverage: $(READY)  ## run the tests and measure their coverage, with the floor in pyproject.toml
	$(PYTEST) --cov --cov-report=term:skip-covered

MINUTES ?= 5
fuzz: $(READY)  ## read damaged files of every format for MINUTES (5); set FOLDER to damage its files too
	$(BIN)/python tests/fuzz/fuzz_readers.py --minutes $(MINUTES) $(if $(FOLDER),--folder $(FOLDER))

lint: $(READY)  ## check style, types, imports, spelling, vocabulary, workflows, container
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pyright --verifytypes pleura --ignoreexternal
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python docs/check_vocabulary.py
	$(BIN)/zizmor --quiet --offline .github
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.citation-file-format CITATION.cff

##@ Measure
bench: $(READY)  ## measure speed and memory, compared with Keras (training) and lungmask (segmentation)
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/segment.py

##@ Document and release
reference: $(READY)  ## generate the reference pages of the documentation from the code
	$(BIN)/python docs/make_reference.py
	$(BIN)/python docs/make_architecture_picture.py
	$(BIN)/python docs/make_benchmarks.py

notebooks: $(READY)  ## generate the notebooks from their text form
	$(BIN)/python notebooks/make_notebooks.py

DOCS_READY := $(VENV)/.docs-ready
$(DOCS_READY): $(READY)
	$(BIN)/python -m pip install --quiet --group docs
	touch $(DOCS_READY)

# NOTEBOOKS=cache executes the notebooks that changed, which takes minutes.
NOTEBOOKS ?= off
SPHINX := $(BIN)/python -m sphinx --nitpicky --fail-on-warning --keep-going --quiet
docs: reference $(DOCS_READY)  ## build the documentation in docs/_build/html, without a network
	NOTEBOOKS=$(NOTEBOOKS) $(SPHINX) docs docs/_build/html
	@echo "open docs/_build/html/index.html"

linkcheck: reference $(DOCS_READY)  ## check the external links of the documentation
	$(SPHINX) -b linkcheck docs docs/_build/linkcheck

dist: $(READY)  ## build the wheel and the sdist in dist/ (needs Node.js)
	$(BIN)/python -m hatchling build

clean:  ## remove the environment and all generated files
	rm -rf $(VENV) demo dist docs/_build docs/reference/api docs/tutorials/notebooks
