# Everything sets itself up: Python 3.11 or newer with its venv module, and make, are all it takes.
PYTHON ?= python3
SERVER_PORT ?= 4200
KILLS ?= 20
BENCH_DIR ?= .benchmarks
BIN := .venv/bin

# Prefect keeps its database and settings in the checkout, and sends nothing to anybody.
export PREFECT_HOME ?= $(CURDIR)/.prefect
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
LOCAL_API := http://127.0.0.1:$(SERVER_PORT)/api

.PHONY: demo test bench chaos lint server deploy worker stop clean lock help
.DEFAULT_GOAL := help

help:  ## list these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 13

demo: server  ## train on the bundled playlists against a local Prefect server, and say where the report is
	@PREFECT_API_URL=$${PREFECT_API_URL:-$(LOCAL_API)} $(BIN)/python -m flows.train_playlists $(ARGS)

test: .venv/ready  ## run all tests, in two processes
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

chaos: server  ## kill runs at random moments and compare what the next ones leave; KILLS=20 of them
	@PREFECT_API_URL=$${PREFECT_API_URL:-$(LOCAL_API)} $(BIN)/python -m tests.integration.chaos $(KILLS)

bench: .venv/ready  ## time solver, scale, ranking, flow and loader; JSON in BENCH_DIR=.benchmarks; some or more: ARGS="--slow scale"
	@BENCH_DIR="$(BENCH_DIR)" $(BIN)/python -m tests.benchmarks $(ARGS)

lint: .venv/ready  ## ruff, ruff format and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

server: .venv/ready  ## start a Prefect server in the background unless one answers
	@$(BIN)/python -m tasks.server start $(SERVER_PORT)

deploy: .venv/ready  ## bring work pool, deployments and automations to the Prefect server; again to update them
	@PREFECT_API_URL=$${PREFECT_API_URL:-$(LOCAL_API)} $(BIN)/python -m tasks.deploy

# Where it finds the code, and what relative paths of a deployment count from.
worker: export PLAYLISTS_HOME ?= $(CURDIR)
worker: .venv/ready  ## execute what is started from deployments, until Ctrl-C
	@PREFECT_API_URL=$${PREFECT_API_URL:-$(LOCAL_API)} $(BIN)/prefect worker start --pool playlists --type process

stop:  ## end the server that `make server` or `make demo` started
	@test ! -e .venv/ready || $(BIN)/python -m tasks.server stop

clean: stop  ## delete the environment, Prefect's database and what runs left behind
	rm -rf .venv .prefect store *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

lock: .venv/ready  ## resolve pyproject.toml again, for everybody and for the image; add ARGS=--upgrade to take newer versions
	$(BIN)/uv pip compile pyproject.toml --extra build --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" --quiet $(ARGS) -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra build --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" --quiet -c requirements.lock -o deployments/requirements.lock

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock -c requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@
