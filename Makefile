# Two commands: `make demo` and `make test`. Each sets up what it needs: a .venv from the hashed lock.
PYTHON ?= python3
MODALITY ?= tabular
BIN := .venv/bin
export PYTHONDONTWRITEBYTECODE := 1

demo: .venv/.done
	$(BIN)/python demo/demo.py $(MODALITY)

test: .venv/.done
	$(BIN)/python -m pytest -n 2 --dist worksteal tests

.venv/.done: requirements.lock
	@$(PYTHON) -c 'import sys; sys.version_info < (3, 11) and sys.exit("Python 3.11 or newer is needed, $(PYTHON) is %d.%d; name another: make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	touch $@

# What a shorter test stands for in `make test`: whole walks, minutes each.
slow-test: .venv/.done
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow tests

# Kill a run at every step, every file operation and inside its writes, and resume it: docs/resume.md (half an hour).
crash-test: .venv/.done
	cd tests && ../$(BIN)/python crash.py

# Faults injected in generated projects: which checks catch them. Writes docs/checks.md; an interrupted run goes on.
fault-benchmark: .venv/.done
	$(BIN)/python fault_injection/run.py

# Each check taken out in turn: does a test fail? docs/mutation.md (a quarter of an hour).
mutation-test: .venv/.done
	$(BIN)/python tests/mutation.py

# Every bad input the tests try, with the sentence one gets: docs/bad-input.md.
bad-input: .venv/.done
	cd tests && ../$(BIN)/python test_faults.py

# Newest versions of everything, hashed: the root's environment, and the generated project's part of it.
lock: .venv/.done
	$(BIN)/python tests/lock.py

.PHONY: demo test slow-test crash-test fault-benchmark mutation-test bad-input lock
