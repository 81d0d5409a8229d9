#!/usr/bin/env bash
# All tests. Their temporary files go into one folder that is removed whatever happens; what a test left there is named.
set -euo pipefail
cd "$(dirname "$0")/.."

# Short: the sockets of tests are below it, and a socket's path has at most 107 bytes.
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/mosXXXX")
export TMPDIR
chmod 1777 "$TMPDIR" # some tests are other users
finish() {
    local left
    left=$(find "$TMPDIR" -mindepth 1 -maxdepth 1)
    [ -z "$left" ] || echo "unit: tests left this behind, now removed: ${left//$'\n'/ }" >&2
    rm -rf --one-file-system "$TMPDIR"
}
trap finish EXIT

MOS_NODE_PROGRAMS=$PWD/dist/node cargo nextest run --workspace --locked --profile ci "$@"
cargo test --workspace --doc --locked --quiet
