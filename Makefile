# pgdrill: every suite target is one pytest line. `make` alone explains itself.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest

# make bench DURATION=300 CLIENTS=16 is the same as PGDRILL_DURATION=300 PGDRILL_CLIENTS=16 make bench
OPTIONS := PLATFORM ENGINE PROFILE CONTEXT DURATION CLIENTS RATE LOAD LOAD_WORKERS ROWS RESEED SEED TRIALS RUN_ID REPORTS_DIR \
  PORT_OFFSET REQUIRE_CAPABILITIES IMAGES TIMING OPERATOR POSTGRES KUBERNETES NODE_IMAGE REGISTRY_MIRROR RELEASE_MIRROR ARCHIVE BUDGET SLOW KEEP
# (only from the command line: a stray SEED or PLATFORM in the environment is ignored).
$(foreach option,$(OPTIONS),$(if $(filter command%,$(origin $(option))),$(eval export PGDRILL_$(option) := $($(option)))))

.PHONY: help
help: ## explain the targets
	@echo "pgdrill: would my database survive this, would users notice, would anyone be paged?"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "options (make bench CLIENTS=32): $(OPTIONS)"

# The stamp is written last: an interrupted installation is begun again.
.venv/.$(shell cat requirements/pgdrill.lock | cksum | cut -d' ' -f1): requirements/pgdrill.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "pgdrill: $(PYTHON) is older than 3.11: install a newer one, or run make PYTHON=..."; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && { apt-get -qq update; apt-get -qq install -y --no-install-recommends -o DPkg::Lock::Timeout=300 python3-venv; }; } || { echo "pgdrill: python3-venv is missing: run 'apt-get install python3-venv' as root"; exit 2; }
	@echo "installing locked dependencies into .venv"
	@$(PYTHON) -m venv --clear .venv
	@sed -n '/^uv==/,/^[^ ]*==/p' requirements/pgdrill.lock | sed '$$d' > .venv/uv.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.lock
	@UV_CACHE_DIR="$${PGDRILL_CACHE_DIR:-$$HOME/.cache/pgdrill}/uv" $(BIN)/uv pip sync --quiet --require-hashes --compile-bytecode --python $(BIN)/python requirements/pgdrill.lock
	@rm -f .venv/.[0-9]*; touch $@

.PHONY: venv
venv: .venv/.$(shell cat requirements/pgdrill.lock | cksum | cut -d' ' -f1)

.PHONY: drill
drill: export PGDRILL_PROFILE ?= quick
drill: up ## the main job: up, smoke, seed, alerts, bench, chaos, report
	$(PYTEST) -m "smoke or perf or chaos or recovery or alerts"

.PHONY: up down seed status drift
up: venv ## bring the cluster up (twice is once)
	@$(BIN)/python -m pgdrill up
down: venv ## remove everything that up made
	@$(BIN)/python -m pgdrill down
seed: venv ## load >= 1M relational rows (twice is once) and print their checksums (RESEED=1: anew where they are damaged)
	@$(BIN)/python -m pgdrill seed
status: venv ## show what is running
	@$(BIN)/python -m pgdrill status
drift: venv ## show what of it differs from what is declared, and change nothing
	@$(BIN)/python -m pgdrill drift

.PHONY: backup restore discard
backup: venv ## take a full backup now (DIFFERENTIAL=1: what changed since the last full one, local)
	@$(BIN)/python -m pgdrill backup $(if $(DIFFERENTIAL),--differential,)
restore: venv ## AT=<instant, LSN, restore point or latest>: a new cluster of what the archive holds up to there (REPLACE=1: in place of the one restored before)
	@$(BIN)/python -m pgdrill restore $(if $(AT),"$(AT)",) $(if $(REPLACE),--replace,)
discard: venv ## remove the cluster that was restored
	@$(BIN)/python -m pgdrill discard

.PHONY: smoke bench scale chaos recovery alerts controls
smoke: venv ## is the cluster what it claims to be?
	$(PYTEST) -m smoke
bench: venv ## pgbench for DURATION seconds against the SLOs
	$(PYTEST) -m perf
scale: venv ## load the pooler: it grows, shares, shrinks, and loses nothing (kind)
	$(PYTEST) -m scale
chaos: venv ## kill, freeze, switch over: outage and lost writes
	$(PYTEST) -m chaos
recovery: venv ## destroy, restore to an instant, compare every row
	$(PYTEST) -m recovery
alerts: venv ## make alerts fire, reach Alertmanager, resolve
	$(PYTEST) -m alerts
controls: venv ## bad set-ups that must come out broken
	$(PYTEST) -m controls

