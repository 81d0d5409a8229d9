//! `mos flist pack-modules` and `mos flist pack-firmware`.

use std::fs;
use std::path::Path;
use std::process::Command;

use expect_test::expect;
use mos_testkit::S3Server;
use tempfile::TempDir;

use crate::support::{mos, run};
use crate::transcript::transcript;

/// What `uname -r` says nowhere.
const VERSION: &str = "6.99.1-test";

/// The smallest kernel module: an ELF object file with a section `.modinfo`.
fn module(depends: &str, alias: &str, version: &str) -> Vec<u8> {
    let modinfo = format!("depends={depends}\0alias={alias}\0vermagic={version} SMP mod_unload \0");
    let names = b"\0.modinfo\0.shstrtab\0";
    let mut bytes = b"\x7fELF\x02\x01".to_vec();
    bytes.resize(64, 0);
    bytes.extend_from_slice(modinfo.as_bytes());
    bytes.extend_from_slice(names);
    let table = bytes.len();
    for (name, offset, length) in [(0, 0, 0), (1, 64, modinfo.len()), (10, 64 + modinfo.len(), names.len())] {
        let mut header = [0; 64];
        header[..4].copy_from_slice(&u32::to_le_bytes(name));
        header[0x18..0x20].copy_from_slice(&(offset as u64).to_le_bytes());
        header[0x20..0x28].copy_from_slice(&(length as u64).to_le_bytes());
        bytes.extend_from_slice(&header);
    }
    bytes[0x28..0x30].copy_from_slice(&(table as u64).to_le_bytes());
    (bytes[0x3a], bytes[0x3c], bytes[0x3e]) = (64, 3, 2);
    bytes
}

fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A folder with a root file system in `root` that has modules and firmware.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("root/lib/modules").join(VERSION);
    write(
        &library.join("kernel/net/wifi.ko"),
        module("bus-core", "pci:v0000*", VERSION),
    );
    write(&library.join("kernel/drivers/bus-core.ko"), module("", "bus", VERSION));
    write(
        &library.join("modules.order"),
        "kernel/drivers/bus-core.ko\nkernel/net/wifi.ko\n",
    );
    write(&library.join("modules.builtin"), "kernel/fs/ext4/ext4.ko\n");
    write(&folder.path().join("root/lib/firmware/wifi/one.bin"), [7; 5000]);
    folder
}

/// `mos flist` in a folder, with nothing of the environment that the verbs look at.
fn command(here: &Path, line: &str) -> Command {
    let mut command = mos(here);
    command.arg("flist").args(line.split(' '));
    for variable in ["MOS_STORE", "FIRMWARE_TAG", "MANIFESTS_SUBPATH", "SOURCE_DATE_EPOCH"] {
        command.env_remove(variable);
    }
    command
}

fn says(here: &Path, line: &str) -> String {
    transcript(&mut command(here, line), here)
}

/// The bytes that `modprobe` would read of a flist.
fn cat(here: &Path, flist: &str, path: &str) -> Vec<u8> {
    run(&mut command(here, &format!("cat {flist} {path} --store store"))).stdout
}

