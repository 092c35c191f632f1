# Needs Python 3.11 or later and make, nothing else: `make demo`, then `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder tests

.PHONY: setup demo test test-avx2 lint audit lock results results-quick gpu-kit site clean

setup: $(STAMP)

# The stamp is written last, so that the next call repeats a set-up that was interrupted.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[bundled,train,export,gcp,aws,dask,docs,dev]"
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/lanser build --input examples/audio --output out/demo --taxonomy ekman

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The type checker runs beside the tests.
test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy & types=$$!; $(PYTEST); tests=$$?; wait $$types && exit $$tests

# The libraries choose their kernels by processor, and kernels differ in the last digits: this is how the tests run on
# a processor without AVX-512, such as AMD's Zen 3.
test-avx2: $(STAMP)
	ATEN_CPU_CAPABILITY=avx2 CT2_FORCE_CPU_ISA=AVX2 ONEDNN_MAX_CPU_ISA=AVX2 OPENBLAS_CORETYPE=Haswell $(PYTEST)

# A report of known vulnerabilities of the pinned versions, which it asks PyPI for; not a part of make test.
audit: $(STAMP)
	$(BIN)/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip

# requirements.lock from constraints.txt. uv has a folder of its own, as it is needed for nothing else.
lock:
	$(PYTHON) -m venv build/uv
	build/uv/bin/python -m pip install --quiet "uv>=0.5"
	echo "# What lanser[bundled,train,export,gcp,aws] needs on Linux x86_64 with Python 3.11, by hash. Written by make lock." \
		> requirements.lock
	build/uv/bin/uv --quiet pip compile pyproject.toml --constraint constraints.txt --generate-hashes --no-header \
		--extra bundled --extra train --extra export --extra gcp --extra aws --no-annotate \
		--python-version 3.11.7 --python-platform x86_64-manylinux_2_28 >> requirements.lock

# Takes hours, and continues where it was stopped. SPEECH and RAVDESS are folders: see docs/results.md.
results: $(STAMP)
	$(BIN)/python -m benchmarks.results --speech "$(SPEECH)" --ravdess "$(RAVDESS)" --write docs/results.md

# A small part of the experiment in a few minutes, to see that everything works.
results-quick: $(STAMP)
	$(BIN)/python -m benchmarks.results --quick --speech "$(SPEECH)" --ravdess "$(RAVDESS)"

# A folder for a GPU machine without a network: this commit, and the wheels of what benchmarks/gpu.py needs. KIT_PYTHON is
# the version of Python there. For a machine that has torch: make gpu-kit KIT_PACKAGES="faster-whisper …".
KIT_PYTHON ?= 3.11
KIT_PACKAGES ?= $(shell $(BIN)/python -c "from benchmarks.gpu_parts.packages import *; print(*PACKAGES.values(), CUBLAS_PACKAGE)")
KIT_PLATFORMS := $(foreach glibc,39 35 34 31 28 27 17 5,--platform manylinux_2_$(glibc)_x86_64) \
	--platform manylinux2014_x86_64 --platform manylinux1_x86_64
gpu-kit: $(STAMP)
	mkdir -p out/gpu-kit
	git archive HEAD | tar --extract --directory out/gpu-kit
	$(BIN)/python -m pip download --quiet --dest out/gpu-kit/wheels --only-binary :all: $(KIT_PLATFORMS) \
		--python-version $(KIT_PYTHON) --implementation cp --constraint constraints.txt $(KIT_FLAGS) $(KIT_PACKAGES)

# The documents as a site below out/site; a broken link is an error.
site: $(STAMP)
	$(BIN)/mkdocs build

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache out build *.egg-info
