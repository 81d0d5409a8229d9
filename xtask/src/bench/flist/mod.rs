//! Flists against other ways to store a tree. One file per group of rows; [`corpus`] makes the tree that all of them use,
//! [`run`] measures one program.
//!
//! Our side is this program again (`xtask flist-pack`), so that its memory is its own. It must be built with `--release`.

mod corpus;
mod pack;
mod run;

pub(crate) use pack::pack_once;

use super::Row;

pub(super) fn rows() -> Result<Vec<Row>, String> {
    if cfg!(debug_assertions) {
        return Err("a debug build says nothing; use `cargo run --release -p xtask -- bench flist`".to_owned());
    }
    let corpus = corpus::Corpus::make()?;
    println!("corpus: {}", corpus.describe()?);
    pack::rows(&corpus)
}
