# On a fresh machine, `make serve` and `make test` set up what they need.
PYTHON ?= python3
PORT ?= 30000
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: serve wheel test test-fast check docs-check bench-smoke clean help

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:[^#]*## /\t/'

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("upsize needs Python 3.11 or later; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serving: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@# Without a compiler there are no kernels: then torch does the work.
	@$(BIN)/python -c 'from upsize.compute import native; raise SystemExit(native.level() is None)' || \
		{ echo "no kernels were compiled here: torch is installed to do their work"; \
		$(BIN)/python -m pip install --quiet --editable '.[torch]'; }
	@touch $@

$(STAMP): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.serving

serve: $(VENV)/.serving  ## set up, then serve the demo models on port 30000 (PORT=… for another)
	$(BIN)/upsize serve --port $(PORT)

wheel: | $(BIN)/python  ## build dist/upsize-*.whl, with the CPU kernels compiled
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

test: $(STAMP)  ## set up, then run the tests
	$(BIN)/python -m pytest -n 2

# Unit tests: no server, no browser, no PostgreSQL, no training, no file system to mount.
FAST := tests/catalog tests/compute tests/diagnostics tests/engine tests/evaluation tests/io tests/model \
	tests/selection tests/store/test_circuit_breaker.py tests/store/test_resident.py tests/index/test_each.py \
	tests/index/test_metadata.py tests/index/test_state.py tests/test_exports.py tests/test_figures.py \
	tests/test_imports.py tests/test_makefile.py tests/test_progress.py
SLOW := tests/compute/native/test_mapped.py tests/compute/native/test_without_torch.py tests/diagnostics/test_parity.py \
	tests/diagnostics/test_service.py tests/diagnostics/test_service_values.py tests/diagnostics/test_verify.py tests/engine/test_fork.py \
	tests/model/test_borders.py tests/model/test_weights.py tests/selection/test_matrix.py tests/selection/test_report.py \
	tests/selection/test_pipeline.py tests/selection/test_without_the_extra.py

test-fast: $(STAMP)  ## unit tests alone, in less than a minute on two cores
	$(BIN)/python -m pytest -n 2 $(FAST) $(SLOW:%=--ignore=%)

check: $(STAMP)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs-check: $(STAMP)  ## figures, options and links in the documents are those of the code and the results
	$(BIN)/python -m pytest tests/docs

bench-smoke: $(STAMP)  ## every benchmark once, at its smallest
	$(BIN)/python -m pytest tests/benchmarks

clean:  ## remove what the commands above made
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
