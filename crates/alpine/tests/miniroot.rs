//! Against the real thing: a miniroot of Alpine in `MOS_ALPINE_MINIROOT` (a `.tar.gz`), and the apk that it brings.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

mod support;

use std::fs::File;
use std::path::Path;
use std::process::Command;

use mos_alpine::{Database, Settings, install, parse_world};
use mos_testkit::apk::{Entry, PackageBuilder};
use mos_tree::{Tree, directory, tarball};
use support::{Lab, text};

/// Bytes that a miniroot may unpack to.
const LIMIT: u64 = 64 << 20;

fn miniroot(test: &str) -> Option<Tree> {
    let Some(path) = std::env::var_os("MOS_ALPINE_MINIROOT") else {
        eprintln!("SKIPPED: {test}: MOS_ALPINE_MINIROOT names no miniroot of Alpine");
        return None;
    };
    let plain = flate2::read::GzDecoder::new(File::open(path).unwrap());
    Some(tarball::read(plain, LIMIT).unwrap())
}

fn bytes(tree: &Tree, path: &str) -> Vec<u8> {
    text(tree, path).into_bytes()
}

/// Runs apk within a tree on the disk; what it says.
fn apk(root: &Path, arguments: &str) -> String {
    let output = Command::new("chroot")
        .arg(root)
        .args(["/sbin/apk", "--no-network", "--no-progress"])
        .args(arguments.split(' '))
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "apk {arguments}: {said}");
    said
}

#[test]
fn the_database_of_a_miniroot_is_rewritten_as_it_was() {
    let Some(tree) = miniroot("rewriting a database") else {
        return;
    };
    let database = Database::read(&tree).unwrap();
    assert!(database.packages.len() > 10);
    let world: Vec<String> = text(&tree, "etc/apk/world").lines().map(str::to_owned).collect();
    let architecture = text(&tree, "etc/apk/arch");
    let settings = Settings {
        world: &parse_world(&world).unwrap(),
        architecture: architecture.trim(),
        ..Settings::default()
    };
    let again = install(tree.clone(), &[], &settings).unwrap();
    assert!(again.scripts_not_run.is_empty());
    for path in [
        "lib/apk/db/installed",
        "lib/apk/db/triggers",
        "etc/apk/world",
        "etc/apk/repositories",
    ] {
        assert_eq!(text(&again.tree, path), text(&tree, path), "{path}");
    }
    // The packages of the archive stand in the order of their installation, which the database does not tell.
    let names = |tree: &Tree| {
        let mut found = Vec::new();
        let bytes = bytes(tree, "lib/apk/db/scripts.tar");
        for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
            let entry = entry.unwrap();
            found.push((entry.path_bytes().into_owned(), entry.header().as_bytes().to_vec()));
        }
        found.sort();
        found
    };
    assert_eq!(names(&again.tree), names(&tree));
}

#[test]
fn apk_goes_on_with_what_was_installed() {
    let Some(base) = miniroot("apk on a tree") else { return };
    if !is_root() {
        eprintln!("SKIPPED: apk on a tree: chroot needs root");
        return;
    }
    let lab = Lab::new(&packages());
    let client = lab.client();
    let wanted = ["front", "extra"];
    let database = Database::read(&base).unwrap();
    let locked = client.resolve(&wanted, Some(&database), &mut |_| {}).unwrap();
    let opened: Vec<_> = locked
        .iter()
        .map(|one| client.fetch(one, &mut |_| {}).unwrap())
        .collect();
    let mut world: Vec<&str> = wanted.to_vec();
    let old = text(&base, "etc/apk/world");
    world.extend(old.lines());
    let mut installed = client.install(base, &opened, &parse_world(&world).unwrap()).unwrap();
    installed
        .tree
        .insert_file("etc/apk/repositories", 0o644, "/repository\n")
        .unwrap();
    let root = lab.path("root");
    directory::write(
        &installed.tree,
        &root,
        directory::Options {
            owners: true,
            xattrs: false,
        },
    )
    .unwrap();
    Command::new("cp")
        .arg("-r")
        .arg(lab.path("main"))
        .arg(root.join("repository"))
        .status()
        .unwrap();
    let info = apk(&root, "info -v");
    for package in ["front-1.0-r0", "back-2-r0", "extra-1-r0", "busybox-1"] {
        assert!(info.contains(package), "{package} is missing from\n{info}");
    }
    // The archive of the miniroot has a mode for this directory that its own database has not.
    assert_eq!(
        apk(&root, "audit --system --check-permissions --recursive"),
        "m proc/\n"
    );
    assert_eq!(apk(&root, "fix --simulate"), "OK: 8 MiB in 17 packages\n");
    assert!(apk(&root, "add --simulate front").starts_with("OK: "));
    assert!(apk(&root, "del extra").starts_with("(1/1) Purging extra (1-r0)\n"));
}

