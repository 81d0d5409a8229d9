//! Packing and cloning killed at any moment: running again completes, and what is in the store is whole. (Unpacking is
//! killed at every change, in `unpack.rs`.)
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::noise;
use mos_flist::{Cloned, Depth, Flist, Image as _, PackOptions, Packed, Reader, clone, pack};
use mos_store::{Digest, Dir, Read as _, Write as _};
use mos_tree::Tree;

/// Set in the child, to the directory of the stores.
const INSIDE: &str = "MOS_TEST_KILLED_FLIST";
const NAME: &str = "killed_at_any_moment_running_again_completes";
const TURNS: u64 = 6;

fn packed(store: &Dir) -> Packed {
    let mut tree = Tree::default();
    for n in 0..24 {
        let content = noise(n, 1 << 20);
        tree.insert_file(format!("file-{n}"), 0o644, content).unwrap();
    }
    pack(&tree, store, &PackOptions::default()).unwrap()
}

fn stores(root: &Path) -> [Dir; 2] {
    ["packed", "cloned"].map(|name| Dir::new(root.join(name)))
}

fn work(root: &Path) -> (Flist, Cloned) {
    let [one, other] = stores(root);
    let flist = Flist::parse(packed(&one).flist).unwrap();
    let cloned = clone(&flist, &one, &other, Depth::Metadata, &|_| {}).unwrap();
    (flist, cloned)
}

#[test]
fn killed_at_any_moment_running_again_completes() {
    if let Some(root) = std::env::var_os(INSIDE) {
        work(Path::new(&root));
        return;
    }
    let room = tempfile::tempdir().unwrap();
    let mut killed = 0;
    for turn in 0..TURNS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME])
            .env(INSIDE, room.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(20 + turn * 100));
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        for store in stores(room.path()) {
            for name in store.list("blobs/").unwrap() {
                let bytes = store.get(&name, u64::MAX).unwrap();
                assert_eq!(Digest::of(&bytes).blob_name(), name, "half a blob has a name");
            }
        }
    }
    assert!(killed > 0, "no kill hit the work");
    let (flist, _) = work(room.path());
    let [_, cloned] = stores(room.path());
    let reader = Reader::new(std::sync::Arc::new(flist), std::sync::Arc::new(cloned));
    assert!(reader.verify(Depth::Full, &|_| ()).is_empty());
    assert_eq!(work(room.path()).1.copied_blobs, 0);
}
