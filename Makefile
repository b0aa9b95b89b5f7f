# Two commands: `make demo` and `make test`. Each sets up what it needs: a .venv from the hashed lock.
PYTHON ?= python3
MODALITY ?= tabular
BIN := .venv/bin
export PYTHONDONTWRITEBYTECODE := 1

demo: .venv/.done
	$(BIN)/python demo/demo.py $(MODALITY)

test: .venv/.done
	$(BIN)/python -m pytest -n 2 tests

.venv/.done: requirements.lock
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	touch $@

# Newest versions of everything, hashed: the root's environment, and the stamped project's part of it.
lock: .venv/.done
	$(BIN)/python tests/lock.py

.PHONY: demo test lock
