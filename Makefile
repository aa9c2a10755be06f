# The two commands: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
PY ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Flags for torch alone, e.g. TORCH_FLAGS="--index-url https://download.pytorch.org/whl/cpu"
TORCH_FLAGS ?=
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
export HF_HUB_OFFLINE := 1
export LITELLM_LOCAL_MODEL_COST_MAP := True
export TOKENIZERS_PARALLELISM := false

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

$(BIN)/python:
	$(PY) -c 'import sys; sys.exit("Tokenweir needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	$(PY) -m venv $(VENV)

$(VENV)/.runtime: requirements/runtime.txt pyproject.toml | $(BIN)/python
	@echo "Installing the pinned runtime (a few minutes the first time)"
	$(PIP) install --quiet --require-hashes --no-deps -r requirements/runtime.txt
	$(PIP) install --quiet $(TORCH_FLAGS) torch==2.13.0
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.runtime
	@echo "Installing the pinned test extras"
	$(PIP) install --quiet --require-hashes --no-deps -r requirements/test.txt
	@touch $@

.PHONY: install
install: $(VENV)/.runtime ## everything `weir` needs, pinned, into .venv

.PHONY: install-test
install-test: $(VENV)/.test ## the same and what the tests need

.PHONY: demo
demo: install ## the main job: real prompts through the real gateway, then the bill
	$(BIN)/weir demo $(ARGS)

.PHONY: run
run: install ## serve weir.yaml
	$(BIN)/weir serve --config weir.yaml

.PHONY: test
test: install-test ## the whole suite
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not local_model and not clients and not clickhouse" $(ARGS)

.PHONY: test-local-model
test-local-model: install-test ## one real language model end to end (half a gigabyte, once)
	$(BIN)/python scripts/fetch_local_model.py
	$(BIN)/python -m pytest -q -m local_model tests/local_model $(ARGS)

CLIENTS := .cache/clients
.PHONY: test-clients
test-clients: install-test ## other clients' libraries (700 MB, once), run as their guides say
	test -x $(CLIENTS)/python/bin/python || $(PY) -m venv $(CLIENTS)/python
	$(CLIENTS)/python/bin/pip install --quiet --require-hashes -r requirements/clients.txt
	mkdir -p $(CLIENTS)/node && cp requirements/node/package*.json $(CLIENTS)/node/
	cd $(CLIENTS)/node && npm ci --silent --no-audit --no-fund
	$(BIN)/python -m pytest -q -m clients tests/integration/test_clients.py $(ARGS)

.PHONY: test-clickhouse
test-clickhouse: install-test ## the analytics queries on ClickHouse's engine (300 MB, once)
	test -x .cache/clickhouse/bin/python || $(PY) -m venv .cache/clickhouse
	.cache/clickhouse/bin/pip install --quiet --require-hashes -r requirements/clickhouse.txt
	WEIR_CLICKHOUSE=.cache/clickhouse/bin/python $(BIN)/python -m pytest -q -m clickhouse \
	  tests/integration/test_clickhouse.py $(ARGS)

.PHONY: image-steps
image-steps: ## the Dockerfile's own steps in a clean folder, where no container engine runs
	$(PY) scripts/image_steps.py

.PHONY: lint
lint: install-test ## ruff, both halves
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: fmt
fmt: install-test ## format and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: type
type: install-test ## mypy, strict
	$(BIN)/mypy

.PHONY: arch
arch: install-test ## the arrows between packages, sizes, packaging
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/architecture

.PHONY: check
check: lint type arch ## lint, types, architecture, fast tests
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow and not local_model" tests/unit tests/contract

.PHONY: bench
bench: install-test ## benchmarks print, they never gate
	$(BIN)/python -m benchmarks.peers --quick

FUZZ_RUNS ?= 100000
.PHONY: fuzz
fuzz: install-test ## atheris over all that reads foreign bytes, schemathesis over every route (long)
	$(PIP) install --quiet --require-hashes --no-deps -r requirements/fuzz.txt
	for target in requests events heads policies reports batch_lines lossless; do \
	  $(BIN)/python tests/fuzz_run.py $$target --runs $(FUZZ_RUNS) || exit 1; done
	WEIR_FUZZ_EXAMPLES=$${WEIR_FUZZ_EXAMPLES:-300} $(BIN)/python -m pytest -q -s tests/integration/test_openapi.py

.PHONY: docs
docs: install-test ## the documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.PHONY: train
train: install-test ## the router's weights again, from the labelled data
	$(BIN)/python -m scripts.train_router

.PHONY: lock
lock: ## resolve the pinned requirements again (needs uv)
	bash scripts/lock.sh

.PHONY: clean
clean: ## drop caches and the venv
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build *.egg-info