#[test]
fn apk_installs_the_same() {
    let Some(base) = miniroot("apk beside us") else { return };
    if !is_root() {
        eprintln!("SKIPPED: apk beside us: chroot needs root");
        return;
    }
    let lab = Lab::new(&same());
    let root = lab.path("root");
    let options = directory::Options {
        owners: true,
        xattrs: false,
    };
    directory::write(&base, &root, options).unwrap();
    let status = Command::new("cp")
        .arg("-r")
        .arg(lab.path("main"))
        .arg(root.join("repository"))
        .status();
    assert!(status.unwrap().success());
    let key = mos_testkit::apk::SigningKey::first();
    std::fs::write(root.join("etc/apk/keys").join(&key.name), key.public_pem()).unwrap();
    for wanted in [
        "all",
        "c b",
        "mail",
        "wants-virtual-by-name",
        "newest",
        "b<2",
        "called a",
        "a called-2",
    ] {
        let fresh = format!(
            "--root /{} --initdb --keys-dir /etc/apk/keys --no-scripts -X /repository --arch x86_64",
            wanted.replace([' ', '<'], "-")
        );
        let said = apk(&root, &format!("{fresh} add {wanted}"));
        println!("{said}");
        let ours = lab.install(&wanted.split(' ').collect::<Vec<_>>()).unwrap().tree;
        let theirs = root.join(wanted.replace([' ', '<'], "-"));
        for path in ["lib/apk/db/installed", "lib/apk/db/triggers", "lib/apk/db/scripts.tar"] {
            let theirs = std::fs::read(theirs.join(path)).unwrap();
            let theirs = String::from_utf8_lossy(&theirs);
            assert_eq!(text(&ours, path), theirs, "{wanted}: {path}");
        }
    }
}

/// Packages with a choice, replaced files and directories that several have.
fn same() -> Vec<PackageBuilder> {
    let new = PackageBuilder::new;
    vec![
        new("a", "1-r0")
            .depend("b>=1 d")
            .file("usr/share/x", "of a")
            .file("etc/shared/a", "a"),
        new("b", "1-r0")
            .file("usr/share/b", "b")
            .script("post-install", "#!/bin/sh\n"),
        new("b", "2-r0")
            .file("usr/share/b", "b2")
            .script("post-install", "#!/bin/sh\ntrue\n")
            .info("triggers", "/usr/*"),
        new("c", "1-r0")
            .info("replaces", "a<2")
            .info("replaces_priority", "7")
            .depend("a")
            .file("usr/share/x", "of c")
            .entry(Entry::directory("etc"))
            .entry(Entry::directory("etc/shared").mode(0o700))
            .entry(Entry::file("etc/shared/c", "c").mode(0o4755).owned(3, 4, "", "")),
        new("d", "1-r0")
            .info("replaces", "e")
            .info("replaces_priority", "2")
            .file("usr/share/d", "d")
            .file("usr/share/y", "d"),
        new("e", "1-r0")
            .depend("d")
            .file("usr/share/d", "e")
            .file("usr/share/y", "e"),
        new("all", "1-r0").depend("e c mail virtual"),
        new("mail-1", "1-r0").provides("mail").info("provider_priority", "1"),
        new("mail-2", "1-r0").provides("mail").info("provider_priority", "2"),
        new("virtual-1", "1-r0").provides("virtual"),
        new("virtual-2", "1-r0")
            .provides("virtual")
            .info("provider_priority", "9"),
        new("wants-virtual-by-name", "1-r0").depend("virtual virtual-1"),
        new("newest-old", "1-r0").provides("newest=1"),
        new("newest-new", "1-r0").provides("newest=2"),
        new("called", "1-r0").depend("d"),
        new("called-1", "1-r0").info("install_if", "a called").depend("b"),
        new("called-2", "1-r0").file("usr/share/called/2", "2"),
        new("called-3", "1-r0")
            .info("install_if", "called-2 a=1-r0")
            .file("usr/share/called/3", "3"),
    ]
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|found| std::os::unix::fs::MetadataExt::uid(&found) == 0)
}

fn packages() -> Vec<PackageBuilder> {
    vec![
        PackageBuilder::new("front", "1.0-r0")
            .depend("back>=2 /bin/sh cmd:busybox !absent")
            .file("usr/bin/front", "#!/bin/sh\n")
            .entry(Entry::hard_link("usr/bin/front-2", "usr/bin/front"))
            .entry(Entry::symlink("usr/bin/front-3", "front")),
        PackageBuilder::new("back", "2-r0")
            .script(
                "pre-install",
                "#!/bin/sh\naddgroup -S back\nadduser -S -D -H -G back back\nexit 0\n",
            )
            .entry(Entry::directory("etc"))
            .entry(Entry::file("etc/back.conf", "x\n").mode(0o600))
            .entry(Entry::directory("var"))
            .entry(Entry::directory("var/lib"))
            .entry(Entry::directory("var/lib/back").mode(0o700).owned(1, 1, "back", "back")),
        PackageBuilder::new("extra", "1-r0")
            .depend("front")
            .file("usr/share/extra/x", "x"),
    ]
}
