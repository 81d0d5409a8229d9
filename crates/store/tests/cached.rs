//! A bounded copy of a slow store.
#![cfg(feature = "routes")]
#![allow(clippy::unwrap_used, reason = "the helpers here are tests, too")]

use mos_store::{Cached, Digest, Memory, Read as _, StoreError, Write as _};
use std::path::{Path, PathBuf};
use std::thread;

const MIB: u64 = 1 << 20;

/// A blob of so many bytes in a store.
fn blob(store: &Memory, seed: u8, length: usize) -> (String, Vec<u8>) {
    let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8 ^ seed).collect();
    let name = Digest::of(&bytes).blob_name();
    store.put(&name, &bytes).unwrap();
    (name, bytes)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path))
        } else {
            found.push(path)
        }
    }
    found.sort();
    found
}

fn size(directory: &Path) -> u64 {
    files(directory).iter().map(|file| file.metadata().unwrap().len()).sum()
}

#[test]
fn what_was_read_once_needs_no_store() {
    let (store, root) = (Memory::new(), tempfile::tempdir().unwrap());
    let (name, bytes) = blob(&store, 1, 1_000_000);
    let cached = Cached::new(store.clone(), root.path(), 64 * MIB);
    for range in [0..10, 300_000..310_000, 5..600_000, 999_999..1_000_000, 0..1_000_000] {
        let expected = &bytes[range.start as usize..range.end as usize];
        assert_eq!(cached.get_range(&name, range).unwrap(), expected);
    }
    let fetched = cached.stats().missed_bytes;
    assert!((1_000_000..=1_000_000 + 300_000).contains(&fetched), "{fetched}");
    store.delete(&name).unwrap();
    // A process that starts later has the same.
    let cached = Cached::new(store.clone(), root.path(), 64 * MIB);
    assert_eq!(cached.get_range(&name, 123..999_999).unwrap(), bytes[123..999_999]);
    assert_eq!((cached.stats().missed_bytes, cached.stats().trouble), (0, None));
    assert_eq!(
        cached.length(&name).unwrap(),
        None,
        "what the store has, only the store can say"
    );
    assert!(matches!(
        cached.get_range(&name, 1_000_000..1_000_001),
        Err(StoreError::NotFound { .. })
    ));
}

#[test]
fn whole_objects_and_the_empty_one() {
    let (store, root) = (Memory::new(), tempfile::tempdir().unwrap());
    let cached = Cached::new(store.clone(), root.path(), 64 * MIB);
    for length in [0, 1, 262_144, 700_000] {
        let (name, bytes) = blob(&store, 2, length);
        assert_eq!(cached.get(&name, MIB).unwrap(), bytes);
        store.delete(&name).unwrap();
        assert_eq!(cached.get(&name, MIB).unwrap(), bytes);
        if length > 0 {
            let limit = length as u64 - 1;
            assert!(matches!(cached.get(&name, limit), Err(StoreError::TooLarge { .. })));
        }
    }
}

#[test]
fn objects_that_may_change_pass_through() {
    let (store, root) = (Memory::new(), tempfile::tempdir().unwrap());
    let cached = Cached::new(store.clone(), root.path(), 64 * MIB);
    for content in [b"old", b"new"] {
        store.put("release.json", content).unwrap();
        assert_eq!(cached.get("release.json", 9).unwrap(), content);
    }
    assert!(files(root.path()).is_empty());
}

