//! A kernel from each kind of source to the tree of a package, with a fake kernel whose make takes no time
//! (`tests/fake`). The real one is compiled by `make test-long`.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mos_cache::Cache;
use mos_components::{Workshop, download, require};
use mos_config::{KernelBase, KernelOrigin, KernelSetting, KernelSource};
use mos_kbuild::{Embedded, KbuildError, Kernel, Source};
use mos_store::Digest;
use mos_testkit::HttpServer;
use mos_tree::{Kind, Tree};

const FAKE: [(&str, &str); 6] = [
    ("Makefile", include_str!("fake/Makefile")),
    ("Kconfig", include_str!("fake/Kconfig")),
    ("scripts/complete.sh", include_str!("fake/complete.sh")),
    ("scripts/link.sh", include_str!("fake/link.sh")),
    ("scripts/install.sh", include_str!("fake/install.sh")),
    ("drivers/odd.c", "/* odd */\n"),
];
/// 2026-11-21 06:00:00 UTC
const TIME: &str = "@1795240800";

/// A config repository with a fake kernel in it, and a cache.
struct Lab {
    directory: tempfile::TempDir,
}

impl Lab {
    /// Nothing when a tool is missing that the kernel's make needs.
    fn new() -> Option<Self> {
        for tool in ["make", "gcc", "ld", "flex", "bison", "bc", "perl", "tar", "git"] {
            if let Err(error) = require(tool) {
                eprintln!("SKIPPED: {error}");
                return None;
            }
        }
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in FAKE {
            let path = directory.path().join("linux-6.12.7").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Some(Self { directory })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn shop(&self) -> Workshop {
        Workshop::new(self.directory.path(), Cache::new(self.path("cache")))
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        let output = command
            .args(arguments)
            .current_dir(self.directory.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Packs the fake kernel; gives the archive's digest.
    fn pack(&self, name: &str, option: &str) -> String {
        let mtime = format!("--mtime={TIME}");
        self.run("tar", &[option, &mtime, "-cf", name, "linux-6.12.7"]);
        download::sha256(&self.path(name)).unwrap()
    }

    fn archive(&self) -> Source {
        let sha256 = self.pack("linux.tar.gz", "-z");
        Source::archive("linux.tar.gz", &sha256, &self.shop(), &mut |_| {}).unwrap()
    }
}

fn wanted(settings: &[(&str, &str)]) -> KernelSource {
    let needed = [
        "BINFMT_ELF",
        "BLK_DEV_INITRD",
        "DEVTMPFS",
        "EPOLL",
        "FUTEX",
        "INET",
        "MODULES",
        "MULTIUSER",
        "PRINTK",
        "PROC_FS",
        "SIGNALFD",
        "SYSFS",
        "TMPFS",
        "UNIX",
    ];
    let all = needed.iter().map(|name| (*name, "y")).chain(settings.iter().copied());
    KernelSource {
        origin: KernelOrigin::Package("unused".into()),
        base: KernelBase::Target("tinyconfig".into()),
        localversion: "-lab".into(),
        settings: all
            .zip(1..)
            .map(|((name, value), line)| KernelSetting {
                name: name.into(),
                value: value.into(),
                place: format!("image/kernel.config:{line}"),
            })
            .collect(),
    }
}

fn text(tree: &Tree, path: &str) -> String {
    match tree.get(path).map(|inode| &inode.kind) {
        Some(Kind::File(content)) => String::from_utf8(content.read().unwrap()).unwrap(),
        other => panic!("{path}: {other:?}"),
    }
}

fn names(tree: &Tree) -> Vec<String> {
    let files = tree
        .walk()
        .filter(|entry| !matches!(entry.inode.kind, Kind::Directory(_)));
    files
        .map(|entry| String::from_utf8_lossy(&entry.path).into_owned())
        .collect()
}

fn entries(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn an_archive_becomes_the_tree_of_a_package_once() {
    let Some(lab) = Lab::new() else { return };
    let wanted = wanted(&[("NET", "y"), ("HZ", "250")]);
    let shop = lab.shop();
    let kernel = Kernel::new(lab.archive().identity(), &wanted, &[], &shop).unwrap();
    // As if a build had been killed: nothing of it may be in the way, or stay.
    let left = format!("cache/build/kernel-{}-once/linux", &kernel.key().to_string()[..16]);
    fs::create_dir_all(lab.path(&left)).unwrap();
    fs::write(lab.path(&left).join("drivers"), "half").unwrap();
    let mut said = Vec::new();
    let built = kernel
        .build(&lab.archive(), &mut |line| said.push(line.to_owned()))
        .unwrap();
    assert_eq!((built.release.as_str(), built.cached), ("6.12.7-lab", false));
    assert!(said.iter().any(|line| line.contains("init/main2.o")), "{said:?}");
    let tree = built.tree().unwrap();
    assert_eq!(
        names(&tree),
        [
            "boot/System.map-6.12.7-lab",
            "boot/config-6.12.7-lab",
            "boot/vmlinuz-6.12.7-lab",
            "lib/modules/6.12.7-lab/kernel/drivers/odd.ko",
            "lib/modules/6.12.7-lab/modules.builtin",
            "lib/modules/6.12.7-lab/modules.builtin.modinfo",
            "lib/modules/6.12.7-lab/modules.order",
        ]
    );
    assert_eq!(
        text(&tree, "boot/vmlinuz-6.12.7-lab"),
        "6.12.7-lab (mos@mos) #1 Sat Nov 21 06:00:00 UTC 2026\n"
    );
    assert!(text(&tree, "boot/config-6.12.7-lab").contains("CONFIG_NET=y\nCONFIG_HZ=250\n"));
    let module = &tree
        .get("lib/modules/6.12.7-lab/kernel/drivers/odd.ko")
        .unwrap()
        .metadata;
    assert_eq!(
        (module.uid, module.mode, module.mtime.seconds),
        (0, 0o644, 1_795_240_800)
    );

    assert!(kernel.find().unwrap().unwrap().cached);
    assert_eq!(entries(&lab.path("cache/build")), Vec::<String>::new());
    assert!(fs::read_to_string(&built.log).unwrap().contains("$ make tinyconfig"));
    // Elsewhere, on another date, from an archive that is packed otherwise: the same bytes.
    let other = Lab::new().unwrap();
    let sha256 = other.pack("linux.tar", "--sort=name");
    let shop = other.shop();
    let source = Source::archive("linux.tar", &sha256, &shop, &mut |_| {}).unwrap();
    let again = Kernel::new(source.identity(), &wanted, &[], &shop)
        .unwrap()
        .build(&source, &mut |_| {})
        .unwrap();
    assert_ne!(again.key, built.key);
    assert_eq!(fs::read(again.archive).unwrap(), fs::read(built.archive).unwrap());
}

#[test]
fn settings_that_did_not_take_stop_the_build_before_anything_is_compiled() {
    let Some(lab) = Lab::new() else { return };
    let shop = lab.shop();
    let wanted = wanted(&[("EROFS", "y"), ("64BIT", "n")]);
    let kernel = Kernel::new(
        lab.archive().identity(),
        &wanted,
        &[("EFI_STUB", "starting under firmware")],
        &shop,
    )
    .unwrap();
    let error = kernel.build(&lab.archive(), &mut |_| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "2 settings are not in the kernel's configuration:\n\
         image/kernel.config:15: CONFIG_EROFS: wanted y, got nothing: it is not set\n    it depends on MISC; not met: MISC\n\
         a node needs it for starting under firmware: CONFIG_EFI_STUB: wanted y, got nothing: it is not set\n    \
         this kernel has no such setting"
    );
    let log = fs::read_to_string(lab.path("cache/logs/kernel.log")).unwrap();
    assert!(log.contains("olddefconfig") && !log.contains("bzImage"), "{log}");
    assert_eq!(entries(&lab.path("cache/build")), Vec::<String>::new());
}

#[test]
fn what_one_image_needs_is_asked_of_a_kernel_in_the_cache_too() {
    let Some(lab) = Lab::new() else { return };
    let shop = lab.shop();
    let wanted = wanted(&[]);
    let source = lab.archive();
    let kernel = Kernel::new(source.identity(), &wanted, &[], &shop).unwrap();
    kernel.build(&lab.archive(), &mut |_| {}).unwrap();
    let fussy = Kernel::new(
        source.identity(),
        &wanted,
        &[("RD_ZSTD", "an initramfs with zstd")],
        &shop,
    )
    .unwrap();
    assert_eq!(fussy.key(), kernel.key());
    let error = fussy.build(&source, &mut |_| {}).unwrap_err().to_string();
    assert!(
        error.contains("a node needs it for an initramfs with zstd: CONFIG_RD_ZSTD"),
        "{error}"
    );
}

#[test]
fn a_failure_shows_the_last_lines_and_leaves_nothing_but_the_log() {
    let Some(lab) = Lab::new() else { return };
    let shop = lab.shop();
    let wanted = wanted(&[("FAILS", "y")]);
    let kernel = Kernel::new(lab.archive().identity(), &wanted, &[], &shop).unwrap();
    let error = kernel.build(&lab.archive(), &mut |_| {}).unwrap_err().to_string();
    assert!(error.starts_with("kernel: `make -j"), "{error}");
    assert!(
        error.contains("init/main.c:7: error: this was to be expected"),
        "{error}"
    );
    assert!(error.contains("logs/kernel.log"), "{error}");
    assert_eq!(entries(&lab.path("cache/build")), Vec::<String>::new());
    assert_eq!(entries(&lab.path("cache/steps/kernel")), Vec::<String>::new());
}

#[test]
fn an_initramfs_goes_into_the_kernel_where_it_was_compiled() {
    let Some(lab) = Lab::new() else { return };
    let shop = lab.shop();
    let wanted = wanted(&[]);
    let kernel = Kernel::new(lab.archive().identity(), &wanted, &[], &shop).unwrap();
    let built = kernel.build_kept(&lab.archive(), &mut |_| {}).unwrap();
    let parts = Embedded {
        initramfs: b"FIRST",
        suffix: "",
        command_line: "console=ttyS0 a=\"b\"",
        is_final: true,
    };
    let first = kernel.embed(&lab.archive(), &parts, &mut |_| {}).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&first),
        "6.12.7-lab (mos@mos) #1 Sat Nov 21 06:00:00 UTC 2026\ncmdline \"console=ttyS0 a=\\\"b\\\"\"\nfinal y\nFIRST"
    );
    let log = fs::read_to_string(&built.log).unwrap();
    assert!(
        log.contains("olddefconfig") && !log.contains("modules_install"),
        "linked, not compiled: {log}"
    );
    let second = Embedded {
        initramfs: b"SECOND",
        suffix: ".zst",
        is_final: false,
        ..parts
    };
    let second = kernel.embed(&lab.archive(), &second, &mut |_| {}).unwrap();
    assert!(second.ends_with(b"SECOND") && !second.windows(5).any(|bytes| bytes == b"final"));
    // Nothing is linked for what was there before; where it was compiled may be gone.
    fs::remove_dir_all(lab.path("cache/build")).unwrap();
    assert_eq!(kernel.embed(&lab.archive(), &parts, &mut |_| {}).unwrap(), first);
    let third = Embedded {
        initramfs: b"THIRD",
        ..parts
    };
    let third = kernel.embed(&lab.archive(), &third, &mut |_| {}).unwrap();
    assert!(third.ends_with(b"THIRD"));
    // The kernel by itself is not what was linked last.
    let alone = text(&built.tree().unwrap(), "boot/vmlinuz-6.12.7-lab");
    assert!(!alone.contains("cmdline"), "{alone}");
}

#[test]
fn a_commit_and_a_package_are_sources_too() {
    let Some(lab) = Lab::new() else { return };
    let git = |arguments: &[&str]| {
        let user = [
            "-C",
            "linux-6.12.7",
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@example.org",
        ];
        lab.run("git", &[&user, arguments].concat())
    };
    git(&["init", "--quiet"]);
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "--message=one", "--date=2026-11-21T06:00:00Z"]);
    let commit = git(&["rev-parse", "HEAD"]);
    let seconds: i64 = git(&["show", "--no-patch", "--format=%ct"]).parse().unwrap();
    let shop = lab.shop();
    let source = Source::commit("linux-6.12.7", &commit, &shop, &mut |_| {}).unwrap();
    let wanted = wanted(&[]);
    let built = Kernel::new(source.identity(), &wanted, &[], &shop)
        .unwrap()
        .build(&source, &mut |_| {})
        .unwrap();
    assert_eq!(built.release, "6.12.7-lab");
    let tree = built.tree().unwrap();
    let image = tree.get("boot/vmlinuz-6.12.7-lab").unwrap();
    assert_eq!(image.metadata.mtime.seconds, seconds);

    fs::remove_dir_all(lab.path("linux-6.12.7/.git")).unwrap();
    lab.pack("linux-source-6.12.tar.gz", "-z");
    let deb = lab.path("linux-source-6.12_6.12.7-1_all.deb");
    package(&lab, "usr/src/linux-source-6.12.tar.gz", &deb);
    let source = Source::Package {
        deb: deb.clone(),
        sha256: Digest::of(&fs::read(&deb).unwrap()).to_string(),
    };
    let packaged = Kernel::new(source.identity(), &wanted, &[], &shop)
        .unwrap()
        .build(&source, &mut |_| {})
        .unwrap();
    assert_eq!(names(&packaged.tree().unwrap()), names(&tree));

    package(&lab, "usr/share/doc/readme.txt", &deb);
    let source = Source::Package {
        deb: deb.clone(),
        sha256: "other".into(),
    };
    let error = Kernel::new(source.identity(), &wanted, &[], &shop)
        .unwrap()
        .build(&source, &mut |_| {})
        .unwrap_err();
    assert!(matches!(error, KbuildError::NoArchive(path) if path == deb));
}

/// A Debian package with the archive at this place.
fn package(lab: &Lab, place: &str, deb: &Path) {
    let root = lab.path("package");
    let _ = fs::remove_dir_all(&root);
    let path = root.join(place);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::copy(lab.path("linux-source-6.12.tar.gz"), &path).unwrap();
    let control = "Package: linux-source-6.12\nVersion: 6.12.7-1\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: x\n";
    fs::create_dir_all(root.join("DEBIAN")).unwrap();
    fs::write(root.join("DEBIAN/control"), control).unwrap();
    lab.run(
        "dpkg-deb",
        &["--build", "--root-owner-group", "package", deb.to_str().unwrap()],
    );
}

#[test]
fn an_archive_from_a_web_server_is_checked_and_kept() {
    let Some(lab) = Lab::new() else { return };
    let sha256 = lab.pack("linux.tar.gz", "-z");
    let server = HttpServer::serve(lab.directory.path());
    let url = format!("{}/linux.tar.gz", server.url());
    let shop = lab.shop();
    let wrong = "0".repeat(64);
    let error = Source::archive(&url, &wrong, &shop, &mut |_| {}).unwrap_err();
    assert!(
        matches!(&error, KbuildError::Digest { found, .. } if *found == sha256),
        "{error}"
    );
    assert_eq!(entries(&lab.path("cache/sources")), Vec::<String>::new());
    let missing = Source::archive(&format!("{}/none.tar", server.url()), &sha256, &shop, &mut |_| {});
    assert!(missing.unwrap_err().to_string().contains("/none.tar"));
    let source = Source::archive(&url, &sha256, &shop, &mut |_| {}).unwrap();
    drop(server);
    assert_eq!(Source::archive(&url, &sha256, &shop, &mut |_| {}).unwrap(), source);
    // What was damaged in the cache is not used.
    fs::write(lab.path("cache/sources").join(&sha256), "damaged").unwrap();
    Source::archive(&url, &sha256, &shop, &mut |_| {}).unwrap_err();
}

#[test]
fn what_is_no_kernel_and_what_leads_out_of_its_folder_is_refused() {
    let Some(lab) = Lab::new() else { return };
    let shop = lab.shop();
    let wanted = wanted(&[]);
    let build = |name: &str| {
        let sha256 = download::sha256(&lab.path(name)).unwrap();
        let source = Source::archive(name, &sha256, &shop, &mut |_| {}).unwrap();
        Kernel::new(source.identity(), &wanted, &[], &shop)
            .unwrap()
            .build(&source, &mut |_| {})
            .unwrap_err()
    };
    fs::write(lab.path("plain"), "text").unwrap();
    lab.run("tar", &["-cf", "other.tar", "--transform=s,^,top/,", "plain"]);
    assert!(matches!(build("other.tar"), KbuildError::NotAKernel(_)));
    lab.run("tar", &["-cPf", "evil.tar", "--transform=s,^,top/../../../,", "plain"]);
    let error = build("evil.tar").to_string();
    assert!(error.contains("evil.tar: tar failed"), "{error}");
    fs::write(lab.path("damaged.tar.gz"), b"\x1f\x8b\x08\0damaged").unwrap();
    assert!(build("damaged.tar.gz").to_string().contains("damaged.tar.gz"));
    assert_eq!(entries(&lab.path("cache/build")), Vec::<String>::new());
}