#[test]
fn modules_are_packed_with_their_indexes_under_the_version_they_were_built_for() {
    let folder = folder();
    let here = folder.path();
    expect![[r#"
        flist  dist/flists/modules-6.99.1-test.fl, [SIZE]
        digest  blake3:[HEX]
        content  [SIZE] in 14 files
        chunks  2, 2 of them new
        uploaded  [SIZE] in 1 object
    "#]]
    .assert_eq(&says(here, "pack-modules root --store store"));
    let flist = format!("dist/flists/modules-{VERSION}.fl");
    expect![[r#"
        kernel
        kernel/drivers
        kernel/drivers/bus-core.ko
        kernel/net
        kernel/net/wifi.ko
        modules.alias
        modules.alias.bin
        modules.builtin
        modules.builtin.alias.bin
        modules.builtin.bin
        modules.builtin.modinfo
        modules.dep
        modules.dep.bin
        modules.order
        modules.softdep
        modules.symbols
        modules.symbols.bin
    "#]]
    .assert_eq(&says(here, &format!("ls -R {flist}")));
    let dependencies = cat(here, &flist, "modules.dep");
    expect![[r#"
        kernel/drivers/bus-core.ko:
        kernel/net/wifi.ko: kernel/drivers/bus-core.ko
    "#]]
    .assert_eq(&String::from_utf8(dependencies).unwrap());
    assert!(cat(here, &flist, "modules.dep.bin").starts_with(&[0xb0, 0x07, 0xf4, 0x57, 0, 2, 0, 1]));

    // The folder of the version by itself gives the same bytes.
    let packed = fs::read(here.join(&flist)).unwrap();
    let line =
        format!("pack-modules root/lib/modules/{VERSION} --store store --output-dir other --kernel-version {VERSION}");
    run(&mut command(here, &line));
    assert!(packed == fs::read(here.join(format!("other/modules-{VERSION}.fl"))).unwrap());
}

#[test]
fn what_is_no_set_of_modules_is_told() {
    let folder = folder();
    let here = folder.path();
    let other = here.join("root/lib/modules/6.98.0-test/kernel/x.ko");
    expect![[r#"
        ! error: kernel/drivers/bus-core.ko: was built for kernel 6.99.1-test, not for 6.98.0-test
        [exit 1]
    "#]]
    .assert_eq(&says(
        here,
        "pack-modules root --store store --kernel-version 6.98.0-test",
    ));
    write(&other, module("", "x", "6.98.0-test"));
    expect![[r#"
        ! error: the kernel package has modules for several versions: 6.98.0-test, 6.99.1-test
        !  hint: say which one with --kernel-version
        [exit 2]
    "#]]
    .assert_eq(&says(here, "pack-modules root --store store"));
    run(&mut command(
        here,
        "pack-modules root --store store --kernel-version 6.98.0-test",
    ));
    assert!(here.join("dist/flists/modules-6.98.0-test.fl").is_file());
    write(&other, module("nowhere", "x", "6.98.0-test"));
    expect![[r#"
        ! error: module x needs nowhere, which the kernel package does not have
        [exit 1]
    "#]]
    .assert_eq(&says(here, "pack-modules root/lib/modules/6.98.0-test --store store"));
    expect![[r#"
        ! error: there are no kernel modules here: neither lib/modules/VERSION nor files *.ko
        !  hint: name the folder lib/modules/VERSION, or stand in a config repository
        [exit 4]
    "#]]
    .assert_eq(&says(here, "pack-modules root/lib/firmware --store store"));
    expect![[r#"
        ! error: no mos.toml in [HERE] or any folder above it
        !  hint: name the config repository with --config DIR
        !  hint: `mos new DIR` writes a new config repository
        [exit 4]
    "#]]
    .assert_eq(&says(here, "pack-modules --store store"));
    expect![[r#"
        ! error: no store is given for the content
        !  hint: add --store URL (dir:///…, http(s)://…, s3://…), or set MOS_STORE
        !  hint: in a config repository, `default` under [stores] of mos.toml is used
        [exit 2]
    "#]]
    .assert_eq(&says(here, "pack-modules root"));
}

#[test]
fn firmware_is_called_by_its_tag_or_the_date() {
    let folder = folder();
    let here = folder.path();
    let line = "pack-firmware root/lib/firmware --store store";
    let dated = |seconds: &str| transcript(command(here, line).env("SOURCE_DATE_EPOCH", seconds), here);
    expect![[r#"
        flist  dist/flists/firmware-20251120.fl, [SIZE]
        digest  blake3:[HEX]
        content  [SIZE] in 1 file
        chunks  1, 1 of them new
        uploaded  [SIZE] in 1 object
    "#]]
    .assert_eq(&dated("1763683199"));
    let tagged = transcript(command(here, line).env("FIRMWARE_TAG", "from-env"), here);
    assert!(
        tagged.starts_with("flist  dist/flists/firmware-from-env.fl, "),
        "{tagged}"
    );
    run(&mut command(here, &format!("{line} --tag v1")));
    // The same files fetched at another time: the same flist.
    run(Command::new("touch")
        .arg("-d")
        .arg("2001-01-01")
        .arg(here.join("root/lib/firmware/wifi/one.bin")));
    run(&mut command(here, &format!("{line} --tag v2")));
    let flist = |tag: &str| fs::read(here.join(format!("dist/flists/firmware-{tag}.fl"))).unwrap();
    assert!(flist("v1") == flist("v2") && flist("v1") == flist("20251120"));
    assert_eq!(cat(here, "dist/flists/firmware-v1.fl", "wifi/one.bin"), [7; 5000]);

    expect![[r#"
        ! error: `../x` cannot be part of a file's name
        !  hint: letters, digits and ._+-~, 100 at most
        [exit 2]
    "#]]
    .assert_eq(&says(here, &format!("{line} --tag ../x")));
    expect![[r#"
        ! error: there is no firmware: no folder is named, and none of a config repository has it
        !  hint: name the folder, such as a checkout of linux-firmware
        [exit 4]
    "#]]
    .assert_eq(&says(here, "pack-firmware --store store"));
    expect![[r#"
        ! error: nowhere: cannot read: No such file or directory (os error 2)
        [exit 4]
    "#]]
    .assert_eq(&says(here, "pack-firmware nowhere --store store"));
}

#[test]
fn uploaded_flists_stand_below_manifests() {
    let folder = folder();
    let here = folder.path();
    let line = "pack-firmware root/lib/firmware --tag 1 --store store --upload";
    expect![[r#"
        flist  dist/flists/firmware-1.fl, [SIZE]
        digest  blake3:[HEX]
        content  [SIZE] in 1 file
        chunks  1, 1 of them new
        uploaded  [SIZE] in 1 object
        ! Uploaded dir://[HERE]/store/manifests/firmware-1.fl.
    "#]]
    .assert_eq(&says(here, line));
    let local = fs::read(here.join("dist/flists/firmware-1.fl")).unwrap();
    assert!(local == fs::read(here.join("store/manifests/firmware-1.fl")).unwrap());
    run(command(here, line).env("MANIFESTS_SUBPATH", "/elsewhere/"));
    assert!(local == fs::read(here.join("store/elsewhere/firmware-1.fl")).unwrap());
}

#[test]
fn rfs_conf_of_an_older_builder_is_honoured() {
    let folder = folder();
    let here = folder.path();
    let server = S3Server::start();
    let (key, rest) = server
        .url()
        .trim_start_matches("s3://")
        .split_once('@')
        .map(|(key, rest)| (key.to_owned(), rest.to_owned()))
        .unwrap();
    let (access, secret) = key.split_once(':').unwrap();
    let (host, bucket) = rest.split_once('/').unwrap();
    let conf = format!(
        "S3_ENDPOINT=\"http://{host}\"\nS3_BUCKET=\"{bucket}\"\nS3_PREFIX=\"flists/x\"\nS3_ACCESS_KEY=\"{access}\"\n\
         S3_SECRET_KEY=\"{secret}\"\nREAD_ACCESS_KEY=reader\nREAD_SECRET_KEY=hushhush\nROUTE_PATH=/{bucket}/flists/x\n\
         UPLOAD_MANIFESTS=true\n"
    );
    write(&here.join("config/rfs.conf"), conf);
    write(&here.join("mos.toml"), "[project]\nname = \"t\"\n");
    let said = says(here, "pack-modules root --format rfs");
    assert!(
        said.contains("warning: the route s3://") && !said.contains("hushhush") && !said.contains(secret),
        "{said}"
    );
    let flist = fs::read(here.join(format!("dist/flists/modules-{VERSION}.fl"))).unwrap();
    assert!(flist.starts_with(b"SQLite format 3\0"));
    let has = |text: &str| flist.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(has(&format!(
        "s3://reader:hushhush@{host}/{bucket}/flists/x?region=garage"
    )));
    assert!(!has(secret), "the pair that may write is in the flist");
    let manifest = server
        .directory()
        .join(format!("flists/x/manifests/modules-{VERSION}.fl"));
    assert!(flist == fs::read(manifest).unwrap());

    write(&here.join("config/rfs.conf"), "S3_ENDPOINT=http://h:1\nS3_BUCKET=b\n");
    expect![[r#"
        ! error: [HERE]/config/rfs.conf: no keys that may write
        !  hint: set S3_ACCESS_KEY and S3_SECRET_KEY in it
        [exit 1]
    "#]]
    .assert_eq(&says(here, "pack-modules root"));
    run(&mut command(here, "pack-modules root --store store"));
}
