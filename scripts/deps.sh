#!/usr/bin/env bash
# Installs what is missing, and says what: `deps.sh build|run|test|long`. Debian and Ubuntu; root, or an ordinary user with sudo.
set -euo pipefail

build=(gcc libc6-dev make git ca-certificates binutils)
run=("${build[@]}" qemu-system-x86 qemu-utils ovmf e2fsprogs)
test=("${run[@]}" bc bison cpio dosfstools gdisk genisoimage kmod mtools nginx-light erofs-utils busybox-static dnsmasq-base efitools flex fuse3 iproute2 libelf-dev fsverity faketime python3 python3-venv util-linux docker-registry opensc openssl sbsigntool skopeo softhsm2 swtpm tpm2-tools umoci wireless-regdb xorriso)
# Nodes with another processor than this machine's: `make test-long` has one that is aarch64.
long=("${test[@]}" gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-system-arm qemu-efi-aarch64)
minimum_rust=92 # 1.92

declare -n wanted="${1:-build}"
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
installed() { dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }
rust_minor() { rustc --version 2>/dev/null | sed -nE 's/^rustc 1\.([0-9]+).*/\1/p'; }
offered_minor() { apt-cache policy "$1" 2>/dev/null | sed -nE 's/^ *Candidate: 1\.([0-9]+).*/\1/p'; }
install() {
    echo "deps: installing $*"
    as_root apt-get update -qq || true # a source that is down is no reason to stop: the install decides
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

command -v apt-get >/dev/null || { echo "deps: this is neither Debian nor Ubuntu; install by hand: ${wanted[*]} and Rust 1.$minimum_rust" >&2; exit 4; }
missing=()
for package in "${wanted[@]}"; do installed "$package" || missing+=("$package"); done
[ ${#missing[@]} = 0 ] || install "${missing[@]}"

install_rust() {
    as_root apt-get update -qq || true
    for pair in "rustc cargo" "rustc-web cargo-web"; do
        if [ "$(offered_minor "${pair% *}" || true)" -ge "$minimum_rust" ] 2>/dev/null; then
            read -ra packages <<<"$pair"
            install "${packages[@]}"
            return
        fi
    done
    echo "deps: Rust 1.$minimum_rust or newer is needed (found: ${1:+1.}${1:-none}) and no package has it; install it with rustup" >&2
    exit 4
}
minor=$(rust_minor || true) # no rustc at all is no error yet
[ "${minor:-0}" -ge "$minimum_rust" ] || install_rust "$minor"

# A compiler, the source of its standard library, and musl: mos compiles that library with them, and programs of nodes are
# half as large as with static glibc. Beside rustup's compiler, which stays the first in the path.
small_rust() {
    local own trio packages=(musl-tools) missing=()
    own=$(rustc --print sysroot)/lib/rustlib
    compgen -G "$own/$(uname -m)-unknown-linux-musl/lib/*" >/dev/null && return
    if ! [ -d "$own/src/rust/library/vendor" ]; then
        [ -n "$(offered_minor rustc || true)" ] || as_root apt-get update -qq || true
        for trio in "rustc cargo rust-src" "rustc-web cargo-web rust-web-src"; do
            read -ra packages <<<"$trio musl-tools"
            fit "${packages[@]}" && break
            packages=()
        done
    fi
    for package in "${packages[@]}"; do installed "$package" || missing+=("$package"); done
    [ ${#packages[@]} != 0 ] && { [ ${#missing[@]} = 0 ] || install "${missing[@]}"; } ||
        echo "deps: apt has no new compiler of Rust with its source and musl-tools: programs of nodes get static glibc, and are twice as large"
}
fit() { # COMPILER PACKAGES…: new enough, and nothing has to go for them
    local said
    [ "$(offered_minor "$1" || true)" -ge "$minimum_rust" ] 2>/dev/null &&
        said=$(apt-get install --simulate -qq --no-install-recommends "$@" 2>/dev/null) && ! grep -q '^Remv' <<<"$said"
}
small_rust

# A standard library for aarch64: rustup's, or that of Debian's compiler, which mos fetches.
cross_rust() {
    local target=aarch64-unknown-linux-musl
    compgen -G "$(rustc --print sysroot)/lib/rustlib/aarch64-unknown-linux-*/lib" >/dev/null && return
    [ -x /usr/bin/rustc ] || { command -v rustup >/dev/null && rustup target add "$target"; } || install_rust ""
}
[ "$1" != long ] || cross_rust

# A program from crates.io, when there is none yet: `tool PROGRAM [--version VERSION] CRATE`.
tool() {
    command -v "$1" >/dev/null && return
    echo "deps: installing $1 from crates.io"
    cargo install --locked --quiet "${@:2}"
}
if [ "$1" = test ] || [ "$1" = long ]; then
    tool cargo-nextest cargo-nextest
    tool cargo-deny cargo-deny
    tool pjdfstest --version 0.2.2 pjdfstest
fi

# What SPDX and CycloneDX say themselves about bills of materials; without it, two tests say SKIPPED.
if [ "$1" = test ] && ! [ -x target/python/bin/python ]; then
    echo "deps: installing spdx-tools and cyclonedx-python-lib into target/python"
    { python3 -m venv target/python && target/python/bin/pip install --quiet spdx-tools==0.8.5 'cyclonedx-python-lib[json-validation]==11.12.0'; } ||
        { echo "deps: SKIPPED: PyPI has not both, or cannot be reached"; rm -rf target/python; }
fi
