# `make run` and `make test` do everything, on a fresh Debian or Ubuntu machine, as root or with sudo.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Where rustup and `cargo install` put programs; not on every PATH.
export PATH := $(HOME)/.cargo/bin:$(PATH)

CARGO  ?= cargo
PORT   ?= 8080
MOS    := dist/bin/mos

.PHONY: help run test build check unit system deny test-garage deps-build deps-run deps-test bench clean

help: ## Show what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: deps-run build ## Build the quickstart system and boot it in QEMU until its page is served
	$(MOS) run --config examples/quickstart --env dev --output dist --forward $(PORT):8080 \
	    --until ready --timeout 300 --get http://127.0.0.1:$(PORT)/ --timeline dist/boot-timeline.svg

test: deps-test build check unit deny ## Everything that CI runs
	@echo "make test: all passed"

build: deps-build ## Build mos and the node's programs into dist/
	$(CARGO) xtask build

check: deps-build ## Formatting, lints, layering
	@scripts/lint.sh
	$(CARGO) xtask layers

unit: deps-test build ## All tests: units, programs, whole nodes in QEMU
	MOS_NODE_PROGRAMS=$(CURDIR)/dist/node $(CARGO) nextest run --workspace --locked --profile ci
	$(CARGO) test --workspace --doc --locked --quiet

deny: deps-test ## Licences, duplicates, sources, advisories
	scripts/deny.sh

test-garage: deps-test ## Buckets, against a real Garage server (built from crates.io the first time: long)
	$(CARGO) xtask test-garage

bench: build ## Measure what SPECIFICATION.md promises
	$(CARGO) run --release --quiet --locked --package xtask -- bench

bench-%: build ## One benchmark: bench-build, bench-boot, bench-flist
	$(CARGO) run --release --quiet --locked --package xtask -- bench $*

deps-build deps-run deps-test:
	@scripts/deps.sh $(@:deps-%=%)

clean: ## Remove what was built here (the cache in ~/.cache/mos stays: `mos clean`)
	rm -rf dist target
