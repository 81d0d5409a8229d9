//! What is said of damaged flists and stores: one text for each kind of damage, in `damaged/`.
#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

mod common;

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use common::{noise, packed, small, text};
use mos_flist::{Depth, Finding, Flist, Image as _, Packed, Reader};
use mos_store::{Digest, Memory, Read, StoreError, Write};
use mos_tree::Tree;

/// A few files in two blobs.
fn tree() -> Tree {
    let mut tree = small();
    for n in 0..3 {
        tree.insert_file(format!("text/{n}"), 0o644, text(n + 10, 50_000))
            .unwrap();
    }
    tree.insert_file("zz/noise", 0o644, noise(1, 9 << 20)).unwrap();
    tree
}

struct Case {
    packed: Packed,
    store: Memory,
    /// The blob that holds the small files.
    text: Digest,
}

impl Case {
    fn new() -> Self {
        let store = Memory::new();
        let packed = packed(&tree(), &store);
        assert_eq!(packed.blobs.len(), 2);
        let text = packed.blobs.iter().map(|blob| blob.digest);
        let text = text
            .filter(|digest| is_needed(&packed, &store, digest))
            .collect::<Vec<_>>();
        assert_eq!(text.len(), 1);
        Self {
            packed,
            store,
            text: text[0],
        }
    }

    /// The name of the blob that holds the small files.
    fn blob(&self) -> String {
        self.text.blob_name()
    }

    fn change_blob(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let name = self.blob();
        let mut bytes = self.store.get(&name, u64::MAX).unwrap();
        change(&mut bytes);
        self.store.put(&name, &bytes).unwrap();
    }

    fn check(self, name: &str) {
        let store: Arc<dyn Read> = Arc::new(self.store.clone());
        self.check_with(name, store);
    }

    fn check_with(self, name: &str, store: Arc<dyn Read>) {
        let said = said(self.packed.flist.clone(), store);
        let said = self.anonymous(&said);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/damaged/{name}.txt"));
        expect_test::expect_file![path].assert_eq(&said);
    }

    /// Digests and lengths replaced by what they stand for.
    fn anonymous(&self, said: &str) -> String {
        let mut said = said.to_owned();
        for blob in &self.packed.blobs {
            let digits = blob.digest.to_string();
            let name = if blob.digest == self.text { "TEXT" } else { "NOISE" };
            said = said.replace(&blob.digest.blob_name(), &format!("blobs/{name}"));
            said = said.replace(&digits, name);
            said = said.replace(&format!("{} bytes", blob.length + 1), "LENGTH + 1 bytes");
            said = said.replace(&format!(" {};", blob.length), " LENGTH;");
        }
        let words = said.split_inclusive([' ', '\n']).map(|word| {
            let (digits, rest) = word.split_at(word.trim_end().len());
            let digest = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            match (digest, digits.parse::<u64>()) {
                (true, _) => format!("DIGEST{rest}"),
                (_, Ok(100_000..)) => format!("MANY{rest}"),
                _ => word.to_owned(),
            }
        });
        words.collect()
    }
}

/// True for a blob without which a small file cannot be read.
fn is_needed(packed: &Packed, store: &Memory, digest: &Digest) -> bool {
    let others = Memory::new();
    for blob in packed.blobs.iter().filter(|blob| blob.digest != *digest) {
        let name = blob.digest.blob_name();
        others.put(&name, &store.get(&name, u64::MAX).unwrap()).unwrap();
    }
    let flist = Arc::new(Flist::parse(packed.flist.clone()).unwrap());
    let reader = Reader::new(flist, Arc::new(others));
    let entry = reader.find(b"text/0").unwrap();
    reader.read_file(&entry, &mut std::io::sink()).is_err()
}

/// Everything that is said of an flist and its store.
fn said(flist: Vec<u8>, store: Arc<dyn Read>) -> String {
    let flist = match Flist::parse(flist) {
        Err(error) => return format!("flist: {error}\n"),
        Ok(flist) => Arc::new(flist),
    };
    let reader = Reader::new(flist, store);
    let mut said = String::new();
    for (depth, name) in [(Depth::Metadata, "quick"), (Depth::Full, "full")] {
        for finding in reader.verify(depth, &|_| {}) {
            writeln!(said, "{name}: {finding}").unwrap();
        }
    }
    match said.is_empty() {
        true => "all is well\n".to_owned(),
        false => said,
    }
}