#[test]
fn damaged_parts_are_fetched_again() {
    let (store, root) = (Memory::new(), tempfile::tempdir().unwrap());
    let (name, bytes) = blob(&store, 3, 600_000);
    let cached = Cached::new(store, root.path(), 64 * MIB);
    cached.get(&name, MIB).unwrap();
    let parts: Vec<_> = files(root.path())
        .into_iter()
        .filter(|file| size_of(file) > 1000)
        .collect();
    assert_eq!(parts.len(), 3);
    let mut content = std::fs::read(&parts[1]).unwrap();
    content[1000] ^= 1;
    std::fs::write(&parts[1], &content).unwrap();
    std::fs::write(&parts[2], &content[..500]).unwrap();
    assert_eq!(cached.get(&name, MIB).unwrap(), bytes);
    let stats = cached.stats();
    assert_eq!(stats.damaged, 2);
    assert!(stats.missed_bytes < 600_000 + 400_000, "{stats:?}");
    assert_eq!(cached.get(&name, MIB).unwrap(), bytes);
    assert_eq!(cached.stats().damaged, 2);
}

fn size_of(file: &Path) -> u64 {
    file.metadata().unwrap().len()
}

#[test]
fn wrong_bytes_are_forgotten() {
    let (store, root) = (Memory::new(), tempfile::tempdir().unwrap());
    let (name, bytes) = blob(&store, 4, 1000);
    store.put(&name, &[0; 1000]).unwrap();
    let cached = Cached::new(store.clone(), root.path(), 64 * MIB);
    assert_eq!(cached.get_range(&name, 0..1000).unwrap(), [0; 1000]);
    store.put(&name, &bytes).unwrap();
    assert!(cached.report_bad(&name));
    assert_eq!(cached.get_range(&name, 0..1000).unwrap(), bytes);
}

#[test]
fn the_bound_holds_and_the_last_used_stay() {
    let (store, root) = (Memory::new(), tempfile::tempdir().unwrap());
    let limit = 4 * MIB;
    let cached = Cached::new(store.clone(), root.path(), limit);
    let (kept, _) = blob(&store, 200, 200_000);
    cached.get(&kept, MIB).unwrap();
    let part = root.path().join(&kept).join("0");
    for seed in 0..60 {
        let (name, bytes) = blob(&store, seed, 200_000);
        assert_eq!(cached.get_range(&name, 0..200_000).unwrap(), bytes);
        assert!(size(root.path()) <= limit, "{seed}");
        // As if a minute had passed each time.
        age_all(root.path());
        assert_eq!(cached.get_range(&kept, 0..9).unwrap().len(), 9);
    }
    assert!(part.exists(), "used all the time");
    assert!(size(root.path()) > limit / 2);
    assert_eq!(cached.stats().trouble, None);
}

fn age_all(directory: &Path) {
    for file in files(directory) {
        let file = std::fs::File::options().write(true).open(file).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.set_modified(modified - std::time::Duration::from_secs(61))
            .unwrap();
    }
}

#[test]
fn many_share_a_directory() {
    let (store, root) = (Memory::new(), tempfile::tempdir().unwrap());
    let blobs: Vec<_> = (0..8).map(|seed| blob(&store, seed, 500_000)).collect();
    thread::scope(|scope| {
        for worker in 0..4_usize {
            let cached = Cached::new(store.clone(), root.path(), 2 * MIB);
            let blobs = &blobs;
            scope.spawn(move || {
                for turn in 0..40 {
                    let (name, bytes) = &blobs[(worker * 3 + turn) % blobs.len()];
                    let start = turn * 9_000;
                    let range = start as u64..start as u64 + 60_000;
                    assert_eq!(cached.get_range(name, range).unwrap(), bytes[start..start + 60_000]);
                }
                assert_eq!(cached.stats().damaged, 0);
            });
        }
    });
    assert!(size(root.path()) <= 2 * MIB + MIB / 2);
}

#[test]
fn trouble_with_the_directory_does_not_fail_reads() {
    let (store, root) = (Memory::new(), tempfile::tempdir().unwrap());
    let (name, bytes) = blob(&store, 5, 1000);
    let file = root.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let cached = Cached::new(store, file.join("below"), 64 * MIB);
    assert_eq!(cached.get(&name, MIB).unwrap(), bytes);
    assert_eq!(cached.get_range(&name, 1..5).unwrap(), bytes[1..5]);
    assert!(cached.stats().trouble.is_some());
}
