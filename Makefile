# Everything runs in .venv, which `make env` builds from pyproject.toml; needs Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
PYTEST_ARGS ?=
# Processes that share the tests, a file each at a time; 0 runs all in one.
WORKERS ?= 2

.PHONY: env run test lint mutations types conform-otp crash-states crash-kills real-days conform-mnesia conform-thespian typing-tree clean help

help:           ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

.venv/.made: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Palaver needs Python 3.11 or newer; set PYTHON=python3.x" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

env: .venv/.made    ## make the environment in .venv

run: env        ## start a node here (data in ./data)
	$(BIN)/palaver serve $(ARGS)

test: env       ## run every test: WORKERS=n (PYTEST_ARGS=...)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

conform-otp: env  ## Palaver beside Erlang/OTP: PROGRAMS=n random programs
	@$(BIN)/python tests/otp/conform.py

real-days: env  ## the simulation's scenarios with real nodes, sockets and kill -9: DAYS=n (SEED=n)
	@DAYS=$(or $(DAYS),100) SEED=$(or $(SEED),1) $(BIN)/python -m pytest --long -s tests/faults/test_real_town.py -k many

conform-mnesia: env  ## the tables beside Mnesia: PROGRAMS=n random programs
	@$(BIN)/python tests/mnesia/conform.py

crash-states: env  ## open STATES=n of the disks that a power cut may leave (SEED=n)
	@$(BIN)/python tests/crash/crash_scenarios.py $(or $(STATES),2000) $(SEED)

crash-kills: env  ## kill -9 of writing processes, ROUNDS=n times (SEED=n)
	@$(BIN)/python tests/crash/killing.py $(or $(ROUNDS),1000) $(SEED)

mutations: env  ## realistic bugs, and after how many seeds each is caught: SEEDS=n ONLY=name JOBS=n
	@$(BIN)/python tests/mutations/mutation_run.py --seeds $(or $(SEEDS),2000) --only "$(ONLY)" --jobs $(or $(JOBS),2) $(MUTATION_ARGS)

lint: env       ## ruff and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

conform-thespian: env  ## Thespian's own test suite on our base and on its simple one, compared
	$(BIN)/python tests/thespian/conform.py $(CONFORM_ARGS)

# mypy and import-linter want to see the package as one tree.
typing-tree: env
	@mkdir -p .typing/palaver
	@for part in actors supervisors storage transport; do ln -sfn ../../$$part .typing/palaver/$$part; done

types: typing-tree  ## mypy --strict
	MYPYPATH=.typing $(BIN)/mypy --strict -p palaver.actors -p palaver.supervisors -p palaver.storage -p palaver.transport

clean:          ## remove the environment and caches
	rm -rf .venv .typing .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build *.egg-info
