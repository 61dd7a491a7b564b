# make demo   train two small networks and look at the result (sets up .venv first)
# make test   the whole test suite, in a process for each core (WORKERS=1: in one)
# make bench  the CPU benchmarks; make gpu: everything that needs a CUDA device
# make drill  random calls of all ops, damaged files, killed runs, full disks, sanitizers over the CPU library: see tests/drills
# make mutants  wrong changes to a copy of the sources, one at a time: whether the tests notice, see tests/mutants
# make docs   build/docs/index.html, from docs/ and the docstrings; a warning is an error
# make wheel  dist/spikeops-*.whl, for every Python >= 3.10 and torch >= 2.10
PYTHON ?= python3
TORCH ?= torch torchvision
VENV ?= .venv
DIST ?= dist
WORKERS ?= auto

pip := $(VENV)/bin/python -m pip --disable-pip-version-check
sources := pyproject.toml setup.py CMakeLists.txt LICENSE README.md \
  $(shell find csrc kernels spikeops python -type f -not -path '*/__pycache__/*' -not -path 'spikeops/lib/*' -not -path '*.egg-info/*')

.PHONY: demo test lint bench gpu drill mutants docs wheel clean

demo: $(VENV)/.spikeops
	$(VENV)/bin/python -I -m spiketrain.demo

test: $(VENV)/.spikeops $(VENV)/.peers build/testing/.built build/testing-clang/.built
	$(VENV)/bin/pytest -n $(WORKERS) --dist worksteal

lint: $(VENV)/.spikeops
	$(VENV)/bin/ruff check

bench: $(VENV)/.spikeops
	$(VENV)/bin/pytest benchmarks

drill: $(VENV)/.spikeops
	for drill in tests/drills/*.py; do echo "$$drill"; $(VENV)/bin/python "$$drill" || failed="$$failed $$drill"; done; \
	  test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

mutants: $(VENV)/.spikeops
	$(VENV)/bin/python tests/mutants/run.py $(MUTANTS)

docs: $(VENV)/.docs
	$(VENV)/bin/python -I -m sphinx --builder html --fail-on-warning --keep-going --quiet docs build/docs
	@echo build/docs/index.html

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
	$(pip) install --quiet "$$(ls $(CURDIR)/$(DIST)/*.whl)[train,test,export]"
	$(pip) install --quiet --no-deps --force-reinstall $(DIST)/*.whl
	@touch $@

# The libraries of the extra `peers`, for the tests that compare with them. Those skip what is not there.
peers = import importlib.metadata as m; print(*(r.split(";")[0] for r in m.requires("spikeops") if r.endswith("\"peers\"")), sep="\n")
$(VENV)/.peers: $(VENV)/.spikeops
	$(VENV)/bin/python -c '$(peers)' > $@.txt
	$(pip) install --quiet --no-deps -r $@.txt
	@touch $@

$(VENV)/.docs: $(VENV)/.spikeops
	$(pip) install --quiet "$$(ls $(CURDIR)/$(DIST)/*.whl)[docs]"
	@touch $@

# The ops on the CUDA kernels compiled for the host, plain and under sanitizers, for the tests only; beside them those on the CPU kernels,
# for the instruction set that this machine runs.
widest = import spikeops; print(spikeops.backends()["cpu"].get("isa", "native"))
build/testing/.built: $(VENV)/.spikeops
	isa=$$($(VENV)/bin/python -I -c '$(widest)') && for variant in testing testing-sanitized; do \
	  $(VENV)/bin/cmake -S . -B build/$$variant -G Ninja -DSPIKEOPS_BUILD_TESTING=ON -DSPIKEOPS_ISAS=$$isa \
	    -DSPIKEOPS_TESTING_SANITIZE=$$(test $$variant = testing && echo OFF || echo ON) \
	    -DPython_EXECUTABLE=$(CURDIR)/$(VENV)/bin/python -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(VENV)/bin/ninja && \
	  $(VENV)/bin/cmake --build build/$$variant || exit 1; done
	@touch $@

# The CPU kernels by clang, where there is one that knows the instruction sets and finds its headers: a test reads what it made of
# their loops.
build/testing-clang/.built: $(VENV)/.spikeops
	mkdir -p build/testing-clang
	if echo "#include <cstdlib>" | clang++ -std=c++20 -march=x86-64-v4 -fsyntax-only -x c++ - 2> /dev/null; then \
	  $(VENV)/bin/cmake -S . -B build/testing-clang -G Ninja -DSPIKEOPS_BUILD_TESTING=ON -DCMAKE_CXX_COMPILER=clang++ "-DSPIKEOPS_ISAS=v3;v4" \
	    -DPython_EXECUTABLE=$(CURDIR)/$(VENV)/bin/python -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(VENV)/bin/ninja && \
	  $(VENV)/bin/cmake --build build/testing-clang --target spikeops_testing_kernels_v3 spikeops_testing_kernels_v4; fi
	@touch $@
