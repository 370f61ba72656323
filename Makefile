# `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# How many end-to-end tests run side by side: they mostly wait for pods.
E2E_WORKERS ?= 6
E2E = PATH="$(CURDIR)/.dev/bin:$$PATH" KUBECONFIG="$(CURDIR)/.dev/kubeconfig" $(BIN)/pytest tests/e2e

include hack/cluster.mk

.PHONY: help venv lock demo dev test unit e2e e2e-alone e2e-side bench chaos lint format crds clean

help: ## this list
	@grep -hE '^[a-z][a-z ]*:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-22s %s\n", $$1, $$2}'

venv: ## the checkout's own Python environment, from the locks
	@$(PYTHON) -m hack.venv dev

.PHONY: cli
cli: ## the `ossa` command alone, in the same environment
	@$(PYTHON) -m hack.venv cli

lock: venv ## write requirements/*.txt anew from pyproject.toml
	@hack/lock

demo: up cli ## the data pipeline on real pods, by kubectl and through the gateway, from a bare machine to its report
	@$(PYTHON) -m hack.demo

dev: up venv ## run the reconciler from the checkout against the cluster
	@$(BIN)/python -m hack.dev

test: up venv ## all tests: unit, then the demo, end to end and with faults on the cluster of `make up`
	@$(PYTHON) hack/test.py

unit: venv ## tests of pure code and of single processes
	@$(BIN)/pytest tests/unit -n 2 -q

e2e: e2e-alone e2e-side ## tests on real pods

# Those that kill a part of the installation come first, one after the other; then the rest, side by side.
e2e-alone: up venv
	@$(E2E) -m alone -q

e2e-side: up venv
	@$(E2E) -m "not alone" -n $(E2E_WORKERS) --dist worksteal -q

bench: up venv ## how fast the engine is, e.g. ONLY=300 ARGS="-o json" (ARGS=--help says more)
	@$(BIN)/python -m tests.bench $(if $(ONLY),--only $(ONLY)) $(ARGS)

.PHONY: bench-admission
bench-admission: up venv ## how long admission takes with 50 policies, with and without the webhook
	@KUBECONFIG="$(CURDIR)/.dev/kubeconfig" $(BIN)/python -m tests.bench.admission $(ARGS)

.PHONY: bench-gateway
bench-gateway: up venv ## the figures of the gateway, the bus and the records, e.g. ARGS="--only path" (ARGS=--help says more)
	@KUBECONFIG="$(CURDIR)/.dev/kubeconfig" $(BIN)/python -m tests.bench.gateway $(ARGS)

chaos: up venv ## faults at random moments, e.g. DURATION=10m SEED=7 ARGS="-o json" (ARGS=--help says more)
	@$(BIN)/python -m tests.chaos $(if $(DURATION),--duration $(DURATION)) $(if $(SEED),--seed $(SEED)) $(ARGS)

lint: venv ## ruff, mypy strict, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy ossa controllers agents tests hack $(wildcard operator/*.py)
	@$(BIN)/lint-imports

format: venv ## ruff format, and its safe fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

crds: venv ## write crds/ and the samples' agents anew from their sources
	@$(BIN)/python -m ossa.api.crds crds charts/ossa-crds/files
	@$(BIN)/python hack/samples.py

clean: down ## `make down`, and everything in the checkout that is ignored by git but for its history
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
