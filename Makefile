# make demo       the whole path on a clip
# make check      formatting, lint, types and import contracts
# make test-fast  tests that start no server, in a minute or two
# make test       the suite, against a real Triton
# make test-slow  images, soak runs, drills of minutes
# make docs       the documentation's site, into build/site
# make clean      remove what these made
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
DEMO := .venv/.installed-demo
TEST := .venv/.installed-test
PEER := .venv-peer/.installed
DOCS := .venv-docs/.installed
PYTEST := $(BIN)/python -m pytest

.PHONY: demo test test-fast test-slow check docs system-deps clean

demo: $(DEMO)
	$(BIN)/deepfake-triton demo --accelerator openvino

test-fast: $(TEST)
	$(PYTEST) -m fast $(PYTEST_ARGS)

test: $(TEST) $(PEER)
	$(PYTEST) -m "not slow" $(PYTEST_ARGS)

test-slow: $(TEST) $(PEER)
	$(PYTEST) -m slow $(PYTEST_ARGS)

check: $(TEST)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy
	$(BIN)/mypy src/deepfake_triton/model_repository/frame_decoder/1/model.py
	$(BIN)/mypy src/deepfake_triton/model_repository/probability_mask/1/model.py
	$(BIN)/mypy src/deepfake_triton/benchmarks/bls_model/1/model.py

docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

$(DEMO): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,openvino,gateway,provenance]'
	touch $@

# Everything of the demo, too. TensorRT for RTX is proprietary, and only the tests use it.
$(TEST): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,openvino,train,bench,signing,gateway,provenance,tensorrt-rtx,test,web-test]'
	touch $(DEMO) $@

# Nothing of ours: a public KServe-v2 client, and the release whose wheel carries perf_analyzer.
$(PEER): constraints-peer.txt
	$(PYTHON) -m venv .venv-peer
	.venv-peer/bin/python -m pip install --quiet --requirement constraints-peer.txt
	touch $@

# Reads the code without importing it, so needs nothing of the project's own extras.
$(DOCS): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

# libb64 is for perf_analyzer, openssl makes the certificates of the tests, chromium shows the web page, the others
# build the image without Docker. Tests skip without them.
system-deps:
	apt-get update -qq
	apt-get install -qq -y --no-install-recommends libb64-0d openssl buildah chromium debootstrap fonts-dejavu-core

clean:
	rm -rf .venv .venv-docs .venv-peer build
