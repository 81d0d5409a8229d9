//! The real rfs against this crate, both ways, where there is one: `$RFS`, or `rfs` or `myfs` on the path.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::common::{BLOCK, noise};
use mos_flist::Image as _;
use mos_rfs::{PackOptions, Reader, Rfs, Route, Stores, Targets, pack};
use mos_store::Options;
use mos_tree::{Kind, Tree};

fn program() -> Option<PathBuf> {
    let named = std::env::var_os("RFS").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).flat_map(|folder| [folder.join("rfs"), folder.join("myfs")]);
    let found = named.into_iter().chain(on_path).find(|program| program.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: there is no rfs or myfs on the path, and RFS names none");
    }
    found
}

fn run(program: &Path, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program:?} {arguments:?}: {said}");
}

fn source(directory: &Path) -> Tree {
    std::fs::create_dir_all(directory.join("usr/bin")).unwrap();
    let files = [
        ("usr/bin/tool", 3 * BLOCK + 5),
        ("usr/empty", 0),
        ("usr/exact", 2 * BLOCK),
        ("a", 100),
    ];
    for (path, length) in files {
        std::fs::write(directory.join(path), noise(length, length as u64)).unwrap();
    }
    std::fs::write(directory.join("zeros"), vec![0; BLOCK + 1]).unwrap();
    symlink("usr/bin", directory.join("bin")).unwrap();
    let mode = std::fs::Permissions::from_mode(0o4755);
    std::fs::set_permissions(directory.join("usr/bin/tool"), mode).unwrap();
    mos_tree::directory::read(directory, Default::default()).unwrap()
}

/// Paths, kinds, modes and content of two trees are the same; times are whole seconds in one of them.
fn same(ours: &Tree, theirs: &Tree) {
    let paths = |tree: &Tree| tree.walk().map(|entry| entry.path).collect::<Vec<_>>();
    assert_eq!(paths(ours), paths(theirs));
    for (a, b) in ours.walk().zip(theirs.walk()) {
        let path = mos_flist::show(&a.path);
        match (&a.inode.kind, &b.inode.kind) {
            (Kind::Directory(_), Kind::Directory(_)) => {}
            (Kind::File(a), Kind::File(b)) => assert!(a.read().unwrap() == b.read().unwrap(), "{path}"),
            (a, b) => assert_eq!(a, b, "{path}"),
        }
        if !matches!(a.inode.kind, Kind::Directory(_) | Kind::Symlink(_)) {
            assert_eq!(a.inode.metadata.mode, b.inode.metadata.mode, "{path}");
        }
    }
}

#[test]
fn we_read_what_rfs_packs() {
    let Some(rfs) = program() else { return };
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let tree = source(&at("source"));
    let store = format!("dir://{}", at("store").display());
    let (fl, root) = (at("a.fl"), at("source"));
    run(
        &rfs,
        &["pack", "-m", fl.to_str().unwrap(), "-s", &store, root.to_str().unwrap()],
    );

    let flist = Rfs::open(&fl).unwrap();
    let stores = Stores::open(flist.routes(), &Options::default()).unwrap();
    let reader = Reader::new(Arc::new(flist), stores);
    same(&tree, &mos_flist::to_tree(&reader).unwrap());
    let tool = reader.find(b"usr/bin/tool").unwrap();
    let disk = std::fs::metadata(at("source/usr/bin/tool")).unwrap();
    assert_eq!(tool.metadata.mtime.seconds, disk.mtime());
    assert_eq!((tool.metadata.uid, tool.metadata.gid), (disk.uid(), disk.gid()));

    // The same content gives the same blocks: packing it here finds all of them in the store of rfs.
    let targets = Targets::open(&[Route::everywhere(store)], &Options::default()).unwrap();
    let packed = pack(&tree, &targets, &PackOptions::default()).unwrap();
    assert_eq!((packed.stats.put_blocks, packed.stats.blocks), (0, 9));
}

#[test]
fn rfs_reads_what_we_pack() {
    let Some(rfs) = program() else { return };
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let tree = source(&at("source"));
    let routes = [Route::everywhere(format!("dir://{}", at("store").display()))];
    let targets = Targets::open(&routes, &Options::default()).unwrap();
    let fl = at("a.fl");
    pack(&tree, &targets, &PackOptions::default())
        .unwrap()
        .rfs
        .save(&fl)
        .unwrap();

    let (cache, out) = (at("cache"), at("out"));
    run(
        &rfs,
        &[
            "unpack",
            "-m",
            fl.to_str().unwrap(),
            "-c",
            cache.to_str().unwrap(),
            out.to_str().unwrap(),
        ],
    );
    same(&tree, &mos_tree::directory::read(&out, Default::default()).unwrap());
}
