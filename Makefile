# Set-up and everything else; `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SAMPLE := tests/data/sample

.PHONY: help demo test lint bench docs clean
help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

# torch is pinned to what the numbers were made with. TORCH may name another, or the options of pip that take its build for
# processors, which on Linux saves gigabytes of CUDA.
TORCH ?= torch==2.13.0
$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable '.[train]' --group test --group lint
	touch $(READY)

demo: $(READY)  ## segment a real scan; train on the shipped sample, judge, export; draw it all
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
	@echo "look at  demo/scan_lungs_preview.png         a real scan, and its lungs by the shipped model"
	@echo "         demo/run/pairs.png                  what the network saw"
	@echo "         demo/run/curves.png                 how it learned"
	@echo "         demo/run/evaluation-test/cases.png  how well, on a patient it never saw"
	@echo "         demo/masks/*_overlay.png            its masks"
	@echo "         demo/segmented/*_preview.png        right and left lung, found without PyTorch"

test: $(READY)  ## all tests
	$(BIN)/python -m pytest

lint: $(READY)  ## style, types, spelling, and which room imports which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

bench: $(READY)  ## speed and memory beside Keras (training) and lungmask (segmenting)
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/segment.py

docs: $(READY)  ## write the reference pages that are made from the code
	$(BIN)/python docs/make_reference.py

clean:  ## remove what the targets made
	rm -rf $(VENV) demo dist
