# The habits of the house. `make` alone tells what there is.

CARGO ?= cargo
export CARGO_TERM_COLOR ?= auto
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: help setup run build test lint bench clean

help: ## what there is
	@awk 'BEGIN { FS = ":.*## " } /^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what building, testing and benching need (apt when it may, else it prints the line)
	@scripts/setup build test bench

run: ## build in release and start capturing (ARGS="--lan --name phone" are passed on)
	@scripts/setup build
	@$(CARGO) build --release --package weir --bin weir
	@echo "The binary is $(TARGET_DIR)/release/weir. Press Ctrl-C to stop; nothing is lost."
	@exec $(TARGET_DIR)/release/weir capture $(ARGS)

build: ## build everything for development
	@scripts/setup build
	@$(CARGO) build --workspace --all-targets

test: ## every test: units, properties, and the stories in tests/
	@scripts/setup build test
	@scripts/test

lint: ## formatting, clippy, shell scripts, dependencies
	@scripts/lint

bench: ## the measures of benches/ (takes a while; run it on a quiet machine)
	@scripts/setup build test bench
	@benches/run

clean: ## remove what was built
	@$(CARGO) clean
	@rm -rf tests/.venv tests/node/node_modules
