//! Packages and indexes that are damaged, unsigned or made to do harm: each is refused, and named.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

mod support;

use mos_alpine::{AlpineError, Apk, Index, Settings, install};
use mos_testkit::apk::{Entry, Hash, PackageBuilder, SigningKey, gzip, signed_index, tar_of};
use mos_tree::Tree;
use support::{Lab, files_of, keys};
use tar::EntryType;

fn package() -> PackageBuilder {
    PackageBuilder::new("a", "1-r0").file("usr/bin/a", "program")
}

fn open(bytes: &[u8]) -> Result<Apk, String> {
    Apk::open(bytes, &keys())
}

/// What is said when a package with these files is installed.
fn refused(files: Vec<Entry>) -> String {
    let builder = files
        .into_iter()
        .fold(PackageBuilder::new("a", "1-r0"), PackageBuilder::entry);
    refused_package(&builder)
}

fn refused_package(builder: &PackageBuilder) -> String {
    let apk = open(&builder.build(&SigningKey::first(), Hash::Sha256)).unwrap();
    match install(Tree::default(), &[apk], &Settings::default()) {
        Err(AlpineError::Package { name, problem }) => {
            assert_eq!(name, "a-1-r0");
            problem
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_hash_is_accepted_from_a_trusted_key_and_no_other() {
    for hash in [Hash::Sha1, Hash::Sha256, Hash::Sha512] {
        assert_eq!(
            open(&package().build(&SigningKey::first(), hash)).unwrap().package.name,
            "a"
        );
        let problem = open(&package().build(&SigningKey::second(), hash)).unwrap_err();
        assert!(
            problem.starts_with("it is signed by `test-2.rsa.pub`, which is not among the trusted keys"),
            "{problem}"
        );
    }
}

#[test]
fn a_foreign_signature_under_a_trusted_name_is_refused() {
    let mut forger = SigningKey::second();
    forger.name = SigningKey::first().name;
    let problem = open(&package().build(&forger, Hash::Sha256)).unwrap_err();
    assert!(
        problem.starts_with("the signature by `test-1.rsa.pub` does not fit"),
        "{problem}"
    );
}

#[test]
fn an_unsigned_package_is_refused() {
    let data = package().data();
    let bytes = [package().control(&data), data].concat();
    let problem = open(&bytes).unwrap_err();
    assert!(problem.contains("it is not signed"), "{problem}");
    let empty = gzip(&tar_of(&[], true));
    assert_eq!(open(&[empty, bytes].concat()).unwrap_err(), "it is not signed");
}

#[test]
fn a_package_cut_anywhere_is_refused() {
    let bytes = package().build(&SigningKey::first(), Hash::Sha1);
    for end in (0..bytes.len()).step_by(7) {
        assert!(open(&bytes[..end]).is_err(), "{end}");
    }
    assert!(open(&[&bytes[..], b"x"].concat()).is_err());
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    let bytes = package().build(&SigningKey::first(), Hash::Sha256);
    let whole = open(&bytes).unwrap();
    let mut unseen = 0;
    for at in (0..bytes.len()).step_by(3) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        // The signature itself is wrapped in a header whose time or name of a system nobody reads.
        match open(&damaged) {
            Ok(apk) => {
                assert_eq!(apk.package.checksum, whole.package.checksum);
                unseen += 1;
            }
            Err(problem) => assert!(!problem.is_empty()),
        }
    }
    assert!(unseen < 8, "{unseen} flipped bits were not seen");
}

#[test]
fn other_files_than_were_signed_are_refused() {
    let builder = package();
    let control = builder.control(&builder.data());
    let other = package().file("usr/bin/b", "other").data();
    let bytes = [SigningKey::first().signature(Hash::Sha256, &control), control, other].concat();
    let problem = open(&bytes).unwrap_err();
    assert!(problem.contains(".PKGINFO says"), "{problem}");
}

#[test]
fn a_file_with_another_checksum_than_its_record_is_refused() {
    let mut entry = Entry::file("x", "content").record("APK-TOOLS.checksum.SHA1", &[b'0'; 40]);
    entry.checksum = false;
    assert_eq!(
        refused(vec![entry]),
        "x: the content has another checksum than the archive says"
    );
}

#[test]
fn a_package_other_than_the_index_says_is_refused() {
    let lab = Lab::new(&[package(), PackageBuilder::new("b", "1-r0")]);
    std::fs::copy(lab.package_file("b-1-r0.apk"), lab.package_file("a-1-r0.apk")).unwrap();
    let problem = lab.resolve(&["a"]).unwrap_err().to_string();
    assert!(
        problem.contains("the file holds b-1-r0 instead") || problem.contains("larger than"),
        "{problem}"
    );
    let other = package().info("pkgdesc", "b of a test");
    std::fs::write(
        lab.package_file("a-1-r0.apk"),
        other.build(&SigningKey::first(), Hash::Sha256),
    )
    .unwrap();
    let problem = lab.resolve(&["a"]).unwrap_err().to_string();
    assert!(
        problem.contains("was expected") || problem.contains("larger than"),
        "{problem}"
    );
    assert!(files_of(&lab.path("cache/packages")).is_empty());
}

#[test]
fn a_path_that_escapes_is_refused() {
    for path in ["../x", "a/../../x", "/x", "./x", "a//x", "a/./x", "a/.."] {
        let problem = refused(vec![Entry::directory("a"), Entry::file(path, "")]);
        assert!(
            problem.ends_with("the path does not stay inside the tree"),
            "{path}: {problem}"
        );
    }
    assert!(refused(vec![Entry::file("a\nR:b", "")]).ends_with("the path has control characters"));
}

#[test]
fn a_file_through_a_link_of_the_same_package_is_refused() {
    for target in ["/etc", "etc", "../../etc", "."] {
        let files = vec![
            Entry::directory("etc"),
            Entry::symlink("l", target),
            Entry::file("l/passwd", ""),
        ];
        let problem = refused(files);
        assert!(problem.contains("it would go through `l`"), "{target}: {problem}");
    }
    let files = vec![Entry::symlink("l", "/etc"), Entry::directory("l/x")];
    assert!(refused(files).contains("it would go through `l`"));
}

#[test]
fn a_device_is_refused() {
    for kind in [EntryType::Char, EntryType::Block] {
        let problem = refused(vec![
            Entry::directory("dev"),
            Entry::new(kind, "dev/mem", 0o666, b"", ""),
        ]);
        assert_eq!(problem, "dev/mem: a device node: no package needs to bring one");
    }
}

#[test]
fn a_hard_link_out_of_the_package_is_refused() {
    for target in ["/etc/shadow", "../x", "absent", "d"] {
        let files = vec![
            Entry::directory("d"),
            Entry::directory("d/e"),
            Entry::hard_link("x", target),
        ];
        assert!(
            refused(files).contains("which is no file of the package before it"),
            "{target}"
        );
    }
}

#[test]
fn a_file_without_its_directory_or_twice_is_refused() {
    assert_eq!(
        refused(vec![Entry::file("a/x", "")]),
        "a/x: the package does not have the directory"
    );
    assert_eq!(
        refused(vec![Entry::file("x", ""), Entry::file("x", "")]),
        "x: the package has it twice"
    );
}

#[test]
fn a_huge_header_is_refused() {
    let entry = Entry::file("x", "").record("comment", &vec![b'x'; 5 << 20]);
    let problem = refused(vec![entry]);
    assert!(
        problem.contains("bytes of names and attributes before an entry"),
        "{problem}"
    );
}

#[test]
fn a_zip_bomb_is_refused() {
    let bomb = PackageBuilder::new("a", "1-r0")
        .info("size", "1000")
        .file("x", vec![0; 80 << 20]);
    let bytes = bomb.build(&SigningKey::first(), Hash::Sha256);
    assert!(bytes.len() < 1 << 20);
    let problem = refused_package(&bomb);
    assert!(
        problem.starts_with("x: more than 67116864 bytes of content in all"),
        "{problem}"
    );
}

#[test]
fn a_bomb_before_the_signature_is_checked_is_refused() {
    let bomb = gzip(&vec![0; 64 << 20]);
    assert!(open(&bomb).unwrap_err().starts_with("signature: more than"));
    let signature = SigningKey::first().signature(Hash::Sha256, b"");
    assert!(
        open(&[signature, bomb].concat())
            .unwrap_err()
            .starts_with("control part: more than")
    );
}

#[test]
fn an_index_unsigned_foreign_cut_or_damaged_is_refused() {
    let text = "C:Q12jmj7l5rSw0yVb/vlWAYkK/YBwk=\nP:a\nV:1\n\n";
    let key = SigningKey::first();
    let bytes = signed_index(text, &key, Hash::Sha256);
    assert_eq!(Index::read(&bytes, &keys()).unwrap().packages.len(), 1);
    for end in (0..bytes.len()).step_by(5) {
        assert!(Index::read(&bytes[..end], &keys()).is_err(), "{end}");
    }
    let foreign = signed_index(text, &SigningKey::second(), Hash::Sha256);
    assert!(
        Index::read(&foreign, &keys())
            .unwrap_err()
            .contains("not among the trusted keys")
    );
    let unsigned = gzip(&tar_of(&[Entry::file("APKINDEX", text)], true));
    assert!(
        Index::read(&unsigned, &keys())
            .unwrap_err()
            .contains("it is not signed")
    );
    let wrong = signed_index("P:a\nV:x\n\n", &key, Hash::Sha256);
    assert_eq!(
        Index::read(&wrong, &keys()).unwrap_err(),
        "APKINDEX:3: a: `x` is no version"
    );
    let without = [
        key.signature(Hash::Sha1, &gzip(&tar_of(&[], true))),
        gzip(&tar_of(&[], true)),
    ]
    .concat();
    assert_eq!(
        Index::read(&without, &keys()).unwrap_err(),
        "there is no file APKINDEX in it"
    );
}

#[test]
fn two_owners_of_a_file_are_both_named() {
    let lab = Lab::new(&[
        package(),
        PackageBuilder::new("b", "2-r1").file("usr/bin/a", "other"),
        PackageBuilder::new("c", "1").file("usr/bin/a/below", ""),
    ]);
    for (wanted, path, second) in [(["a", "b"], "usr/bin/a", "b-2-r1"), (["a", "c"], "usr/bin/a", "c-1")] {
        match lab.install(&wanted) {
            Err(AlpineError::FileConflict {
                path: at,
                first,
                second: other,
            }) => {
                assert_eq!((at.as_str(), first.as_str(), other.as_str()), (path, "a-1-r0", second));
            }
            other => panic!("{other:?}"),
        }
    }
}
