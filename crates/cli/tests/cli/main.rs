//! The program as people use it: transcripts of real runs, in folders of their own.
//!
//! An expected text is written anew by `UPDATE_EXPECT=1 cargo test -p mos --test cli`; read the difference before it is
//! committed.

#![allow(clippy::unwrap_used, reason = "functions beside the tests are tests too")]

mod alpine;
mod build;
mod channel;
mod cloud;
mod config;
mod flist;
mod images;
mod kernels;
mod keys;
mod lock;
mod packers;
mod program;
mod publish;
mod secrets;
mod seed;
mod serve;
mod signing;
mod sizes;
#[path = "../support/mod.rs"]
mod support;
mod transcript;
mod trust;

use support::{Script, System};

/// A component for tests in which no node runs it.
const HELLO: Script = Script {
    name: "hello",
    script: "#!/bin/sh\necho hello\nexec sleep 100000\n",
    service: "[service]\nname = \"hello\"\nexec = \"/var/cache/bin/hello\"\n",
};

/// A system that no run before had: nothing of it is in the cache that the tests share.
fn hello() -> System {
    let system = System::new(&[HELLO]);
    system.write("programs/hello/hello", &unique(&system));
    system
}

/// A script that no run before had.
fn unique(system: &System) -> String {
    format!("{}# {}\n", HELLO.script, system.folder().display())
}
