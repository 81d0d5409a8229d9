//! Content comes with few requests, and each byte of it once.
#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

mod common;

use std::ops::Range;
use std::sync::{Arc, Mutex};

use common::{noise, packed, parsed, reader, sequential, text};
use mos_flist::{Image as _, Reader};
use mos_store::{Memory, StoreError};
use mos_tree::Tree;

/// A store that notes which ranges were asked for.
#[derive(Clone)]
struct Counting {
    store: Memory,
    ranges: Arc<Mutex<Vec<Range<u64>>>>,
}

impl mos_store::Read for Counting {
    fn get(&self, name: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        self.store.get(name, limit)
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.ranges.lock().unwrap().push(range.clone());
        self.store.get_range(name, range)
    }

    fn length(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.store.length(name)
    }

    fn address(&self) -> String {
        self.store.address()
    }
}

/// Reads these files, or all; returns how many requests that took and how many bytes came.
fn cost(store: &Counting, reader: &Reader, only: Option<&str>) -> (usize, u64) {
    store.ranges.lock().unwrap().clear();
    for entry in reader.entries().filter(|entry| entry.size().is_some()) {
        if only.is_none_or(|path| entry.path == path.as_bytes()) {
            reader.read_file(&entry, &mut std::io::sink()).unwrap();
        }
    }
    let ranges = store.ranges.lock().unwrap();
    (ranges.len(), ranges.iter().map(|range| range.end - range.start).sum())
}

#[test]
fn neighbours_come_with_one_request() {
    let mut tree = Tree::default();
    tree.insert_file("a-large", 0o644, noise(1, 3 << 20)).unwrap();
    for n in 0..200 {
        tree.insert_file(format!("small/{n:03}"), 0o644, noise(n + 2, 20_000))
            .unwrap();
    }
    let store = Memory::new();
    let packed = packed(&tree, &store);
    let flist = parsed(&packed);
    let store = Counting {
        store,
        ranges: Arc::default(),
    };
    let one = |path| cost(&store, &reader(&flist, &store), Some(path));
    assert_eq!(one("a-large").0, 1);
    let (requests, bytes) = one("small/100");
    assert!(requests == 1 && bytes < 800_000, "{requests} requests, {bytes} bytes");
    let (requests, bytes) = cost(&store, &sequential(&flist, &store), None);
    assert!(requests <= 3, "{requests} requests");
    assert!(bytes <= packed.stats.put_bytes, "{bytes} bytes");
}

#[test]
fn what_shrinks_well_is_not_fetched_twice() {
    let mut tree = Tree::default();
    for n in 0..64_u64 {
        // Alike but not the same: a lot of plain data that would fit into one request.
        let mut content = text(7, 1 << 18).repeat(2);
        content.extend(n.to_le_bytes().repeat(40_000));
        tree.insert_file(format!("{n:02}"), 0o644, content).unwrap();
        tree.insert_file(format!("{n:02}z"), 0o644, vec![n as u8; 500_000])
            .unwrap();
    }
    let store = Memory::new();
    let packed = packed(&tree, &store);
    let flist = parsed(&packed);
    let store = Counting {
        store,
        ranges: Arc::default(),
    };
    let (_, bytes) = cost(&store, &sequential(&flist, &store), None);
    assert!(
        bytes <= packed.stats.put_bytes * 2,
        "{bytes} of {}",
        packed.stats.put_bytes
    );
}
