# One command each; `make` alone says which. Everything is installed into .venv from the hashed lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST_WORKERS ?= 2

.PHONY: help demo stack chaos tools test test-cluster test-image check format run bench bench-policy flame docs dashboards simulate mutants fuzz lock clean
.DEFAULT_GOAL := help

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

$(STAMP): requirements/dev.txt requirements/run.txt pyproject.toml $(wildcard connector/express/*.[ch])
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Say which with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m connector.express.build --if-possible
	touch $@

demo: $(STAMP) ## Three kinds of record from a real broker into a Braze double, audited
	$(BIN)/aiq-braze demo $(DEMO)

tools: $(STAMP) ## The programs that tests start (helm, kubeconform, promtool, Prometheus), built once by Go and kept
	$(BIN)/python -m tests.tools

test: $(STAMP) tools ## Every test; what cannot run here is skipped with its reason (REQUIRE_ALL=1: fails instead)
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadgroup $(TESTS)

test-image: $(STAMP) ## The image built and run: version, check, read-only root, SIGTERM (needs root, buildah, debootstrap)
	$(BIN)/python -m pytest -m image --durations=5 tests/image $(TESTS)

stack: $(STAMP) ## Kafka, registry, Braze double, Prometheus, connector and records on this machine, until Ctrl-C (needs a JVM, Maven, Go)
	@$(BIN)/python -m stack

chaos: $(STAMP) ## Kills, restarts, freezes and cuts on Apache Kafka, audited: KILLS=50 SEED=1 MINUTES=0 (needs a JVM and Maven)
	$(BIN)/python -m tests.chaos --kills $(or $(KILLS),50) --seed $(or $(SEED),1) --minutes $(or $(MINUTES),0) $(CHAOS)

test-cluster: $(STAMP) ## The chart on a real Kubernetes (built by Go the first time: about 17 minutes; then about two)
	$(BIN)/python -m tests.tools cluster
	$(BIN)/python -m pytest -m cluster tests/cluster $(TESTS)

check: $(STAMP) ## Format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Write the format and the lint's safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

run: $(STAMP) ## The connector itself, with the configuration in CONFIG=
	$(BIN)/aiq-braze run --config $(CONFIG)

bench: $(STAMP) ## Cost, speed, memory, waits, beside peers, on Apache Kafka: BENCH="--only events --out FILE" (needs a JVM and Maven; Bento: Go)
	$(BIN)/python -m bench $(BENCH)

bench-policy: $(STAMP) ## What the rules make of the quota, in virtual time: the same figures on every machine
	$(BIN)/python -m bench.policy

flame: $(STAMP) ## docs/flame-graph.svg anew: where the connector's processor time goes (needs a JVM, Maven, py-spy, root)
	$(BIN)/python -m bench.flame $(FLAME)

docs: $(STAMP) ## The generated pages: configuration, metrics, the chart's values and their schema
	$(BIN)/python -m connector.reference docs
	$(BIN)/python -m helm.reference

dashboards: $(STAMP) ## The Grafana dashboards, from their code into the chart
	$(BIN)/python -m dashboards

simulate: $(STAMP) ## The connector in virtual time under faults: SEEDS=1000 SEED=0
	$(BIN)/python -m connector.simulation --seeds $(or $(SEEDS),1000) --seed $(or $(SEED),0)

fuzz: $(STAMP) ## Damaged records, schemas, replies and commit metadata: CASES=1000000 SEED=0
	$(BIN)/python -m tests.fuzz --cases $(or $(CASES),1000000) --seed $(or $(SEED),0)

mutants: $(STAMP) ## Connectors that break a promise on purpose, and how soon the simulation finds each out
	$(BIN)/python -m tests.mutants

lock: $(STAMP) ## Resolve the dependencies anew into the hashed lock (needs uv)
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet --upgrade --output-file requirements/run.txt
	uv pip compile pyproject.toml --extra tracing --constraint requirements/run.txt --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet --upgrade --output-file requirements/tracing.txt
	uv pip compile pyproject.toml --extra tracing --group dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet --upgrade --output-file requirements/dev.txt

clean: ## Remove what the commands above made
	rm -rf connector/express/*.so $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
