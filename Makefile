# `make run` and `make test` do everything, on a fresh Debian or Ubuntu machine, as root or with sudo.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Where rustup and `cargo install` put programs; not on every PATH.
export PATH := $(HOME)/.cargo/bin:$(PATH)
# What only somebody who edits and debugs needs costs gigabytes: cargo by hand has both.
export CARGO_INCREMENTAL ?= 0
export CARGO_PROFILE_DEV_DEBUG ?= 0

CARGO  ?= cargo
PORT   ?= 8080
FUZZ_SECONDS ?= 60
MINUTES ?= 10
MOS    := dist/bin/mos

.PHONY: help run test room build programs check unit deny test-alpine test-garage test-long test-pjdfs fuzz soak-init peers-flist peers-image peers-init deps-build deps-run deps-test deps-long bench bench-init clean

help: ## Show what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: deps-run build ## Build the quickstart system and boot it in QEMU until its page is served
	$(MOS) run --config examples/quickstart --env dev --output dist --forward $(PORT):8080 \
	    --until ready --timeout 300 --get http://127.0.0.1:$(PORT)/ --timeline dist/boot-timeline.svg

test: room deps-test programs check unit deny ## Everything that CI runs
	@echo "make test: all passed"

room:
	@scripts/room.sh

build: deps-build ## Build mos and the node's programs into dist/
	$(CARGO) xtask build

programs: deps-build ## Build the node's programs into dist/node
	$(CARGO) xtask build node

check: deps-build ## Formatting, lints, layering
	@scripts/lint.sh
	$(CARGO) xtask layers

unit: deps-test programs ## All tests: units, programs, whole nodes in QEMU
	@scripts/unit.sh

deny: deps-test ## Licences, duplicates, sources, advisories
	scripts/deny.sh

test-garage: deps-test ## Buckets, against a real Garage server (built from crates.io the first time: long)
	$(CARGO) xtask test-garage

test-alpine: deps-run build ## examples/alpine, from MOS_ALPINE_MIRROR (URL or folder) or MOS_ALPINE_MINIROOT (file)
	scripts/test-alpine.sh

test-long: deps-long programs ## What takes too long for every day: a kernel from source, a node for another processor, booted
	$(CARGO) xtask build node --architecture aarch64
	$(CARGO) nextest run --locked -p mos --test node --run-ignored only --no-capture

test-pjdfs: deps-test ## Only this: a writable mount against pjdfstest, a test suite of POSIX file systems
	$(CARGO) nextest run --locked -p mos-mount --test pjdfstest --no-capture

fuzz: deps-build ## Feed every parser with hostile bytes, FUZZ_SECONDS (60) for each of fuzz/targets
	@command -v cargo-fuzz >/dev/null || $(CARGO) install --locked --quiet cargo-fuzz
	cd fuzz && $(CARGO) run --quiet --example seeds
	for target in $$($(CARGO) fuzz list); do \
	    $(CARGO) fuzz run -s none $$target -- -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 -timeout=20; done

soak-init: deps-build ## Everything that can happen to my_init and its services, at random, for MINUTES (10); SOAK_SEED repeats one
	SOAK_SECONDS=$$(($(MINUTES) * 60)) $(CARGO) nextest run --locked -p my-init --test soak --no-capture

bench: build ## Measure what SPECIFICATION.md promises
	$(CARGO) run --release --quiet --locked --package xtask -- bench

bench-flist: export PATH := $(CURDIR)/target/peers/bin:$(PATH)
bench-flist: peers-flist
bench-image: peers-image
bench-init: programs peers-init ## my_init against other supervisors
	$(CARGO) run --release --quiet --locked --package xtask -- bench init

bench-%: build ## One benchmark: bench-build, bench-boot, bench-flist, bench-image
	$(CARGO) run --release --quiet --locked --package xtask -- bench $*

peers-flist peers-image peers-init:
	@scripts/peers.sh $(@:peers-%=%)

deps-build deps-run deps-test deps-long:
	@scripts/deps.sh $(@:deps-%=%)

clean: ## Remove what was built here (the cache in ~/.cache/mos stays: `mos clean`)
	rm -rf dist target
