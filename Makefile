# `make demo` and `make test` install everything they need in .venv. They only need Python 3.11 or newer.

PYTHON ?= python3
# The torch release for demo and tests. Any release from 2.4 on works; TORCH=torch takes the newest.
TORCH ?= torch==2.13.0
# A further index for it. Without a GPU, PyTorch's CPU wheels save 5 GB:
# make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
# Your own image for the demo: make demo IMAGE=path.h5, or a TIFF
IMAGE ?=
# Scenarios and options for make chaos, for example CHAOS="kills --seeds 2", and options for make
# soak and make bench. With --write they also write the tables of the documentation.
CHAOS ?=
SOAK ?=
BENCH ?=

# The command for containers, and options for its builds, for example
# DOCKER_BUILD_ARGS="--secret id=pip.conf,src=pip.conf"
DOCKER ?= docker
DOCKER_BUILD_ARGS ?=
# Options for uv in make lock, for example LOCK=--upgrade
LOCK ?=

BIN := .venv/bin
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
BUILD = DOCKER_BUILDKIT=1 $(DOCKER) build $(DOCKER_BUILD_ARGS) --build-arg VERSION=$(VERSION) \
	--build-arg REVISION=$(shell git rev-parse HEAD)
RECORDS = DOCKER="$(DOCKER)" $(PYTHON) -m deploy.image_records

# Tests start many processes, which would compile all modules again without their cache.
unexport PYTHONDONTWRITEBYTECODE
PYTEST = $(BIN)/python -m pytest -n 5 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-all test-long lint format docs dist bench chaos soak audit lock images image-gpu base-image e2e-docker clean

demo: .venv/demo.installed
	$(BIN)/python deploy/demo/run.py $(if $(IMAGE),--image "$(IMAGE)")

# All tests but those of whole runs that take long.
test: .venv/dev.installed
	$(PYTEST) -m "not slow and not long"

# All tests but those that take many minutes.
test-all: .venv/dev.installed
	$(PYTEST) -m "not long"

# Thousands of damaged records and files, each permission taken away, small runs of long scenarios,
# and further members of families of which the normal run has a few.
test-long: .venv/dev.installed
	$(PYTEST) -m long

lint: .venv/dev.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/dev.installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Writes the generated pages, and builds the site in site/. Any warning fails it.
docs: .venv/dev.installed
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Builds the wheel and the sdist in dist/, and checks them. A release uploads these files.
dist: .venv/dev.installed
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*

# Compares with chunkflow and MONAI, each in its own environment.
bench: .venv/dev.installed
	$(BIN)/python -m benchmarks.inference $(BENCH)
	$(BIN)/python -m benchmarks.blending $(BENCH)
	$(BIN)/python -m benchmarks.memory $(BENCH)
	$(BIN)/python -m benchmarks.chain $(BENCH)
	$(BIN)/python -m benchmarks.overlap $(BENCH)
	$(BIN)/python -m benchmarks.volume_io $(BENCH)
	$(BIN)/python -m benchmarks.small_tasks $(BENCH)
	$(BIN)/python -m benchmarks.large_ledger $(BENCH)
	$(BIN)/python -m benchmarks.sending $(BENCH)
	$(BIN)/python -m benchmarks.simulation $(BENCH)

# Kills workers, repeats messages, cuts connections...
chaos: .venv/dev.installed
	$(BIN)/python -m tests.chaos $(CHAOS)

# 100,000 tiny tasks on workers that are killed, and whose memory must not grow.
soak: .venv/dev.installed
	$(BIN)/python -m tests.soak $(SOAK)

# Looks for known vulnerabilities in the installed packages and in those of the images, with PyPI's
# advisory service. Fails with the names of the packages that it could not look up.
audit: .venv/dev.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/python deploy/audit.py

# Locks what the images install, with hashes: deploy/requirements/*.txt.
lock: .venv/dev.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.8,<1"
	PATH="$(CURDIR)/$(BIN):$$PATH" deploy/requirements/lock.sh $(LOCK)

# Builds the images, and writes what is in each (CycloneDX) and what it was built from (in-toto, SLSA)
# to build/images.
images:
	$(BUILD) --target producer --tag chunkflow-producer:$(VERSION) .
	$(BUILD) --target local-aws --tag chunkflow-local-aws:$(VERSION) .
	$(BUILD) --target worker-cpu --tag chunkflow-worker:$(VERSION)-cpu .
	$(RECORDS) producer=chunkflow-producer:$(VERSION) local-aws=chunkflow-local-aws:$(VERSION) \
		worker-cpu=chunkflow-worker:$(VERSION)-cpu

# Separate, because it downloads gigabytes of CUDA.
image-gpu:
	$(BUILD) --target worker-gpu --tag chunkflow-worker:$(VERSION)-gpu .
	$(RECORDS) worker-gpu=chunkflow-worker:$(VERSION)-gpu

# Asks the registry for the digest that the tag of the base image has today, and pins it in the
# Dockerfile.
base-image:
	tag=$$(sed -n 's/^ARG PYTHON_IMAGE=\([^@]*\).*/\1/p' Dockerfile) \
	&& digest=$$($(DOCKER) buildx imagetools inspect "$$tag" --format '{{.Manifest.Digest}}') \
	&& sed -i "s|^ARG PYTHON_IMAGE=.*|ARG PYTHON_IMAGE=$$tag@$$digest|" Dockerfile \
	&& grep '^ARG PYTHON_IMAGE=.*@sha256:' Dockerfile

# Builds the images and runs a job with compose, while it stops and kills workers. Needs Docker.
e2e-docker:
	DOCKER="$(DOCKER)" DOCKER_BUILD_ARGS="$(DOCKER_BUILD_ARGS)" $(PYTHON) -m tests.deploy.e2e_docker

clean:
	rm -rf .venv benchmarks/.envs build dist site demo-output .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, but this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv

.venv/demo.installed: pyproject.toml | .venv/bin/python
	@echo "Installing into .venv: about 2 GB, or 7 with CUDA. The first time this takes some minutes, silently"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) "$(TORCH)" --editable ".[all]"
	@touch $@

.venv/dev.installed: pyproject.toml | .venv/bin/python
	@echo "Installing into .venv: about 2 GB, or 7 with CUDA. The first time this takes some minutes, silently"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) "$(TORCH)" --editable ".[dev]"
	@touch $@ .venv/demo.installed
