# The words of this project.  `make` alone lists them.
PYTHON ?=
export PYTHON
BIN := .venv/bin
SEED ?= 1
SEEDS ?= 50

.PHONY: help setup demo run quick test test-all check format sim bench docs conformance clean

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup:  ## the environment alone, in .venv, with .venv/bin/altiplano
	@sh tools/setup.sh run

demo:  ## a pool on this machine runs a small Monte Carlo production, and its result is shown
	@sh tools/setup.sh run
	@$(BIN)/python tools/demo.py

run:  ## a pool on this machine, until Ctrl-C
	@sh tools/setup.sh run
	@$(BIN)/altiplano up

quick:  ## unit, stateful and documentation tests, under a minute
	@sh tools/setup.sh test
	@$(BIN)/python tools/levels.py unit stateful docs

test:  ## what continuous integration runs: all levels
	@sh tools/setup.sh test
	@$(BIN)/python tools/levels.py --all

test-all:  ## the night: more seeds, longer chaos
	@sh tools/setup.sh test
	@$(BIN)/python tools/levels.py --all --night

check:  ## format, lint, types, imports
	@sh tools/setup.sh test
	@$(BIN)/python tools/levels.py check

format:  ## put the sources into their form
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

sim:  ## simulate SEED, or SEEDS seeds from there
	@sh tools/setup.sh run
	@$(BIN)/python -m altiplano.sim --seed $(SEED) --seeds $(SEEDS)

bench:  ## benchmarks, or one with ONLY=name; prints a table, keeps benchmarks/results/latest.jsonl
	@sh tools/setup.sh dev
	@$(BIN)/python benchmarks/bench.py $(if $(ONLY),--only $(ONLY))

docs:  ## the documentation's pictures made anew
	@sh tools/setup.sh test
	@$(BIN)/python tools/pictures.py

conformance:  ## the whole Mesos v1 conformance suite, whatever passes
	@sh tools/setup.sh test
	@$(BIN)/python tools/conformance.py --everything

clean:  ## remove the environment and everything that was made
	rm -rf .venv .cache out altiplano/pagekit/static/vendor dist
