//! Archives of GNU tar with sparse files, in every format that it writes.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use mos_tree::tarball::{TarError, read, read_file};
use mos_tree::{Content, Kind};

/// Bytes of a content that are no holes.
fn data(content: &Content) -> std::io::Result<u64> {
    let mut reader = content.open()?;
    let mut data = 0;
    while reader.position() < content.len() {
        let hole = reader.hole()?;
        let at = reader.position();
        let step = if hole > 0 { hole } else { 512 };
        data += if hole > 0 { 0 } else { step.min(content.len() - at) };
        reader.seek(at + step);
    }
    Ok(data)
}

#[test]
fn sparse_files_of_every_format_of_tar_keep_their_holes() {
    const K: u64 = 1 << 10;
    let (host, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sparse = |name: &str, length: u64, pieces: &[(u64, &[u8])]| {
        let file = File::create(host.path().join(name)).unwrap();
        file.set_len(length).unwrap();
        for (at, bytes) in pieces {
            file.write_all_at(bytes, *at).unwrap();
        }
    };
    let many: Vec<(u64, &[u8])> = (0..40).map(|at| (at * 64 * K, &[b'm'; 4096][..])).collect();
    let long = "n".repeat(150);
    sparse("empty", 1 << 20, &[]);
    sparse("middle", 1 << 20, &[(512 * K, &[b'd'; 4096])]);
    sparse("end", (1 << 20) + 5, &[(0, b"begin"), (1 << 20, b"12345")]);
    sparse("many", 40 * 64 * K + 1, &many);
    sparse(&long, 12 << 30, &[(9 << 30, b"far")]);
    std::fs::write(host.path().join("zz"), "after").unwrap();
    let formats: [&[&str]; 5] = [
        &["--format=gnu"],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
        &["--format=pax"],
    ];
    for format in formats {
        let path = out.path().join("archive.tar");
        let mut tar = Command::new("tar");
        tar.args(["--sort=name", "-S"]).args(format).arg("-C").arg(host.path());
        if !tar
            .arg("-cf")
            .arg(&path)
            .arg(".")
            .status()
            .is_ok_and(|status| status.success())
        {
            eprintln!("SKIPPED: tar is not installed");
            return;
        }
        let size = path.metadata().unwrap().len();
        assert!(size < 1 << 20, "tar found no holes");
        let tree = read_file(&path).unwrap();
        for name in ["empty", "middle", "end", "many"] {
            let Some(Kind::File(content)) = tree.get(name).map(|inode| &inode.kind) else {
                panic!("{format:?}: {name} is missing");
            };
            let expected = std::fs::read(host.path().join(name)).unwrap();
            assert!(content.read().unwrap() == expected, "{format:?}: {name}");
            assert!(
                data(content).unwrap() < expected.len() as u64 / 4,
                "{format:?}: {name} has no holes"
            );
        }
        let Some(Kind::File(far)) = tree.get(&long).map(|inode| &inode.kind) else {
            panic!("{format:?}: the long name is missing");
        };
        let mut reader = far.open().unwrap();
        reader.seek(9 << 30);
        let mut bytes = [0; 3];
        reader.read_exact(&mut bytes).unwrap();
        assert_eq!((far.len(), &bytes), (12 << 30, b"far"));
        let after = tree.get("zz").map(|inode| &inode.kind);
        assert!(matches!(after, Some(Kind::File(content)) if content.read().unwrap() == b"after"));
        // From a stream, without the large one.
        let mut small = Command::new("tar");
        small
            .arg("-S")
            .args(format)
            .arg("-C")
            .arg(host.path())
            .arg("-cf")
            .arg(&path);
        small.args(["middle", "many", "end"]);
        assert!(small.status().unwrap().success());
        let streamed = read(File::open(&path).unwrap(), 8 << 20).unwrap();
        assert_eq!(streamed, read_file(&path).unwrap(), "{format:?}");
        let error = read(File::open(&path).unwrap(), 1 << 20).unwrap_err();
        assert!(matches!(error, TarError::TooLarge { .. }), "{format:?}: {error}");
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(path.metadata().unwrap().len() / 10).unwrap();
        assert!(read_file(&path).is_err(), "{format:?}");
    }
}
