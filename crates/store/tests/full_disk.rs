//! A disk without room, in a mount namespace of its own.
#![allow(clippy::unwrap_used, reason = "the helpers here are tests, too")]

use mos_store::{Dir, Read, StoreError, Write};
use std::process::Command;

/// Set in the child, to the mount point of a small file system.
const INSIDE: &str = "MOS_TEST_SMALL_DISK";

#[test]
fn a_full_disk_is_reported_with_numbers() {
    if let Some(disk) = std::env::var_os(INSIDE) {
        return fill(&Dir::new(disk));
    }
    let disk = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=256k none "$MOS_TEST_SMALL_DISK" || exit 77; exec "$0" --exact a_full_disk_is_reported_with_numbers"#;
    let child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env(INSIDE, disk.path())
        .output();
    match child {
        Ok(output) if output.status.success() => {}
        Ok(output) if output.status.code() == Some(101) => panic!("{}", String::from_utf8_lossy(&output.stdout)),
        other => eprintln!("SKIPPED a_full_disk_is_reported_with_numbers: no user namespaces here: {other:?}"),
    }
}

fn fill(store: &Dir) {
    store.put("kept", &[1; 100_000]).unwrap();
    for name in ["kept", "new/one"] {
        match store.put(name, &[2; 400_000]).unwrap_err() {
            StoreError::Full {
                needed: 400_000, free, ..
            } => assert!(free > 0 && free < 400_000, "{free}"),
            other => panic!("{other}"),
        }
    }
    assert_eq!(store.get("kept", 100_000).unwrap(), [1; 100_000]);
    assert_eq!(store.list("").unwrap(), ["kept"]);
    assert_eq!(store.abort_stale_uploads(std::time::Duration::ZERO).unwrap(), 0);
}
