# What people do with this repository. `make help` lists it.
#
# `make test` is the whole gate. Everything in it uses the dev profile and the lock file. What is built for tests has the
# OpenFeature provider, which the default build has not, so that one set of artifacts serves them all. Lints,
# documentation and the client's check come first: they share one set of checked dependencies and fail soonest.

CARGO ?= cargo
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help build run test test-offline simulate clients lint fmt doc deny bench-fanout

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the server, optimised
	$(CARGO) build --locked --release

run: ## Run it: make run ARGS="serve --flags examples/phase-9.flags.yaml"
	$(CARGO) run --locked --release -- $(ARGS)

# A phase is one command with the seconds it took. The first that fails ends the run.
define PHASES
began=$$(date +%s); report=; \
phase() { \
	name=$$1; shift; start=$$(date +%s); \
	printf '\n==> %s: %s\n' "$$name" "$$*"; \
	if "$$@"; then word=ok; else word=FAILED; fi; \
	line=$$(printf '%-8s %5d s  %s' "$$name" $$(( $$(date +%s) - start )) $$word); \
	report="$$report$$line\n"; \
	if [ $$word = FAILED ]; then summary; exit 1; fi; \
}; \
summary() { printf '\n%b%-8s %5d s\n' "$$report" total $$(( $$(date +%s) - began )); }
endef

# What needs nothing but the crates of the lock file.
define OFFLINE
phase format $(CARGO) fmt --check; \
phase lint $(CARGO) clippy --locked --all-targets --features openfeature -- -D warnings; \
phase lint $(CARGO) clippy --locked --test clients --features openfeature -- -D warnings; \
phase doc env RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --locked --no-deps --lib; \
phase client $(CARGO) check --locked --no-default-features --features client; \
phase client $(CARGO) check --locked --no-default-features --features client,openfeature; \
phase build $(CARGO) test --locked --features openfeature --no-run; \
phase test $(CARGO) test --locked --features openfeature
endef

# The published OpenFeature clients, from PyPI and npm.
define CLIENTS
phase install $(MAKE) --no-print-directory clients; \
phase clients $(CARGO) test --locked --test clients --features openfeature
endef

test: ## Everything that must hold before a change is merged, with the seconds of each phase
	@$(PHASES); $(OFFLINE); $(CLIENTS); summary

test-offline: ## The same without the published clients: asks no package registry but the crates'
	@$(PHASES); $(OFFLINE); summary

clients: tests/clients/.installed ## Install the published OpenFeature clients that the tests run

tests/clients/.installed: $(addprefix tests/clients/,install.sh requirements.txt package.json package-lock.json .npmrc)
	tests/clients/install.sh

SEEDS ?= 100000
FROM ?= 1

simulate: ## Subscriptions under faults: make simulate SEEDS=100000 [FROM=1], or one seed with its history: SEED=7
	@echo "$(if $(SEED),$(SEED),$(FROM) $$(( $(FROM) + $(SEEDS) - 1 )))" | $(CARGO) test --locked --release --lib \
		sync::simulation::seeds_from_standard_input -- --exact --ignored --nocapture

lint: ## Formatting and clippy only
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets --features openfeature -- -D warnings
	$(CARGO) clippy --locked --test clients --features openfeature -- -D warnings

fmt: ## Format the sources
	$(CARGO) fmt

doc: ## Build the documentation; a broken link is an error
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --locked --no-deps --lib

bench-fanout: ## Kills to many subscribers, beside bare writers: make bench-fanout ARGS="--subscribers 1000"
	$(CARGO) bench --locked --bench fanout -- $(ARGS)

deny: ## Advisories, licences and bans; needs cargo-deny
	$(CARGO) deny check
