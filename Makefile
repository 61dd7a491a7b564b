# make demo   train two small networks and look at the result (sets up .venv first)
# make test   the whole test suite, in a process for each core (WORKERS=1: in one); make -j2 builds: what has to be built for it
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
# Of which a test reads what clang makes.
CLANG_ISAS ?= v3;v4

pip := $(VENV)/bin/python -m pip --disable-pip-version-check
sources := pyproject.toml setup.py CMakeLists.txt LICENSE README.md \
  $(shell find csrc kernels spikeops python -type f -not -path '*/__pycache__/*' -not -path 'spikeops/lib/*' -not -path '*.egg-info/*')

.PHONY: demo test builds lint bench gpu drill mutants docs wheel clean

demo: $(VENV)/.spikeops
	$(VENV)/bin/python -I -m spiketrain.demo

builds := $(VENV)/.spikeops $(VENV)/.peers build/testing/.built build/testing-sanitized/.built build/testing-clang/.built
test: $(builds)
	$(VENV)/bin/pytest -n $(WORKERS) --dist worksteal

builds: $(builds)

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

# What builds need beside a compiler, and torch's headers.
$(VENV)/.tools:
	$(PYTHON) -m venv $(VENV)
	$(pip) install --quiet --upgrade pip
	$(pip) install --quiet "cmake>=3.22" ninja
	@touch $@

$(VENV)/.torch: $(VENV)/.tools
	@echo "Installing $(TORCH) (some minutes and gigabytes the first time)"
	$(pip) install --quiet $(TORCH)
	@touch $@

$(DIST)/.built: $(VENV)/.torch $(sources)
	@echo "Building the wheel (some minutes where there is a CUDA compiler)"
	rm -rf $(DIST)/*.whl build/lib* build/bdist*
	$(pip) wheel --quiet --no-deps --wheel-dir $(DIST) .
	@touch $@

# What the package and some of its extras ask for, from pyproject.toml: installed while the wheel is still being compiled (make -j2).
requirements = import importlib, sys; \
  project = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "pip._vendor.tomli").load(open("pyproject.toml", "rb"))["project"]; \
  print(*(required for extra in sys.argv[1:] for required in project["optional-dependencies"][extra]), sep="\n")
extras := train test export

$(VENV)/.extras: $(VENV)/.torch pyproject.toml
	$(VENV)/bin/python -c '$(requirements)' $(extras) > $@.txt
	$(pip) install --quiet -r $@.txt
	@touch $@

# The libraries of the extra `peers`, for the tests that compare with them. Those skip what is not there.
$(VENV)/.peers: $(VENV)/.extras
	$(VENV)/bin/python -c '$(requirements)' peers > $@.txt
	$(pip) install --quiet --no-deps -r $@.txt
	@touch $@

comma := ,
$(VENV)/.spikeops: $(DIST)/.built $(VENV)/.extras
	$(pip) install --quiet "$$(ls $(CURDIR)/$(DIST)/*.whl)[$(subst $() $(),$(comma),$(extras))]"
	$(pip) install --quiet --no-deps --force-reinstall $(DIST)/*.whl
	@touch $@

$(VENV)/.docs: $(VENV)/.spikeops
	$(pip) install --quiet "$$(ls $(CURDIR)/$(DIST)/*.whl)[docs]"
	@touch $@

# For the tests only: the ops on the CUDA kernels compiled for the host, beside those on the wheel's own CPU kernels; both once more
# under sanitizers; and the CPU kernels by clang, where there is one that knows the instruction sets and finds its headers, since a test
# reads what it made of their loops.
cmake = $(VENV)/bin/cmake -S . -B $(@D) -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(VENV)/bin/ninja
testing = $(cmake) -DSPIKEOPS_BUILD_TESTING=ON -DPython_EXECUTABLE=$(CURDIR)/$(VENV)/bin/python

build/testing/.built: $(DIST)/.built $(VENV)/.extras
	$(testing) -DSPIKEOPS_COMPILED_KERNELS=$$(ls -td $(CURDIR)/build/temp.*/native | head -n 1)
	$(VENV)/bin/cmake --build $(@D)
	@touch $@

build/testing-sanitized/.built: $(VENV)/.extras $(sources)
	$(testing) -DSPIKEOPS_TESTING_SANITIZE=ON
	$(VENV)/bin/cmake --build $(@D)
	@touch $@

build/testing-clang/.built: $(VENV)/.tools $(sources)
	mkdir -p $(@D)
	if echo "#include <cstdlib>" | clang++ -std=c++20 -march=x86-64-v4 -fsyntax-only -x c++ - 2> /dev/null; then \
	  $(cmake) -DSPIKEOPS_KERNELS_ALONE=ON -DCMAKE_CXX_COMPILER=clang++ "-DSPIKEOPS_ISAS=$(CLANG_ISAS)" && \
	  $(VENV)/bin/cmake --build $(@D); fi
	@touch $@
