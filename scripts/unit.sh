#!/usr/bin/env bash
# All tests. Their temporary files go into one folder that is removed whatever happens: some tests kill programs half-way.
set -euo pipefail
cd "$(dirname "$0")/.."

# Short: the sockets of tests are below it, and a socket's path has at most 107 bytes.
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/mosXXXX")
export TMPDIR
chmod 1777 "$TMPDIR" # some tests are other users
# Some folders may not be written to, which stops whoever is not root; what cannot be removed is no failed test.
trap 'chmod -R u+rwX "$TMPDIR" 2>/dev/null || true; rm -rf --one-file-system "$TMPDIR" || true' EXIT

MOS_NODE_PROGRAMS=$PWD/dist/node cargo nextest run --workspace --locked --profile ci "$@"
cargo test --workspace --doc --locked --quiet
