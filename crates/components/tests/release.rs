//! Published files, from a web server and from the config repository.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use mos_cache::Cache;
use mos_components::{ComponentError, Toolchain, Workshop, build, fetch};
use mos_config::{Build, BuildKind, LockedComponent, PlannedComponent, Source};
use mos_testkit::HttpServer;

const SCRIPT: &str = "#!/bin/sh\necho corex\n";

fn component(url: &str, sha256: Option<&str>, rename: Option<&str>) -> PlannedComponent {
    PlannedComponent {
        name: "corex".to_owned(),
        description: String::new(),
        source: Source::Release {
            url: url.to_owned(),
            version: "2.1.4".to_owned(),
            sha256: sha256.map(str::to_owned),
            rename: rename.map(str::to_owned),
        },
        version: None,
        locked: None,
        build: Build {
            kind: BuildKind::None,
            ..Build::default()
        },
        binaries: vec!["corex".to_owned()],
        files: BTreeMap::new(),
        routes: BTreeMap::new(),
        kernel_modules: false,
        firmware: None,
        service: None,
    }
}

/// The program as it comes out, and what the lock remembers.
fn make(component: &PlannedComponent, shop: &Workshop) -> Result<(Vec<u8>, LockedComponent), ComponentError> {
    let fetched = fetch(component, shop, &mut |_| {})?;
    let toolchain = Toolchain::find(shop, component.build.libc, &mut |_| {})?;
    let built = build(
        &fetched,
        &component.build,
        &component.binaries,
        &toolchain,
        shop,
        &mut |_| {},
    )?;
    let lock = fetched.lock.expect("a release is locked");
    Ok((fs::read(&built.binaries["corex"]).expect("it was built"), lock))
}

fn shop(folder: &Path) -> Workshop {
    Workshop::new(folder, Cache::new(folder.join("cache")))
}

/// An archive of `corex-2.1.4/bin/corex`, with more beside it.
fn archive(folder: &Path, name: &str, flag: &str) {
    let inside = folder.join("corex-2.1.4/bin");
    fs::create_dir_all(&inside).unwrap();
    fs::write(inside.join("corex"), SCRIPT).unwrap();
    fs::write(folder.join("corex-2.1.4/LICENSE"), "MIT").unwrap();
    let mut tar = Command::new("tar");
    tar.current_dir(folder).args([flag, "-cf", name, "corex-2.1.4"]);
    assert!(tar.status().unwrap().success());
    fs::remove_dir_all(folder.join("corex-2.1.4")).unwrap();
}

#[test]
fn a_program_from_a_web_server_is_renamed_and_locked_and_the_lock_needs_no_server() {
    let (folder, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(files.path().join("2.1.4")).unwrap();
    fs::write(files.path().join("2.1.4/corex-2.1.4-linux-static"), SCRIPT).unwrap();
    let server = HttpServer::serve(files.path());
    let url = format!("{}/2.1.4/corex-2.1.4-linux-static", server.url());
    let mut wanted = component(&url, None, Some("corex"));
    let (program, lock) = make(&wanted, &shop(folder.path())).unwrap();
    assert_eq!(program, SCRIPT.as_bytes());
    assert_eq!((lock.kind.as_str(), lock.reference.as_str()), ("release", "2.1.4"));
    drop(server);
    wanted.locked = Some(lock);
    assert_eq!(make(&wanted, &shop(folder.path())).unwrap().0, SCRIPT.as_bytes());
}

#[test]
fn a_replaced_file_is_refused_by_the_lock_and_by_a_digest() {
    let (folder, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(files.path().join("corex"), SCRIPT).unwrap();
    let server = HttpServer::serve(files.path());
    let url = format!("{}/corex", server.url());
    let (_, lock) = make(&component(&url, None, None), &shop(folder.path())).unwrap();
    fs::write(files.path().join("corex"), "#!/bin/sh\nrm -rf /\n").unwrap();
    let digest = lock.digest.clone();
    let mut locked = component(&url, None, None);
    locked.locked = Some(lock);
    // Another machine: nothing is in its cache.
    let elsewhere = tempfile::tempdir().unwrap();
    for wanted in [locked, component(&url, Some(&digest), None)] {
        let error = make(&wanted, &shop(elsewhere.path())).unwrap_err();
        assert!(
            matches!(&error, ComponentError::WrongDigest { expected, .. } if *expected == digest),
            "{error}"
        );
    }
    let missing = component(&format!("{}/gone", server.url()), None, None);
    let error = make(&missing, &shop(elsewhere.path())).unwrap_err().to_string();
    assert!(error.ends_with("/gone is not there"), "{error}");
}

#[test]
fn archives_of_every_compression_have_their_programs_found_below_the_top() {
    let folder = tempfile::tempdir().unwrap();
    for (name, flag) in [
        ("corex.tar", "--no-auto-compress"),
        ("corex.tgz", "--gzip"),
        ("corex.tar.xz", "--xz"),
        ("corex.tar.zst", "--zstd"),
    ] {
        archive(folder.path(), name, flag);
        let (program, _) = make(&component(name, None, None), &shop(folder.path())).unwrap();
        assert_eq!(program, SCRIPT.as_bytes(), "{name}");
    }
    let gzip = Command::new("sh")
        .args(["-c", "printf '#!/bin/sh\\necho corex\\n' | gzip > corex.gz"])
        .current_dir(folder.path())
        .status();
    assert!(gzip.unwrap().success());
    let (program, _) = make(&component("corex.gz", None, None), &shop(folder.path())).unwrap();
    assert_eq!(program, SCRIPT.as_bytes());
}

#[test]
fn what_is_not_in_an_archive_is_told_with_what_is() {
    let folder = tempfile::tempdir().unwrap();
    archive(folder.path(), "corex.tar", "--no-auto-compress");
    let mut wanted = component("corex.tar", None, None);
    wanted.binaries = vec!["zinit".to_owned()];
    let error = make(&wanted, &shop(folder.path())).unwrap_err().to_string();
    assert!(
        error.contains("`zinit`") && error.contains("corex-2.1.4/LICENSE, corex-2.1.4/bin/corex"),
        "{error}"
    );
    fs::write(folder.path().join("corex.zip"), b"PK\x03\x04rest").unwrap();
    let error = make(&component("corex.zip", None, None), &shop(folder.path()))
        .unwrap_err()
        .to_string();
    assert!(error.contains("zip archives are not read"), "{error}");
}
