#!/usr/bin/env bash
# All tests. Their temporary files go into one folder that is removed whatever happens: some tests kill programs half-way.
set -euo pipefail
cd "$(dirname "$0")/.."

# Short: the sockets of tests are below it, and a socket's path has at most 107 bytes.
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/mosXXXX")
export TMPDIR
chmod 1777 "$TMPDIR" # some tests are other users
trap 'rm -rf --one-file-system "$TMPDIR"' EXIT

MOS_NODE_PROGRAMS=$PWD/dist/node cargo nextest run --workspace --locked --profile ci "$@"
cargo test --workspace --doc --locked --quiet