#[test]
fn nothing() {
    Case::new().check("nothing");
}

#[test]
fn blob_missing() {
    let case = Case::new();
    case.store.delete(&case.blob()).unwrap();
    case.check("blob-missing");
}

#[test]
fn blob_cut_off() {
    let case = Case::new();
    case.change_blob(|bytes| bytes.truncate(5000));
    case.check("blob-cut-off");
}

#[test]
fn blob_longer() {
    let case = Case::new();
    case.change_blob(|bytes| bytes.push(0));
    case.check("blob-longer");
}

#[test]
fn blob_damaged_in_a_frame() {
    let case = Case::new();
    case.change_blob(|bytes| bytes[9000] ^= 0x40);
    case.check("blob-damaged-in-a-frame");
}

#[test]
fn blob_damaged_in_its_index() {
    let case = Case::new();
    case.change_blob(|bytes| {
        let position = bytes.len() - 10;
        bytes[position] ^= 0x40;
    });
    case.check("blob-damaged-in-its-index");
}

#[test]
fn blob_of_zeros() {
    let case = Case::new();
    case.change_blob(|bytes| bytes.fill(0));
    case.check("blob-of-zeros");
}

#[test]
fn flist_damaged() {
    let mut case = Case::new();
    for (part, position) in [("header", 20), ("tree", 1200), ("tables", case.packed.flist.len() - 20)] {
        let good = case.packed.flist.clone();
        case.packed.flist[position] ^= 1;
        let store: Arc<dyn Read> = Arc::new(case.store.clone());
        let said = said(case.packed.flist, store);
        case.packed.flist = good;
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/damaged/flist-damaged-in-its-{part}.txt"));
        expect_test::expect_file![path].assert_eq(&said);
    }
}

#[test]
fn flist_cut_off() {
    let mut case = Case::new();
    case.packed.flist.truncate(case.packed.flist.len() / 2);
    case.check("flist-cut-off");
}

#[test]
fn flist_of_a_later_version() {
    let mut case = Case::new();
    case.packed.flist[8] = 3;
    case.check("flist-of-a-later-version");
}

#[test]
fn not_an_flist() {
    let mut case = Case::new();
    case.packed.flist = b"<html>404 not found</html>".to_vec();
    case.check("not-an-flist");
}

/// A store that is away.
struct Away;

impl Away {
    fn error<T>() -> Result<T, StoreError> {
        Err(StoreError::Unreachable {
            address: "https://example.org".into(),
            tries: 3,
            reason: "connection refused".into(),
        })
    }
}

impl Read for Away {
    fn get(&self, _: &str, _: u64) -> Result<Vec<u8>, StoreError> {
        Self::error()
    }

    fn get_range(&self, _: &str, _: Range<u64>) -> Result<Vec<u8>, StoreError> {
        Self::error()
    }

    fn length(&self, _: &str) -> Result<Option<u64>, StoreError> {
        Self::error()
    }

    fn address(&self) -> String {
        "https://example.org".into()
    }
}

#[test]
fn store_away() {
    Case::new().check_with("store-away", Arc::new(Away));
}

/// Counts what is asked of a store.
#[derive(Default)]
struct Counted {
    bytes: std::sync::atomic::AtomicU64,
    store: Memory,
}

impl Counted {
    fn count<T: AsRef<[u8]>>(&self, got: Result<T, StoreError>) -> Result<T, StoreError> {
        let bytes = got.as_ref().map_or(0, |bytes| bytes.as_ref().len() as u64);
        self.bytes.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        got
    }
}

impl Read for Counted {
    fn get(&self, name: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        self.count(self.store.get(name, limit))
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.count(self.store.get_range(name, range))
    }

    fn length(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.store.length(name)
    }

    fn address(&self) -> String {
        self.store.address()
    }
}

#[test]
fn a_full_check_fetches_every_blob_once() {
    let case = Case::new();
    let counted = Arc::new(Counted {
        store: case.store.clone(),
        ..Counted::default()
    });
    let flist = Arc::new(Flist::parse(case.packed.flist.clone()).unwrap());
    let reader = Reader::new(flist, counted.clone());
    let findings: Vec<Finding> = reader.verify(Depth::Full, &|_| {});
    assert!(findings.is_empty(), "{findings:?}");
    let total: u64 = case.packed.blobs.iter().map(|blob| blob.length).sum();
    assert_eq!(counted.bytes.load(std::sync::atomic::Ordering::Relaxed), total);
}
