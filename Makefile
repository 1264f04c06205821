# lem_models: everything runs in an environment of its own, .venv, made on first use. `make` alone lists what there is.
#
# PYTHON   interpreter for the environment (default: the first of these that runs, is new enough and can make environments)
# CPU=1    take the CPU-only build of torch from PyTorch's own index (on Linux, PyPI's is the much larger CUDA build)
# DATA     bars to use instead of those that come with the package: .parquet, .csv or .csv.gz
# WORKERS  test processes, one torch thread each
# AGAINST  older commit that `make speed` also measures, in turns with this one
# RELEASE_FLAGS  more options of release/check.py, such as --partial-ok
# ROOM     folder of tests for `make test-fast`, such as markets or hub; several with spaces between

PYTHON ?= python3.11 python3 python3.12 python3.13 python3.14 python3.10
WORKERS ?= 2
MODEL ?= lem-crypto-hourly
OUT ?= reports/benchmark

SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
comma := ,
CPU_INDEX := https://download.pytorch.org/whl/cpu

# Orders, bars, features, simulator and models: what most changes touch, and quick to test.
ROOM ?= guard orders markets statistics features modeling test_structure.py
# A file of tests runs in one process, so what its tests share is made once.
# They start in order of their names; by the number of their tests, as is usual, long files of few tests would come last.
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: help install dev demo test test-fast check test-slow test-nautilus docs notebooks bench speed release-check sbom audit \
        clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  variables: DATA=bars.parquet, PYTHON=path/to/python, CPU=1 (CPU-only torch), WORKERS=$(WORKERS)"

install: $(VENV)/.installed ## environment with the package, in .venv

dev: $(VENV)/.installed-dev ## the same with test and check tools

demo: install ## run the main job and write an HTML report (DATA=bars.parquet: on your bars)
	@$(BIN)/lem demo $(if $(DATA),--data "$(DATA)")

test: check ## checks, then the tests
	$(PYTEST) --durations 5

test-fast: dev ## the tests of orders, bars, features and models (ROOM=hub: of another folder)
	$(PYTEST) $(addprefix tests/,$(ROOM))

test-slow: dev ## the tests that take long
	$(PYTEST) -m slow --durations 5

# NautilusTrader for Python 3.11 needs pandas 2, so its tests have an environment of their own. Elsewhere they are skipped.
test-nautilus: ## the tests of NautilusTrader, in an environment of their own, .venv-nautilus
	@$(MAKE) --no-print-directory VENV=.venv-nautilus .venv-nautilus/.installed-nautilus
	.venv-nautilus/bin/python -m pytest -n $(WORKERS) --durations 5 tests/integrations/nautilus

check: dev ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: dev ## the documentation as a site, into build/site/; a reference that leads nowhere is an error
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -c docs/site . build/site
	@echo "build/site/index.html"

notebooks: dev ## run the example notebooks again and store their outputs
	$(BIN)/python benchmarks/notebooks.py

bench: install ## slippage benchmark (DATA=bars.parquet MODEL=name OUT=folder)
	$(BIN)/python benchmarks/slippage.py --model "$(MODEL)" $(if $(DATA),--data "$(DATA)") --out "$(OUT)"

speed: install ## speed and scaling benchmarks, into reports/ (some minutes, 12 GB of temporary disk; AGAINST=commit)
	$(BIN)/python benchmarks/speed.py --out reports/speed $(if $(AGAINST),--against "$(AGAINST)") $(if $(DATA),--data "$(DATA)")
	$(BIN)/python benchmarks/scaling.py --bars 1e6 1e7 1e8 --out reports/scaling

release-check: $(VENV)/.installed-release ## build sdist and wheels, try them in clean environments (CPU=1: torch for every Python)
	$(BIN)/python release/check.py $(if $(CPU),--torch-index $(CPU_INDEX)) $(RELEASE_FLAGS)

sbom: $(VENV)/.installed-release ## bill of materials of the locked versions, CycloneDX, into dist/
	$(BIN)/python release/supply.py sbom --out dist/lem_models-sbom.cdx.json

audit: $(VENV)/.installed-release ## known vulnerabilities of the locked versions (exit code 4: no service could be reached)
	$(BIN)/python release/supply.py audit

clean: ## remove caches and builds
	rm -rf build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find lem_models tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## remove the environments too
	rm -rf $(VENV) .venv-nautilus

# --- the environment -------------------------------------------------------------------------------------------------

# Stamps: pip runs again only when a requirement changed. $(1) is what pip installs, $(2) what the user is told, $(3) other
# constraints.
# Of pip's output only the large downloads are shown; its errors come through.
define pip_install
@echo "Installing $(2) into $(VENV): a minute or two, $$(sed -n 's/^\(torch\)==/\1 /p' constraints.txt) and about 75 other packages,"
@echo "  0.35 GB to download and 1.5 GB on disk with CPU-only torch (CPU=1 asks for it), several times that with CUDA"
@set -o pipefail; started=$$(date +%s); \
PYTHONUNBUFFERED=1 $(BIN)/python -m pip install --disable-pip-version-check --no-input -c $(or $(3),constraints.txt) \
    $(if $(CPU),--extra-index-url $(CPU_INDEX)) -e '$(1)' \
  | awk '/(Downloading|Using cached) .*[0-9][0-9](\.[0-9]+)? [MG]B\)/ { print "  " $$1, $$2, $$3, $$4, $$5; fflush() } \
         /^Installing collected/ { print "  unpacking"; fflush() }' \
&& echo "  done in $$(( $$(date +%s) - started )) s"
endef

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(call pip_install,.,lem_models and what it needs)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(call pip_install,.[dev],lem_models with its test and check tools)
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-release: pyproject.toml constraints.txt | $(BIN)/python
	$(call pip_install,.[release],lem_models with the tools of a release)
	@touch $@

$(VENV)/.installed-nautilus: pyproject.toml constraints.txt | $(BIN)/python
	@grep -v '^pandas' constraints.txt > $(VENV)/constraints.txt
	$(call pip_install,.[nautilus$(comma)test],lem_models with NautilusTrader and its test tools,$(VENV)/constraints.txt)
	@touch $@

$(BIN)/python:
	@tried=""; for candidate in $(PYTHON); do \
	  version=$$("$$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
	  if "$$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then \
	    echo "Making $(VENV) with Python $$version"; \
	    exec "$$candidate" -m venv --clear $(VENV); \
	  fi; \
	  tried="$$tried $$candidate ($$version)"; \
	done; \
	echo "error: lem_models needs Python 3.10 or newer with the venv module. Found:$${tried:- none of $(PYTHON)}." >&2; \
	echo "       Name one: make install PYTHON=/path/to/python3.11 (on Debian: apt install python3-venv)" >&2; \
	exit 1
