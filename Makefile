# `make` alone lists the targets.

SHELL := /bin/bash
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
# For the benches, which install what else they need.
PYTHON := python3 -c 'import ensurepip, venv' 2>/dev/null || $(SUDO) sh -c 'apt-get update -qq && apt-get install -qq -y python3 python3-venv'
.DEFAULT_GOAL := help
.PHONY: help run test fuzz release bench chaos clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Start the demo: router, two sample app servers and example stores, nothing to install
	cargo run --locked -- demo

test: ## Check formatting, lints, documentation and dependencies, then run all tests
	@tests/install.sh
	@echo "== formatting"
	@cargo fmt --check
	@echo "== lints"
	@cargo clippy --locked --profile test --all-targets -- -D warnings
	@echo "== documentation"
	@RUSTDOCFLAGS="-D warnings" cargo doc --locked --profile test --no-deps
	@echo "== dependencies"
	@cargo deny --log-level error --locked check bans licenses sources
	@echo "== tests"
	@cargo test --locked --doc
	@RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$((2 * $$(nproc) + 1))} cargo test --locked --lib --bins --tests

fuzz: ## Throw mutated input at the parsers, FUZZ_SECONDS each (20)
	@fuzz/run

release: ## Build target/optimised/usher, the binary to ship
	@deploy/release

bench: ## Measure usher beside nginx and HAProxy, rushes and floods on PostgreSQL, single operations
	@$(PYTHON)
	@echo "== side by side"
	@benches/edge/run
	@echo "== the directory, live"
	@benches/live/run
	@echo "== single operations"
	@cargo bench --locked --no-fail-fast

chaos: ## Let app servers fail behind usher, nginx and HAProxy, and count who notices
	@$(PYTHON)
	@benches/chaos/run

clean: ## Remove what was built
	cargo clean
