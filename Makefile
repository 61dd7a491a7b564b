# make demo   train two small networks and look at the result (sets up .venv first)
# make test   the whole test suite
# make bench  the CPU benchmarks; make gpu: everything that needs a CUDA device
# make drill  random calls of all ops, damaged files, killed runs, full disks, sanitizers over the CPU library: see tests/drills
# make wheel  dist/spikeops-*.whl, for every Python >= 3.10 and torch >= 2.10
PYTHON ?= python3
TORCH ?= torch torchvision
VENV ?= .venv
DIST ?= dist

pip := $(VENV)/bin/python -m pip --disable-pip-version-check
sources := pyproject.toml setup.py CMakeLists.txt LICENSE README.md \
  $(shell find csrc kernels spikeops python -type f -not -path '*/__pycache__/*' -not -path 'spikeops/lib/*' -not -path '*.egg-info/*')

.PHONY: demo test lint bench gpu drill wheel clean

demo: $(VENV)/.spikeops
	$(VENV)/bin/python -I -m spiketrain.demo

test: $(VENV)/.spikeops build/testing/.built
	$(VENV)/bin/pytest

lint: $(VENV)/.spikeops
	$(VENV)/bin/ruff check

bench: $(VENV)/.spikeops
	$(VENV)/bin/pytest benchmarks

drill: $(VENV)/.spikeops
	for drill in tests/drills/*.py; do echo "$$drill"; $(VENV)/bin/python "$$drill" || failed="$$failed $$drill"; done; \
	  test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

gpu:
	$(PYTHON) benchmarks/gpu.py

wheel: $(DIST)/.built

clean:
	rm -rf build dist .venv .pytest_cache .hypothesis

$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(pip) install --quiet --upgrade pip
	@echo "Installing $(TORCH) (some minutes and gigabytes the first time)"
	$(pip) install --quiet $(TORCH)
	@touch $@

$(DIST)/.built: $(VENV)/.torch $(sources)
	@echo "Building the wheel (some minutes where there is a CUDA compiler)"
	rm -rf $(DIST)/*.whl build/lib* build/bdist*
	$(pip) wheel --quiet --no-deps --wheel-dir $(DIST) .
	@touch $@

$(VENV)/.spikeops: $(DIST)/.built
	$(pip) install --quiet "$$(ls $(CURDIR)/$(DIST)/*.whl)[train,test]"
	$(pip) install --quiet --no-deps --force-reinstall $(DIST)/*.whl
	@touch $@

# The ops on the CUDA kernels compiled for the host, plain and under sanitizers, for the tests only.
build/testing/.built: $(VENV)/.spikeops
	for variant in testing testing-sanitized; do \
	  $(VENV)/bin/cmake -S . -B build/$$variant -G Ninja -DSPIKEOPS_BUILD_TESTING=ON \
	    -DSPIKEOPS_TESTING_SANITIZE=$$(test $$variant = testing && echo OFF || echo ON) \
	    -DPython_EXECUTABLE=$(CURDIR)/$(VENV)/bin/python -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(VENV)/bin/ninja && \
	  $(VENV)/bin/cmake --build build/$$variant || exit 1; done
	@touch $@
