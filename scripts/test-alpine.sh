#!/usr/bin/env bash
# Builds examples/alpine from a real Alpine and boots it until it is ready. Where that comes from:
#   MOS_ALPINE_MIRROR=URL or /FOLDER    a mirror: the example as it is
#   MOS_ALPINE_MINIROOT=FILE            a miniroot of Alpine: its packages alone, with Debian's kernel
set -euo pipefail
cd "$(dirname "$0")/.."

mirror=${MOS_ALPINE_MIRROR:-} miniroot=${MOS_ALPINE_MINIROOT:-}
if [ -z "$mirror$miniroot" ]; then
    cat >&2 <<'END'
test-alpine: there is no Alpine to test with. Name one:
  MOS_ALPINE_MIRROR    a mirror or a copy of one, with v3.22/main/x86_64/APKINDEX.tar.gz and community beside main
  MOS_ALPINE_MINIROOT  a file alpine-minirootfs-VERSION-x86_64.tar.gz
END
    exit 4
fi

# boots CONFIG NAME: its outputs are in dist/NAME.
boots() {
    dist/bin/mos run --config "$1" --env dev --output-dir "dist/$2" --direct --until ready --timeout 300
    echo "test-alpine: $2 is ready"
}

if [ -n "$mirror" ]; then
    boots examples/alpine alpine
fi
if [ -n "$miniroot" ]; then
    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT
    cp -r examples/alpine/. "$copy"
    cp "$miniroot" "$copy/miniroot.tar.gz"
    printf '%s\n' busybox >"$copy/image/packages.list"
    cat >"$copy/mos.toml" <<'END'
[project]
name = "alpine-miniroot"
[kernel]
package = "debian:linux-image-6.12-amd64"
[image]
base = "alpine"
[alpine]
repositories = []
miniroot = "miniroot.tar.gz"
END
    boots "$copy" alpine-miniroot
fi
