#!/usr/bin/env bash
# Formatting and lints; a toolchain from packages may have neither tool, which is said and is no failure of the code.
set -euo pipefail
if cargo fmt --version >/dev/null 2>&1; then cargo fmt --all --check; else echo "lint: SKIPPED formatting: no rustfmt"; fi
if cargo clippy --version >/dev/null 2>&1; then
    cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
else
    echo "lint: SKIPPED clippy: this toolchain has none"
fi