RUN ?= latest
.PHONY: report
report: venv ## judge RUN (default: the latest) again from its records, BUDGET=KEY=LIMIT,... in place of pgdrill's
	@$(BIN)/python -m pgdrill report $(RUN)

.PHONY: picture
picture: venv ## make docs/report.png, the picture of the README, from the page of RUN=<directory> (Chromium)
	@$(BIN)/python -m tests.browser $(RUN)/report.html docs/report.png

.PHONY: compare
compare: venv ## put RUNS="first ... last" side by side: what differs, and what became worse
	@$(BIN)/python -m pgdrill compare $(RUNS)

.PHONY: budgets
budgets: venv ## list every promise, with its key and its arithmetic
	@$(BIN)/python -m pgdrill budgets

.PHONY: images
images: venv ## list what the kind platform is built from
	@$(BIN)/python -m pgdrill images

.PHONY: dashboards
dashboards: venv ## write infra/dashboards/*.json from pgdrill/dashboards
	@$(BIN)/python -m pgdrill.dashboards

.PHONY: test unit rules manifests mutants pulled lint lock
# On `local` unless a PLATFORM is given: unit tests use its programs, controls sabotage its processes.
test: export PGDRILL_PLATFORM ?= local
test: venv chromium lint up ## the project's own tests: lint, types, unit, rules, then a quick drill and what must go wrong
	@$(MAKE) --no-print-directory unit
	$(MAKE) --no-print-directory drill
	PGDRILL_PROFILE=quick $(PYTEST) -m controls
	@$(MAKE) --no-print-directory down
	PGDRILL_PROFILE=quick $(PYTEST) -m "badinput or watch"
.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && { apt-get -qq update; apt-get -qq install -y --no-install-recommends -o DPkg::Lock::Timeout=300 chromium fonts-dejavu-core; }; } || echo "pgdrill: no chromium: the page is not looked at in a browser"
unit: venv ## unit and rule tests alone: nothing is brought up
	$(PYTEST) -rs -m unit tests/unit
mutants: venv ## change what judges, one thing at a time: which unit tests notice? (on two free cores, by hand)
	@UV_CACHE_DIR="$${PGDRILL_CACHE_DIR:-$$HOME/.cache/pgdrill}/uv" $(BIN)/uv pip sync --quiet --require-hashes --target .venv/mutmut requirements/mutants.lock
	@PYTHONPATH=$(CURDIR)/.venv/mutmut $(BIN)/python -m tests.mutants
rules: venv ## tests of alerts and recorded series alone, by promtool
	$(PYTEST) -rs -m unit tests/unit/test_rules.py
manifests: venv ## write what kind declares to .pgdrill/manifests, checked by kustomize and helm
	@$(BIN)/python -m tests.manifests
	$(PYTEST) -m unit --require-capabilities tests/unit/test_infra.py
pulled: venv ## drill kind from a registry and a release server of this machine, Go hidden, nothing cached
	@$(BIN)/python -m tests.pulled
SCRIPTS = .ci/run .ci/summary docs/upstream/empty-scrape.sh infra/images/node/files/usr/local/sbin/pgdrill-network pgdrill/platforms/kubernetes/worker.sh $(shell find infra -name '*.sh')
# There is no wheel of it that holds the program; Go is what kind is built with.
define ACTIONLINT
if command -v go >/dev/null; then set -x; go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 -shellcheck $(BIN)/shellcheck $$(find .github examples -path '*/workflows/*.yml'); \
else echo "actionlint: not run, it needs Go: .github/workflows was only read as YAML"; fi
endef
lint: venv ## style, types, layers, playbooks, scripts, workflows, rule syntax
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin
	$(BIN)/lint-imports --no-logo
	$(BIN)/yamllint --strict -c infra/.yamllint infra .github examples action.yml
	$(BIN)/shellcheck $(SCRIPTS)
	ANSIBLE_CONFIG=infra/ansible/ansible.cfg PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/ansible-lint -q -c infra/ansible/.ansible-lint infra/ansible
	@$(ACTIONLINT)
	$(BIN)/python -m pgdrill.observe.rulefiles infra/alerts/*.yaml infra/alerts/rules/*.yaml
lock: venv ## update the lock files from pyproject.toml and requirements/*.in
	for args in "pyproject.toml --group checks -o requirements/pgdrill.lock" "requirements/mutants.in -c requirements/pgdrill.lock -o requirements/mutants.lock" "requirements/members.in -o requirements/members.lock" "requirements/collections.in --no-deps -o requirements/collections.lock" "requirements/barman.in --no-deps -o requirements/barman.lock"; do $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links $$args || exit; done
