# make demo    three machines on this one, an address that survives: about a minute
# make test    the whole test suite
# make help    the rest

PYTHON ?=
export PYTHON
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help apiserver setup demo test lint wheels simulate constraints clean

help:            ## Show what there is to make
	@sed -n 's/^\([a-z%-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

setup:           ## Make .venv with everything that development needs
	@tools/setup

demo: setup      ## Three machines in network namespaces, their leader killed, frozen, cut off and stopped
	@$(BIN)/kubevip lab demo $(ARGS)

test: setup      ## Run the test suite; ARGS="-k name" for a part of it
	@$(BIN)/python -m pytest $(ARGS)

apiserver:       ## Make the Kubernetes API server that tests use, outside this checkout; needs Go, minutes the first time
	@tools/apiserver

lint: setup      ## Run linters and type checkers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy core/src $(wildcard plugins/*/src)
	$(BIN)/mypy --platform darwin core/src
	$(BIN)/mypy --explicit-package-bases --namespace-packages tests
	$(BIN)/mypy $(wildcard benchmarks/*.py)
	$(BIN)/pyright
	$(BIN)/lint-imports

wheels: setup    ## Build the distributions into dist/
	@tools/wheels dist

bench-%: setup   ## Run benchmarks/NAME.py; prints a table, writes build/bench/NAME.json
	@mkdir -p build/bench
	$(BIN)/python benchmarks/$*.py --json build/bench/$*.json $(ARGS)

simulate: setup  ## Run SEEDS seeded schedules of the raft simulator, from the seed FIRST on
	$(BIN)/python -m tests.plugins.election_raft.simulator --seeds $(or $(SEEDS),10000) --first $(or $(FIRST),0)
	$(BIN)/python -m tests.plugins.election_raft.recovery --seeds $$(( $(or $(SEEDS),10000) / 8 )) --first $(or $(FIRST),0)

constraints: setup ## Write down the versions that are installed now
	$(BIN)/python -m pip list --format=freeze | grep -viE '^(kubevip|uv=|pip=|setuptools)' | sort -f > constraints.txt

clean:           ## Remove what was built
	rm -rf .venv build dist
