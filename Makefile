# On a machine with nothing but Python 3.11+ and make: `make demo`, then `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test results lint clean

setup: $(STAMP)

# The stamp is written last, so an interrupted set-up is taken up again by the next call.
$(STAMP): setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[bundled,train,gcp,aws,dev]"
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/lanser build --input examples/audio --output out/demo --taxonomy ekman

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -q -n 2 --dist loadfile tests

# Hours; takes up where it was stopped. SPEECH and RAVDESS are folders: docs/results.md says of what.
results: $(STAMP)
	$(BIN)/python -m benchmarks.results --speech "$(SPEECH)" --ravdess "$(RAVDESS)" --write docs/results.md

lint: $(STAMP)
	$(BIN)/ruff check .

clean:
	rm -rf $(VENV) out build *.egg-info
