#!/bin/bash
# What becomes of each component.

function build_my_init() {
    local name="$1"
    local component_dir="$2"
    cd "$component_dir"
    cargo build --release --target "$RUST_TARGET"
}

function build_mycelium() {
    local name="$1"
    local component_dir="$2"
    log_info "Building ${name}"
    cd "${component_dir}/myceliumd" || return 1
    safe_execute cargo build --release --target "$RUST_TARGET"
    cp "target/${RUST_TARGET}/release/mycelium" "${INSTALL_DIR}/usr/bin/"
}

function build_rfs() {
    local component_dir="$2"
    cd "$component_dir"
    cargo build --release --target "$RUST_TARGET" --features build-binary
    cp "target/${RUST_TARGET}/release/rfs" "${INSTALL_DIR}/usr/bin/rfs"
}

function install_corex() {
    local downloaded="$2"
    install -m 755 "$downloaded" "${INSTALL_DIR}/usr/bin/corex"
}

function build_myapp() {
    local name="$1"
    local component_dir="$2"

    export RUSTFLAGS="-C target-feature=+crt-static"
    cargo build --release --target x86_64-unknown-linux-musl

    cp target/x86_64-unknown-linux-musl/release/myapp "${INSTALL_DIR}/usr/bin/"
}

function install_mytool() {
    cp "$2" "${INSTALL_DIR}/usr/bin/mytool"
}
