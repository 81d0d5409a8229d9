//! Indexes and packages of Alpine. What is compressed and signed is made here: no fuzzer finds a checksum or a signature.

use mos_alpine::{Apk, Candidate, Database, Dependency, Settings, index, solve, version};
use mos_tree::Tree;

/// So many packages of an index are solved: more only take longer.
const PACKAGES: usize = 48;
/// So many of them are wanted.
const WANTED: usize = 4;

/// The text of an index, solved for the first packages of it.
pub fn apk_index(bytes: &[u8]) {
    let Ok(packages) = index::parse(bytes) else { return };
    for pair in packages.windows(2).take(PACKAGES) {
        let (a, b) = (&pair[0].version, &pair[1].version);
        assert_eq!(version::compare(a, b), version::compare(b, a).reverse(), "{a} {b}");
    }
    let some = packages.into_iter().take(PACKAGES);
    let candidates: Vec<Candidate> = some
        .enumerate()
        .map(|(place, package)| Candidate {
            package,
            repositories: vec![place % 2],
            installed: place % 7 == 6,
        })
        .collect();
    let names = candidates.iter().take(WANTED).map(|one| one.package.name.as_str());
    let world: Vec<Dependency> = names.map(Dependency::any).collect();
    let tags = [None, Some("edge".to_owned())];
    let found = solve(&candidates, &tags, &world);
    assert_eq!(
        found,
        solve(&candidates, &tags, &world),
        "the same input gives the same output"
    );
    if let Ok(chosen) = found {
        for line in &world {
            let has = |place: &usize| {
                let package = &candidates[*place].package;
                package.name == line.name || package.provides.iter().any(|one| one.name == line.name)
            };
            assert!(chosen.iter().any(has), "{line} is wanted");
        }
    }
}

/// The length of the first of two plain archives, in two bytes, then both: the control part and the files of a package,
/// installed into a tree that has a few things already.
pub fn apk_package(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return;
    };
    let (control, data) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes(*length))));
    let Ok(apk) = Apk::of_plain(control, data) else { return };
    let settings = Settings {
        architecture: "x86_64",
        ..Settings::default()
    };
    let Ok(installed) = mos_alpine::install(base(), std::slice::from_ref(&apk), &settings) else {
        return;
    };
    for entry in installed.tree.walk() {
        assert!(
            !entry
                .path
                .split(|byte| *byte == b'/')
                .any(|name| name == b".." || name == b".")
        );
    }
    let read = Database::read(&installed.tree).expect("a database that we wrote");
    assert_eq!(read.packages.len(), installed.database.packages.len());
    installed.parts().expect("parts of a tree");
    let _ = apk.tree();
}

fn base() -> Tree {
    let mut tree = Tree::default();
    tree.insert_file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\n")
        .expect("a new path");
    tree.insert_file("etc/group", 0o644, "root:x:0:root\n")
        .expect("a new path");
    tree.insert_symlink("bin", "usr/bin").expect("a new path");
    tree.insert_directory("usr/bin", 0o755).expect("a new path");
    tree.insert_symlink("out", "/../../outside").expect("a new path");
    tree
}

/// What the targets start from.
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let block = |name: &str, more: &str| {
        format!(
            "C:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=\nP:{name}\nV:1.2_rc3-r4\nA:x86_64\nS:1\nI:2\nT:t\nU:u\nL:MIT\no:{name}\n{more}\n\n"
        )
    };
    let index = [
        block("a", "D:b>1 so:c cmd:d !e\np:virtual x=1\nk:3"),
        block("b", "i:a x~1\nr:a<2\nq:1"),
        block("c", "p:so:c=2 cmd:d=1-r0 virtual\nD:/bin/sh"),
        block("d", "p:/bin/sh\nD:!b<1"),
    ];
    let info = "pkgname = a\npkgver = 1-r0\nsize = 10\narch = x86_64\ndatahash = 00\ntriggers = /usr/*\nreplaces = b\n";
    let control = archive(&[
        (".PKGINFO", info),
        (".pre-install", "#!/bin/sh\naddgroup -S a\nadduser -S -G a -h /v a\n"),
    ]);
    let data = archive(&[
        ("etc/", ""),
        ("etc/a", "content"),
        ("usr/", ""),
        ("usr/bin/", ""),
        ("usr/bin/a", "#!/bin/sh\n"),
    ]);
    let length = u16::try_from(control.len()).expect("a small archive").to_le_bytes();
    vec![
        ("apk_index", index.concat().into_bytes()),
        ("apk_package", [&length[..], &control, &data].concat()),
    ]
}

/// A tar archive (POSIX ustar); names that end with a slash are directories.
fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, content) in entries {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000644");
        header[108..115].copy_from_slice(b"0000000");
        header[116..123].copy_from_slice(b"0000000");
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[136..147].copy_from_slice(b"00000000000");
        header[148..156].copy_from_slice(b"        ");
        header[156] = if name.ends_with('/') { b'5' } else { b'0' };
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().copied().map(u32::from).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        archive.extend(header);
        archive.extend(content.as_bytes());
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_get_as_far_as_a_tree() {
        let seeds = seeds();
        let index = index::parse(&seeds[0].1).unwrap();
        assert_eq!(index.len(), 4);
        let (length, rest) = seeds[1].1.split_first_chunk().unwrap();
        let (control, data) = rest.split_at(u16::from_le_bytes(*length).into());
        let apk = Apk::of_plain(control, data).unwrap();
        let installed = mos_alpine::install(base(), &[apk], &Settings::default()).unwrap();
        assert!(installed.tree.get("usr/bin/a").is_some());
        assert!(installed.scripts_not_run.is_empty(), "{:?}", installed.scripts_not_run);
    }
}
