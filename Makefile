# Each target makes .venv, installs the project with the versions of constraints.txt, and runs one thing.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: train test test-slow lint bench install clean

train: install
	$(BIN)/python train.py

test: install
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-slow: install
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: install
	$(BIN)/python benchmarks/rollout.py
	$(BIN)/python benchmarks/grpo_step.py --time-to-accuracy
	$(BIN)/python benchmarks/sft.py
	$(BIN)/python benchmarks/faults.py
	$(BIN)/python benchmarks/reward.py

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis
