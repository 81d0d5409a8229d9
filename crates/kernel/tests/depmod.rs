//! Our closure against `depmod` and `modprobe --show-depends`, on the kernel that the host's apt offers.
//!
//! Needs the network (a kernel package of 34 MB, kept in the temporary directory) and kmod. `MOS_TEST_KERNEL` names another
//! package, such as `linux-image-6.12-amd64` with 4,230 modules.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use mos_architecture::Architecture;
use mos_kernel::{Facts, Kernel, Library, Reason, SelectError};
use mos_packages::compression::Compression;
use mos_packages::{Apt, deb};
use mos_tree::{Kind, Tree, directory};

/// What a node on QEMU or in a cloud wants, and what pulls in much.
const WANTED: [&str; 8] = [
    "virtio_net",
    "virtio-blk",
    "ext4",
    "btrfs",
    "overlay",
    "nf_tables",
    "dm_crypt",
    "vfat",
];

/// What else is there to choose from.
const MORE: [&str; 8] = [
    "dummy",
    "xfs",
    "kvm_intel",
    "sd_mod",
    "nvme",
    "nft_nat",
    "bonding",
    "dm_raid",
];

fn kernel_tree() -> Option<Tree> {
    let apt = Apt::new(
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("apt"),
        Architecture::X86_64,
    );
    let quiet = &mut |_: mos_packages::Progress<'_>| {};
    let package = std::env::var("MOS_TEST_KERNEL").unwrap_or_else(|_| "linux-image-6.12-cloud-amd64".to_owned());
    let found = apt
        .resolve_kernel(&package, quiet)
        .and_then(|package| apt.fetch(&package, quiet));
    match found {
        Ok(deb) => Some(deb::read(&deb.path).unwrap().tree),
        Err(error) => {
            eprintln!("skipped: no kernel package: {error}");
            None
        }
    }
}

/// The package with only what is wanted and some more: depmod reads every module, and most are alike.
fn excerpt(package: Tree) -> Tree {
    excerpt_of(package, &[&WANTED[..], &MORE].concat())
}

fn excerpt_of(mut package: Tree, names: &[&str]) -> Tree {
    let kernel = Kernel::open(&package).unwrap();
    let selection = kernel.select(names).unwrap();
    let directory = format!("lib/modules/{}", kernel.version());
    let wanted: BTreeSet<String> = selection
        .modules
        .iter()
        .map(|module| format!("{directory}/{}", module.path))
        .collect();
    let others: Vec<String> = package
        .walk()
        .map(|entry| String::from_utf8_lossy(&entry.path).into_owned())
        .filter(|path| path.contains(".ko") && !wanted.contains(path.trim_end_matches(".xz")))
        .collect();
    assert!(
        others.len() > 500 && wanted.len() > names.len(),
        "{} of {}",
        wanted.len(),
        others.len()
    );
    others.iter().for_each(|path| drop(package.remove(path)));
    package
}

fn kmod_is_missing() -> bool {
    let missing = Command::new("/sbin/depmod").arg("--version").output().is_err();
    if missing {
        eprintln!("skipped: kmod is not installed");
    }
    missing
}

/// The paths that `modprobe` would load, in order.
fn show_depends(root: &Path, version: &str, name: &str) -> Vec<String> {
    let output = Command::new("/sbin/modprobe")
        .args(["-C", "/dev/null", "--show-depends", "-S", version, "-d"])
        .arg(root)
        .arg(name)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let prefix = format!("lib/modules/{version}/");
    let paths = text.lines().filter_map(|line| line.split_once(&prefix));
    paths
        .map(|(_, path)| path.trim().trim_end_matches(".xz").to_owned())
        .collect()
}

fn depmod(root: &Path, version: &str) {
    let done = Command::new("/sbin/depmod")
        .arg("-b")
        .arg(root)
        .arg(version)
        .status()
        .unwrap();
    assert!(done.success());
}

fn text(tree: &Tree, path: &str) -> String {
    match &tree.get(path).unwrap().kind {
        Kind::File(content) => String::from_utf8(content.read().unwrap()).unwrap(),
        other => panic!("{path}: {other:?}"),
    }
}

