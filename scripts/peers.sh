#!/usr/bin/env bash
# Installs the programs that `make bench-flist`, `bench-image` and `bench-init` compare with (`peers.sh flist|image|init`): from
# packages, and from crates.io into target/peers. What cannot be had here is named, and its rows are left out. rfs and erofsfuse are
# taken where they are on the PATH.
set -euo pipefail
cd "$(dirname "$0")/.."

flist=(time zstd squashfs-tools erofs-utils casync restic ostree squashfuse)
image=(cpio dracut-core initramfs-tools-core kmod swtpm xz-utils zstd)
init=(util-linux qemu-system-x86)
declare -n needed="${1:-flist}"
maybe=(erofsfuse composefs) # in newer distributions
compilers=(cmake pkg-config libssl-dev g++) # for nydus
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
installed() { dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }
install() {
    local missing=() package
    for package in "$@"; do installed "$package" || missing+=("$package"); done
    [ ${#missing[@]} = 0 ] && return
    echo "peers: installing ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

for package in "${needed[@]}"; do
    install "$package" || echo "peers: SKIPPED $package: apt-get has no such package, or cannot install it"
done
[ "${1:-flist}" != image ] || exit 0
[ "${1:-flist}" = init ] || for package in "${maybe[@]}"; do
    if apt-cache show "$package" >/dev/null 2>&1; then install "$package" || echo "peers: SKIPPED $package"; fi
done

# crate PROGRAM CRATE VERSION OPTIONS: a program of a crate, compiled into target/peers when it is neither there nor on the PATH.
crate() {
    [ -x "target/peers/bin/$1" ] || command -v "$1" >/dev/null && return
    install "${compilers[@]}" || true # when one is missing, cargo says so
    echo "peers: compiling $2 $3 from crates.io, once (minutes)"
    CARGO_TARGET_DIR=target/peers/build nice -n 15 cargo install --locked --quiet --root target/peers --version "$3" "${@:4}" "$2" ||
        echo "peers: SKIPPED $2: it cannot be compiled here"
    rm -rf target/peers/build
}
if [ "${1:-flist}" = init ]; then
    crate zinit-server zinit 0.3.9 --features client,server
    crate horust horust 0.1.14
    exit
fi
crate nydusd nydus-rs 2.2.0
if ! command -v mkcomposefs >/dev/null; then
    crate cfsctl composefs-ctl 0.9.4 --no-default-features --features pre-6.15
    # One program under several names.
    for name in mkcomposefs mount.composefs; do ln -sf cfsctl "target/peers/bin/$name"; done
fi
for program in rfs erofsfuse; do
    command -v "$program" >/dev/null || echo "peers: no $program on the PATH: no package registry has it"
done
