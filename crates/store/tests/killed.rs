//! Writers that are killed.
#![allow(clippy::unwrap_used, reason = "the helpers here are tests, too")]

use mos_store::{Dir, Read, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Set in the child, to the directory to write to.
const INSIDE: &str = "MOS_TEST_KILLED_STORE";
const NAME: &str = "blobs/ab/object";
const LENGTH: u64 = 8 << 20;
const TURNS: u64 = 8;

#[test]
fn a_killed_upload_leaves_nothing_that_could_be_taken_for_an_object() {
    if let Some(directory) = std::env::var_os(INSIDE) {
        let store = Dir::new(directory);
        // Bounded, should nobody come to kill it.
        (1..=u8::MAX).for_each(|byte| store.put(NAME, &vec![byte; LENGTH as usize]).unwrap());
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let store = Dir::new(root.path());
    let mut unfinished = 0;
    for turn in 0..TURNS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "a_killed_upload_leaves_nothing_that_could_be_taken_for_an_object",
            ])
            .env(INSIDE, root.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_for_work(&store, unfinished);
        thread::sleep(Duration::from_millis(turn * 3));
        child.kill().unwrap();
        child.wait().unwrap();
        check(&store);
        unfinished = files(root.path()) - store.list("").unwrap().len();
    }
    assert!(unfinished > 0, "no kill hit an upload");
    assert_eq!(store.abort_stale_uploads(Duration::from_secs(3600)).unwrap(), 0);
    assert_eq!(store.abort_stale_uploads(Duration::ZERO).unwrap(), unfinished);
    store.put(NAME, b"again").unwrap();
    assert_eq!(store.get(NAME, 5).unwrap(), b"again");
    assert_eq!(files(root.path()), 1);
}

/// Until one more file is being written.
fn wait_for_work(store: &Dir, unfinished: usize) {
    let begun = Instant::now();
    let root = store.address().replace("dir://", "");
    while files(root.as_ref()) - store.list("").unwrap().len() <= unfinished {
        assert!(begun.elapsed() < Duration::from_secs(20), "the child does not write");
        thread::sleep(Duration::from_micros(200));
    }
}

/// There is no object, or a whole one.
fn check(store: &Dir) {
    assert!(store.list("").unwrap().iter().all(|name| name == NAME));
    if store.length(NAME).unwrap().is_some() {
        let bytes = store.get(NAME, LENGTH).unwrap();
        assert!(bytes.len() as u64 == LENGTH && bytes.iter().all(|byte| *byte == bytes[0]));
    }
}

/// All files below a directory, finished or not.
fn files(directory: &std::path::Path) -> usize {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    let count = |path: std::path::PathBuf| if path.is_dir() { files(&path) } else { 1 };
    entries.map(|entry| count(entry.unwrap().path())).sum()
}
