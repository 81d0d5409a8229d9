//! Flists against other ways to store a tree. One file per group of rows; [`corpus`] makes the tree that all of them use,
//! [`run`] measures one program.
//!
//! Our side of packing is this program again (`xtask flist-pack`), so that its memory is its own; it must be built with
//! `--release`. Unpacking and mounting use `dist/bin/mos` and `dist/node/myfs` as they are shipped.
//!
//! The peers that `scripts/peers.sh` installs are in `target/peers/bin`, which `make bench-flist` puts on the `PATH`; one that
//! is absent or fails is named, and never ends the bench.
//!
//! `MOS_BENCH_CORPUS=small` takes a fifth of the tree; `MOS_BENCH_ROWS=pack|unpack|read|http` only this group.

mod corpus;
mod http;
mod link;
mod mounted;
mod pack;
mod peers;
mod read;
mod run;
mod unpack;
mod work;

pub(crate) use pack::pack_once;

use super::{Group, Row, of_groups};

pub(super) fn rows() -> Result<Vec<Row>, String> {
    if cfg!(debug_assertions) {
        return Err("a debug build says nothing; use `cargo run --release -p xtask -- bench flist`".to_owned());
    }
    let corpus = corpus::Corpus::make()?;
    println!("corpus: {}", corpus.describe()?);
    let groups: [Group<mounted::Stage<'_>>; 4] = [
        ("pack", pack::rows),
        ("unpack", unpack::rows),
        ("read", read::rows),
        ("http", http::rows),
    ];
    of_groups(&groups, || mounted::Stage::make(&corpus))
}

const MEGABYTE: f64 = 1e6;

fn row(name: &'static str, (peer, ours): (f64, f64), unit: &'static str, goal: f64) -> Row {
    Row {
        name: name.into(),
        peer,
        ours,
        unit,
        goal,
    }
}
