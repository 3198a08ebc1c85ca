# Everything a fresh machine needs is python3 (3.11 or newer, with venv) and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := -m pip --disable-pip-version-check --quiet install

# Stamps: .ready-core has what a node needs, .ready-test what its tests need, .ready-drill what its drills need besides,
# .ready-dev what `make check` needs.
CORE := $(VENV)/.ready-core
TEST := $(VENV)/.ready-test
DRILL := $(VENV)/.ready-drill
DEV := $(VENV)/.ready-dev
CV4 := .venv-cv4/.ready
BENCH := .venv-bench/.ready

.DEFAULT_GOAL := venv
.PHONY: venv help demo test test-cv4 check drill drill-short bench bench-env docs clean

venv: $(DEV) ## build .venv with everything in it (plain `make`)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(CORE) ## a head count on real video across a cloud and two edges; leaves demo-out/
	$(BIN)/ecnode assets fetch
	$(BIN)/ecnode dev --edges 2 --demo video --seconds 30 --out demo-out

# What starts whole nodes and watches their clocks runs alone; the rest shares the cores.
test: $(TEST) ## all tests but the drills
	$(BIN)/ecnode assets fetch
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile tests/unit tests/contract
	$(BIN)/pytest tests/flow tests/process

test-cv4: $(CV4) ## the pipeline's tests on OpenCV 4.14, in an environment of their own
	.venv-cv4/bin/ecnode assets fetch
	.venv-cv4/bin/pytest tests/unit/pipeline

check: $(DEV) ## lint, types, import floors, unsafe words, both READMEs in step, generated docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/bandit --ini setup.cfg --quiet --recursive node tools docs
	$(BIN)/python tools/gate.py
	$(BIN)/python tools/readme.py
	$(BIN)/python docs/generate.py --check

drill-short: $(DRILL) ## the drills of at most five minutes
	$(BIN)/ecnode assets fetch
	@$(call drills,drill_short,300)

drill: $(DRILL) ## all drills, up to an hour
	$(BIN)/ecnode assets fetch
	@$(call drills,drill or drill_short,1800)

# $(call drills,mark,seconds for one drill). pytest ends with 5 where nothing was collected: no drill yet is said, no failure.
drills = $(BIN)/pytest -m "$(1)" -o faulthandler_timeout=$(2); code=$$?; \
	if [ $$code -eq 5 ]; then echo "no drill is marked '$(1)' yet"; else exit $$code; fi

bench: $(CORE) $(BENCH) ## run every benchmark
	@set -- benchmarks/*.py; \
	if [ ! -e "$$1" ]; then echo "bench: there are no benchmarks yet"; exit 0; fi; \
	for program in "$$@"; do echo "== $$program"; $(BIN)/python "$$program" || exit 1; done

bench-env: $(BENCH) ## the environment of the peers that benchmarks compare with

$(BENCH): setup.cfg
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python $(PIP) grpcio flask requests huey celery redis packaging
	@touch $@

docs: $(DEV) ## write the generated pages of docs/
	$(BIN)/python docs/generate.py

clean: ## remove what was built here; fetched assets stay in their own folder
	rm -rf .venv .venv-cv4 .venv-bench build dist demo-out *.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "ecnode needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# An extra contains the ones before it, so their stamps come with it. node/__init__.py holds the version.
$(CORE): setup.cfg pyproject.toml node/__init__.py | $(BIN)/python
	$(BIN)/python $(PIP) --editable .
	@touch $@

$(TEST): setup.cfg pyproject.toml node/__init__.py | $(BIN)/python
	$(BIN)/python $(PIP) --editable '.[test]'
	@touch $(CORE) $@

$(DRILL): setup.cfg pyproject.toml node/__init__.py | $(BIN)/python
	$(BIN)/python $(PIP) --editable '.[drill]'
	@touch $(CORE) $(TEST) $@

$(DEV): setup.cfg pyproject.toml node/__init__.py | $(BIN)/python
	$(BIN)/python $(PIP) --editable '.[dev]'
	@touch $(CORE) $(TEST) $@

$(CV4): setup.cfg pyproject.toml node/__init__.py
	$(PYTHON) -m venv .venv-cv4
	.venv-cv4/bin/python $(PIP) --editable '.[test]' 'opencv-python-headless >= 4.14, < 5'
	@touch $@