/// Each line of `modules.dep` as a module and the set of what it needs.
fn dependencies(text: &str) -> Vec<(String, BTreeSet<String>)> {
    let mut lines: Vec<_> = text
        .lines()
        .map(|line| {
            let (path, needed) = line.split_once(':').unwrap();
            (path.to_owned(), needed.split_whitespace().map(str::to_owned).collect())
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn closure_order_and_lists_agree_with_kmod() {
    let Some(package) = kernel_tree() else { return };
    if kmod_is_missing() {
        return;
    }
    let package = excerpt(package);
    let kernel = Kernel::open(&package).unwrap();
    let version = kernel.version().to_owned();
    let full = tempfile::tempdir().unwrap();
    directory::write(&package, full.path(), directory::Options::default()).unwrap();
    depmod(full.path(), &version);

    let selection = kernel.select(&WANTED).unwrap();
    let mut expected: BTreeSet<String> = BTreeSet::new();
    for name in WANTED {
        expected.extend(show_depends(full.path(), &version, name));
    }
    // kmod heeds only the first `softdep` line of a module; btrfs has four. We heed all.
    let soft = |reason: &Reason| matches!(reason, Reason::SoftBefore(_) | Reason::SoftAfter(_));
    let ours = selection.modules.iter();
    let path = |name: &str| ours.clone().find(|module| module.name == name).unwrap().path.clone();
    let required: BTreeSet<String> = kernel
        .closure(&WANTED)
        .unwrap()
        .into_iter()
        .filter(|planned| !soft(&planned.reason) || expected.contains(&path(&planned.name)))
        .map(|planned| path(&planned.name))
        .collect();
    assert_eq!(required, expected, "the sets of modules differ");

    // dm_crypt looks up algorithms by name, vfat the character sets of the kernel's configuration.
    let reason = |name: &str| {
        ours.clone()
            .find(|module| module.name == name)
            .map(|module| module.reason.clone())
    };
    assert_eq!(reason("nls_ascii"), Some(Reason::Charset("fat".to_owned())));
    assert!(
        matches!(reason("aesni_intel"), Some(Reason::Algorithm { by, algorithm }) if by == "dm_crypt" && algorithm == "aes")
    );
    let without = kernel
        .select(&["dm_crypt", "vfat", "!aesni-intel", "!nls_ascii"])
        .unwrap();
    let has = |name: &str| without.modules.iter().any(|module| module.name == name);
    assert!(!has("aesni_intel") && !has("gf128mul") && !has("nls_ascii") && has("nls_cp437"));
    assert_eq!(without.to_load(&["dm_crypt", "!nls_ascii", "fs-btrfs"]), ["dm_crypt"]);
    let idle = kernel.select(&["vfat", "!nls_asci"]).unwrap_err().to_string();
    assert!(
        idle.contains("`!nls_asci`") && idle.ends_with("did you mean `nls_ascii`?"),
        "{idle}"
    );
    let why: Vec<&str> = selection.why("gf128mul").iter().map(|(name, _)| *name).collect();
    assert_eq!(why, ["gf128mul", "aesni_intel", "dm_crypt"]);

    // Everything is loaded after what it needs.
    let mut loaded = BTreeSet::new();
    for module in &selection.modules {
        assert!(
            module.dependencies.iter().all(|name| loaded.contains(name)),
            "{} is too early",
            module.name
        );
        loaded.insert(module.name.clone());
    }

    // depmod, given only our tree, writes the same modules.dep and aliases, and modprobe finds all in it.
    let image = tempfile::tempdir().unwrap();
    let tree = selection.tree().unwrap();
    directory::write(&tree, image.path(), directory::Options::default()).unwrap();
    depmod(image.path(), &version);
    let theirs = directory::read(image.path(), directory::Options::default()).unwrap();
    let list = |tree: &Tree, name: &str| text(tree, &format!("lib/modules/{version}/{name}"));
    assert_eq!(
        dependencies(&list(&tree, "modules.dep")),
        dependencies(&list(&theirs, "modules.dep"))
    );
    let lines = |text: String| -> BTreeSet<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.replace('-', "_")).collect()
    };
    for name in ["modules.alias", "modules.softdep"] {
        assert_eq!(lines(list(&tree, name)), lines(list(&theirs, name)), "{name}");
    }
    for name in WANTED.iter().filter(|name| !kernel.is_builtin(name)) {
        assert!(!show_depends(image.path(), &version, name).is_empty());
    }
}

#[test]
fn real_kernel_tells_builtin_absent_and_why() {
    let Some(package) = kernel_tree() else { return };
    let kernel = Kernel::open(&package).unwrap();
    assert!(kernel.image().len() > 1 << 20);
    let selection = kernel.select(&["virtio-net", "tmpfs_or_not"]).unwrap_err();
    let SelectError::Absent { absent, .. } = &selection else {
        panic!("{selection}")
    };
    assert_eq!(absent.len(), 1);
    let near = kernel.select(&["virtio_nte"]).unwrap_err().to_string();
    let says = format!(
        "kernel {}: it has no such module; did you mean `virtio_net`?",
        kernel.version()
    );
    assert_eq!(near, format!("module `virtio_nte`: {says}"));
    let both = kernel.select(&["virtio_nte", "!virtio_nte"]).unwrap_err().to_string();
    let idle = format!("module `!virtio_nte`: kernel {}: keeps nothing out: ", kernel.version());
    assert!(both.lines().count() == 2 && both.contains(&idle), "{both}");

    let builtin = kernel.module_names().next().map(str::to_owned);
    assert!(builtin.is_some_and(|name| !kernel.is_builtin(&name)));
    assert!(kernel.is_builtin("binfmt-script"));
    let selection = kernel.select(&["binfmt-script", "virtio_net"]).unwrap();
    assert!(selection.builtin.contains("binfmt_script"));
    let net = selection
        .modules
        .iter()
        .position(|module| module.name == "virtio_net")
        .unwrap();
    assert_eq!(selection.modules[net].reason, Reason::Asked);
    assert!(
        selection.modules[..net]
            .iter()
            .any(|m| m.reason == Reason::NeededBy("virtio_net".to_owned()))
    );

    // Decompressed, the signature still at the end.
    let bytes = selection.modules[net].content.read().unwrap();
    assert!(bytes.starts_with(b"\x7fELF"));
    assert!(bytes.ends_with(b"~Module signature appended~\n"));
}

/// Every how many modules one is compared with the standard tools; all of them with `MOS_TEST_ALL_MODULES=1`, which takes
/// minutes.
const SAMPLE: usize = 25;
/// Aliases of modules; the first is built in as well.
const ALIASES: [&str; 4] = ["crc32", "fs-xfs", "crypto-crc32c", "virtio:d00000001v00001AF4"];

#[test]
fn sampled_modules_need_what_modprobe_says() {
    let Some(package) = kernel_tree() else { return };
    if kmod_is_missing() {
        return;
    }
    let kernel = Kernel::open(&package).unwrap();
    let version = kernel.version().to_owned();
    let root = tempfile::tempdir().unwrap();
    directory::write(&package, root.path(), directory::Options::default()).unwrap();
    depmod(root.path(), &version);
    let step = if std::env::var_os("MOS_TEST_ALL_MODULES").is_some() {
        1
    } else {
        SAMPLE
    };
    let names: Vec<&str> = kernel.module_names().step_by(step).collect();
    assert!(names.len() > 20);
    let mut differing = Vec::new();
    let name_of = |path: String| {
        let file = path.rsplit('/').next().unwrap().to_owned();
        file.trim_end_matches(".ko").replace('-', "_")
    };
    for name in names {
        let planned = kernel.closure(&[name]).unwrap();
        let ours: BTreeSet<String> = planned.iter().map(|module| module.name.clone()).collect();
        let itself = planned.iter().find(|module| module.name == name).unwrap();
        let hard = itself.dependencies.iter().chain([&itself.name]).cloned().collect();
        let theirs: BTreeSet<String> = show_depends(root.path(), &version, name)
            .into_iter()
            .map(name_of)
            .collect();
        // kmod heeds only the first `softdep` line of a module; we heed all.
        if !theirs.is_subset(&ours) {
            differing.push(format!("{name}: {theirs:?} is not within {ours:?}"));
        }
        if !theirs.is_superset(&hard) {
            differing.push(format!("{name}: {theirs:?} lacks some of {hard:?}"));
        }
    }
    assert!(kernel.is_builtin(ALIASES[0]));
    for alias in ALIASES {
        let planned = kernel.closure(&[alias]).unwrap().into_iter();
        let ours: BTreeSet<String> = planned.map(|module| module.name).collect();
        let theirs: BTreeSet<String> = show_depends(root.path(), &version, alias)
            .into_iter()
            .map(name_of)
            .collect();
        if ours != theirs {
            differing.push(format!("{alias}: {ours:?}, not {theirs:?}"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn firmware_of_all_modules_is_what_modinfo_says() {
    let Some(package) = kernel_tree() else { return };
    if kmod_is_missing() {
        return;
    }
    let kernel = Kernel::open(&package).unwrap();
    let facts = kernel.facts().unwrap();
    let root = tempfile::tempdir().unwrap();
    directory::write(&package, root.path(), directory::Options::default()).unwrap();
    let (mut paths, mut ours) = (Vec::new(), Vec::new());
    for entry in package.walk() {
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        let Some(file) = path.rsplit('/').next().and_then(|file| file.strip_suffix(".ko.xz")) else {
            continue;
        };
        let info = facts.info(&file.replace('-', "_")).unwrap();
        if !info.firmware.is_empty() {
            paths.push(root.path().join(&path));
            ours.extend(info.firmware.iter().cloned());
        }
    }
    let output = Command::new("/sbin/modinfo")
        .args(["-F", "firmware"])
        .args(&paths)
        .output()
        .unwrap();
    let theirs: Vec<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    assert!(ours.len() > 3, "{}", ours.len());
    assert_eq!(ours, theirs);
}

#[test]
fn facts_are_those_of_the_whole_modules_and_can_be_kept() {
    let Some(package) = kernel_tree() else { return };
    let kernel = Kernel::open(&package).unwrap();
    let facts = kernel.facts().unwrap();
    for name in kernel.module_names().step_by(SAMPLE) {
        let selection = kernel.select(&[name]).unwrap();
        for module in &selection.modules {
            assert_eq!(facts.info(&module.name), Some(&module.info), "{}", module.name);
        }
    }
    let again = Kernel::open(&package).unwrap();
    assert!(again.remember(Facts::from_bytes(&facts.to_bytes()).unwrap()));
    assert_eq!(again.facts().unwrap(), facts);
    let excerpt = excerpt(package.clone());
    let other = Kernel::open(&excerpt).unwrap();
    assert!(
        !other.remember(facts.clone()),
        "these are facts of another set of modules"
    );
    let reason = |error: SelectError| error.to_string();
    let missing = reason(other.select(&["fs-ext5", "virtio_nett", "fs-ext4"]).unwrap_err());
    assert!(
        missing.contains("`fs-ext5`") && missing.ends_with("did you mean `virtio_net`?"),
        "{missing}"
    );
}

/// The package with its modules compressed by this program instead; as they are without one.
fn recompressed(package: &Tree, program: Option<(&str, &str)>) -> Option<Tree> {
    let mut tree = package.clone();
    for entry in package.walk() {
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        let (Some(plain), Kind::File(content)) = (path.strip_suffix(".xz"), &entry.inode.kind) else {
            continue;
        };
        let bytes = Compression::Xz.decompress(content.open().unwrap(), 1 << 30).unwrap();
        let (ending, bytes) = match program {
            Some((program, ending)) => (ending, compressed(program, &bytes)?),
            None => ("", bytes),
        };
        tree.remove(&path).unwrap();
        tree.insert_file(format!("{plain}{ending}"), 0o644, bytes).unwrap();
    }
    Some(tree)
}

fn compressed(program: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    match Command::new(program).args(["-c", "-q"]).arg(file.path()).output() {
        Ok(output) => Some(output.stdout),
        Err(_) => {
            eprintln!("SKIPPED: {program} is not installed");
            None
        }
    }
}

#[test]
fn modules_are_the_same_however_they_are_compressed() {
    let Some(package) = kernel_tree() else { return };
    let wanted = ["virtio_net", "vfat", "fs-ext4"];
    let package = excerpt_of(package, &wanted);
    let kernel = Kernel::open(&package).unwrap();
    let selection = kernel.select(&wanted).unwrap();
    for program in [None, Some(("gzip", ".gz")), Some(("zstd", ".zst"))] {
        let Some(package) = recompressed(&package, program) else {
            continue;
        };
        let other = Kernel::open(&package).unwrap();
        assert_eq!(other.facts().unwrap(), kernel.facts().unwrap(), "{program:?}");
        let again = other.select(&wanted).unwrap();
        assert!(again.modules.len() > wanted.len());
        for (left, right) in again.modules.iter().zip(&selection.modules) {
            assert_eq!((&left.path, &left.reason), (&right.path, &right.reason), "{program:?}");
            // The signature at the end is still there.
            assert!(left.content == right.content, "{program:?}: {} differs", left.path);
            assert!(left.content.read().unwrap().ends_with(b"~Module signature appended~\n"));
        }
    }
}

/// The keys and values of an index, by walking all of its nodes, as kmod does to print it.
fn walk(bytes: &[u8]) -> Vec<(String, BTreeSet<String>)> {
    fn number(bytes: &[u8], at: usize) -> u32 {
        u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
    }
    fn text(bytes: &[u8], at: usize) -> String {
        let end = bytes[at..].iter().position(|byte| *byte == 0).unwrap();
        String::from_utf8(bytes[at..at + end].to_vec()).unwrap()
    }
    fn node(bytes: &[u8], reference: u32, mut key: String, found: &mut Vec<(String, BTreeSet<String>)>) {
        let mut at = (reference & 0x0FFF_FFFF) as usize;
        if reference & 0x8000_0000 != 0 {
            let prefix = text(bytes, at);
            at += prefix.len() + 1;
            key.push_str(&prefix);
        }
        let mut children = Vec::new();
        if reference & 0x2000_0000 != 0 {
            for letter in bytes[at]..=bytes[at + 1] {
                let child = number(bytes, at + 2 + 4 * usize::from(letter - bytes[at]));
                children.extend((child != 0).then(|| (child, format!("{key}{}", char::from(letter)))));
            }
            at += 2 + 4 * (usize::from(bytes[at + 1] - bytes[at]) + 1);
        }
        if reference & 0x4000_0000 != 0 {
            let count = number(bytes, at);
            at += 4;
            let mut values = BTreeSet::new();
            for _ in 0..count {
                let value = text(bytes, at + 4);
                at += 4 + value.len() + 1;
                values.insert(value);
            }
            found.push((key, values));
        }
        for (child, key) in children {
            node(bytes, child, key, found);
        }
    }
    assert_eq!(number(bytes, 0), 0xB007_F457);
    let mut found = Vec::new();
    node(bytes, number(bytes, 8), String::new(), &mut found);
    found.sort();
    found
}

#[test]
fn all_modules_have_the_indexes_that_depmod_makes() {
    let Some(package) = kernel_tree() else { return };
    if kmod_is_missing() {
        return;
    }
    let package = excerpt(package);
    let spool = tempfile::tempdir().unwrap();
    let library = Library::read(&package, None, spool.path()).unwrap();
    let version = library.version().to_owned();
    assert!(version.contains("amd64"), "{version}");
    let ours = library.tree().unwrap();
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("lib/modules").join(&version);
    std::fs::create_dir_all(&directory).unwrap();
    directory::write(&ours, &directory, directory::Options::default()).unwrap();

    // What modprobe says with our indexes, and then with those of depmod.
    let names = [
        "dummy",
        "ext4",
        "virtio_net",
        "btrfs",
        "dm_crypt",
        "vfat",
        "fs-xfs",
        "virtio:d00000001v00001AF4",
        "symbol:nft_register_expr",
    ];
    // Modules that do not need each other may come in any order.
    let sorted = |mut paths: Vec<String>| {
        paths.sort();
        paths
    };
    let said = || names.map(|name| sorted(show_depends(root.path(), &version, name)));
    let with_ours = said();
    depmod(root.path(), &version);
    assert_eq!(with_ours, said());

    let theirs = |name: &str| std::fs::read(directory.join(name)).unwrap();
    let content = |name: &str| match &ours.get(name).unwrap().kind {
        Kind::File(content) => content.read().unwrap(),
        other => panic!("{name}: {other:?}"),
    };
    let unordered = |text: Vec<u8>| dependencies(&String::from_utf8(text).unwrap());
    assert_eq!(unordered(content("modules.dep")), unordered(theirs("modules.dep")));
    for name in [
        "modules.alias.bin",
        "modules.symbols.bin",
        "modules.builtin.bin",
        "modules.builtin.alias.bin",
    ] {
        assert!(walk(&content(name)) == walk(&theirs(name)), "{name} differs");
    }
    let keys = |bytes: &[u8]| -> Vec<String> { walk(bytes).into_iter().map(|(key, _)| key).collect() };
    assert_eq!(keys(&content("modules.dep.bin")), keys(&theirs("modules.dep.bin")));
    for name in ["modules.alias", "modules.symbols", "modules.softdep"] {
        let lines = |bytes: Vec<u8>| -> BTreeSet<String> {
            let text = String::from_utf8(bytes).unwrap();
            text.lines()
                .filter(|line| !line.starts_with('#'))
                .map(str::to_owned)
                .collect()
        };
        assert_eq!(lines(content(name)), lines(theirs(name)), "{name}");
    }
}
