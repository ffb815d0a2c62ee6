# Everything a newcomer needs. `make` alone says what there is.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALLED := $(VENV)/installed
COMPILED := $(VENV)/compiled
MINKOWSKI := $(VENV)/minkowski
INTERPRETER := $(VENV)/interpreter
TRITON := $(shell grep -o 'triton>=[^"]*' pyproject.toml)
TORCH := $(shell grep '^torch==' requirements.lock)
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

.DEFAULT_GOAL := help
.PHONY: help setup demo serve stop loadtest test lint types minkowski archive train lock proto clean

help: ## say what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/\1\t\2/' | expand -t 10

setup: $(COMPILED) ## make .venv with the locked dependencies and Calvaria in it

# The builds of torch differ: without an NVIDIA GPU the small one for CPUs, from PyTorch's own index where that can be reached.
$(INSTALLED): requirements.lock pyproject.toml
	@echo "Making $(VENV) with the versions in requirements.lock: two to five minutes on a usual connection."
	$(PYTHON) -m venv $(VENV)
	@if command -v nvidia-smi > /dev/null; then $(PIP) install --quiet "$(TORCH)"; \
	else $(PIP) install --quiet --no-deps --index-url $(TORCH_CPU_INDEX) --timeout 15 --retries 0 "$(TORCH)" \
		|| { echo "PyTorch's CPU index cannot be reached: torch comes from the default index."; $(PIP) install --quiet "$(TORCH)"; }; fi
	$(PIP) install --quiet --requirement requirements.lock
	@touch $@

# Installing compiles the native engine; without a C++ compiler it goes on without.
$(COMPILED): $(INSTALLED) setup.py $(wildcard calvaria/sparse/csrc/*)
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m calvaria.sparse.native
	@touch $@

demo: setup archive ## complete a skull through TorchServe; VOLUME=defective.nrrd [TRUTH=implant.nrrd], or VOLUME=skull.nrrd CUT=3
	$(BIN)/calvaria demo $(if $(VOLUME),--volume "$(VOLUME)") $(if $(TRUTH),--truth "$(TRUTH)") $(if $(CUT),--cut $(CUT))

serve: setup archive ## start the server on this machine, and say how to call it
	$(BIN)/calvaria serve

stop: ## end the server
	@if [ -x $(BIN)/calvaria ]; then $(BIN)/calvaria stop; fi

LOAD ?= --rate 0.4 --requests 48 --mix "64:5,128:3,256:1,bad:garbage:0.5,bad:nrrd-bomb:0.5"

loadtest: setup archive ## load a server of its own for two minutes, compare every answer, report; LOAD="--clients 4 --duration-s 20" for another load
	@$(BIN)/python -m loadtest run --start --compare $(LOAD); status=$$?; $(BIN)/python -m loadtest report; exit $$status

test: lint types $(INTERPRETER) ## lint, types and all tests, with a real TorchServe
	$(BIN)/pytest

lint: setup ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## check types
	$(BIN)/mypy

# PyTorch's build for CPUs brings no Triton, whose interpreter tests the kernels for GPUs; without it those tests are skipped.
$(INTERPRETER): $(INSTALLED) pyproject.toml
	@if $(BIN)/python -c "import triton" 2> /dev/null || $(PIP) install --quiet --no-deps "$(TRITON)"; then touch $@; \
	else echo "Triton cannot be installed here: the kernels for GPUs are not tested."; fi

minkowski: $(MINKOWSKI) ## build MinkowskiEngine, to compare with: about nine minutes, once per machine

$(MINKOWSKI): $(INSTALLED) $(wildcard tools/*minkowski*.py)
	$(BIN)/python tools/build_minkowski.py
	@touch $@

archive: setup ## build archive/model_store/*.mar
	$(BIN)/python archive/build.py

train: setup ## fit every task's networks, into runs/completion, runs/super-resolution and runs/refinement
	$(BIN)/calvaria retrain

lock: setup ## resolve pyproject.toml anew into requirements.lock
	$(BIN)/pip-compile --quiet --allow-unsafe --no-build-isolation --strip-extras --no-annotate --no-header \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --extra serve --extra dev --extra plots --output-file requirements.lock pyproject.toml
	sed -i -e 's/+cpu$$//' -e '/^nvidia-/d' -e '/^cuda-/d' -e '/^triton==/d' -e '/^#/d' -e '/^$$/d' requirements.lock

proto: setup ## generate the gRPC messages from calvaria/client/inference.proto
	$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. calvaria/client/inference.proto

clean: stop ## end the server, and remove what was built; .venv, trained runs, out and logs stay
	rm -rf archive/model_store .run build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -prune -exec rm -rf {} +
