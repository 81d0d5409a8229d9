//! `mos flist`.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use expect_test::expect;
use tempfile::TempDir;

use crate::support::{mos, run};
use crate::transcript::transcript;

/// A folder with a small tree in `tree`, whose content needs a store.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("etc")).unwrap();
    fs::create_dir_all(tree.join("usr/bin")).unwrap();
    fs::write(tree.join("etc/os-release"), "NAME=test\n").unwrap();
    fs::write(tree.join("usr/bin/tool"), noise(1, 300_000)).unwrap();
    fs::set_permissions(tree.join("usr/bin/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    symlink("usr/bin", tree.join("bin")).unwrap();
    folder
}

/// Bytes without any pattern, the same for the same seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(next).collect()
}

/// `mos flist` in a folder; a line as one types it.
pub(crate) fn command(here: &Path, line: &str) -> Command {
    let mut command = mos(here);
    command.arg("flist").args(line.split(' ')).env_remove("MOS_STORE");
    command
}

pub(crate) fn says(here: &Path, line: &str) -> String {
    transcript(&mut command(here, line), here)
}

/// Packs `tree` into `web.fl` and `store`.
fn packed() -> TempDir {
    let folder = folder();
    run(&mut command(folder.path(), "pack tree -o web.fl --store store"));
    folder
}

/// The only blob of the store.
fn blob(here: &Path) -> std::path::PathBuf {
    let mut found = Vec::new();
    for entry in fs::read_dir(here.join("store/blobs")).unwrap() {
        let inner = fs::read_dir(entry.unwrap().path()).unwrap();
        found.extend(inner.map(|entry| entry.unwrap().path()));
    }
    assert_eq!(found.len(), 1);
    found.remove(0)
}

pub(crate) fn is_root() -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if !root {
        eprintln!("SKIPPED: needs root");
    }
    root
}

#[test]
fn packed_looked_into_verified_and_unpacked() {
    let folder = folder();
    let here = folder.path();
    expect![[r#"
        flist  web.fl, [SIZE]
        digest  blake3:[HEX]
        content  [SIZE] in 2 files
        chunks  4, 4 of them new
        uploaded  [SIZE] in 1 object
    "#]]
    .assert_eq(&says(here, "pack tree -o web.fl --store store"));
    expect![[r#"
        bin
        etc
        usr
    "#]]
    .assert_eq(&says(here, "ls web.fl"));
    expect![[r#"
        usr/bin
        usr/bin/tool
    "#]]
    .assert_eq(&says(here, "ls -R web.fl usr"));
    expect![[r#"
        bin
    "#]]
    .assert_eq(&says(here, "ls web.fl usr"));
    expect![[r#"
        NAME=test
    "#]]
    .assert_eq(&says(here, "cat web.fl /etc/os-release --store store"));
    expect![[r#"
        format  MOS flist, version 2
        digest  blake3:[HEX]
        size  [SIZE]
        entries  7: 4 directories, 2 files, 1 symbolic links, 0 others
        content  [SIZE]
        chunk sizes  [SIZE] / [SIZE] / [SIZE]
        blobs  1, [SIZE]
        prefetch  0 files
    "#]]
    .assert_eq(&says(here, "inspect web.fl"));
    expect![[r#"
        ! web.fl is complete: 1 blob with [SIZE] of content.
    "#]]
    .assert_eq(&says(here, "verify --quick web.fl --store store"));
    expect![[r#"
        ! web.fl is whole: 1 blob with [SIZE] of content.
    "#]]
    .assert_eq(&says(here, "verify web.fl --store store"));
    expect![[r#"
        ! Unpacked 6 names, [SIZE], into copy.
    "#]]
    .assert_eq(&says(here, "unpack web.fl copy --store store"));
    run(Command::new("diff")
        .args(["-r", "--no-dereference"])
        .arg(here.join("tree"))
        .arg(here.join("copy")));
    let mode = fs::metadata(here.join("copy/usr/bin/tool"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o4755);
}

#[test]
fn long_listing_is_that_of_ls() {
    let folder = packed();
    let here = folder.path();
    let listed = run(&mut command(here, "ls -l web.fl")).stdout;
    let listed = String::from_utf8(listed).unwrap();
    let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    let modes: Vec<&str> = lines.iter().map(|line| line[0]).collect();
    assert_eq!(modes, ["lrwxrwxrwx", "drwxr-xr-x", "drwxr-xr-x"], "{listed}");
    assert_eq!(lines[0][6..], ["bin", "->", "usr/bin"], "{listed}");
    let tool = says(here, "ls -l web.fl usr/bin/tool");
    assert!(tool.starts_with("-rwsr-xr-x  1  "), "{tool}");
    let json = run(&mut command(here, "ls -R --json web.fl")).stdout;
    let rows: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 6);
    assert_eq!(rows[5]["path"], "usr/bin/tool");
    assert_eq!((&rows[5]["type"], &rows[5]["mode"]), (&"file".into(), &"4755".into()));
    assert_eq!(rows[5]["size"], 300_000);
}

#[test]
fn second_packing_sends_only_what_changed() {
    let folder = packed();
    let here = folder.path();
    fs::write(here.join("tree/etc/new"), noise(2, 50_000)).unwrap();
    let json = run(&mut command(
        here,
        "pack tree -o new.fl --store store --base web.fl --json",
    ))
    .stdout;
    let report: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let uploaded = report["uploaded_bytes"].as_u64().unwrap();
    assert!((50_000..60_000).contains(&uploaded), "{report}");
    assert_eq!(
        says(here, "verify web.fl --store store"),
        says(here, "verify web.fl --store store")
    );
    run(&mut command(here, "verify new.fl --store store"));
}

#[test]
fn store_is_looked_for_in_one_order() {
    let folder = packed();
    let here = folder.path();
    expect![[r#"
        ! error: no store is given for the content
        !  hint: add --store URL (dir:///…, http(s)://…, s3://…), or set MOS_STORE
        !  hint: in a config repository, `default` under [stores] of mos.toml is used
        [exit 2]
    "#]]
    .assert_eq(&says(here, "verify web.fl"));
    let variable = |url: &str| transcript(command(here, "verify web.fl").env("MOS_STORE", url), here);
    expect![[r#"
        ! web.fl is whole: 1 blob with [SIZE] of content.
    "#]]
    .assert_eq(&variable(here.join("store").to_str().unwrap()));
    expect![[r#"
        ! error: `gopher://x` is not the address of a store: a store is dir://, http://, https://, s3:// or s3s://
        [exit 2]
    "#]]
    .assert_eq(&variable("gopher://x"));
    let url = format!("dir://{}/store", here.display());
    fs::write(
        here.join("mos.toml"),
        format!("[project]\nname = \"t\"\n[stores]\ndefault = \"{url}\"\n"),
    )
    .unwrap();
    expect![[r#"
        ! web.fl is whole: 1 blob with [SIZE] of content.
    "#]]
    .assert_eq(&says(here, "verify web.fl"));
    expect![[r#"
        ! error: /nowhere: there is no such store
        !  hint: packing, cloning and pulling make the folder of a store
        [exit 4]
    "#]]
    .assert_eq(&variable("/nowhere"));
}

#[test]
fn difference_of_two_flists() {
    let folder = packed();
    let here = folder.path();
    expect![[r#"
        ! No difference.
    "#]]
    .assert_eq(&says(here, "diff web.fl web.fl"));
    fs::write(here.join("tree/etc/new"), noise(2, 50_000)).unwrap();
    fs::write(here.join("tree/etc/os-release"), "NAME=other\n").unwrap();
    fs::remove_file(here.join("tree/bin")).unwrap();
    run(&mut command(here, "pack tree -o new.fl --store store --base web.fl"));
    let changes = says(here, "diff web.fl new.fl");
    assert!(
        changes.contains("- bin\n") && changes.contains("+ etc/new\n"),
        "{changes}"
    );
    assert!(changes.contains("~ etc/os-release (content, time)\n"), "{changes}");
    assert!(
        changes.contains("! A node that has the first fetches [SIZE] for the second"),
        "{changes}"
    );
    assert!(changes.ends_with("[exit 1]\n"), "{changes}");
    let json = command(here, "diff web.fl new.fl --json").output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(
        (50_000..60_000).contains(&report["transfer"]["blob_bytes"].as_u64().unwrap()),
        "{report}"
    );
}

#[test]
fn cloned_to_another_store() {
    let folder = packed();
    let here = folder.path();
    expect![[r#"
        copied  [SIZE] in 1 blob
        present  [SIZE] in 0 blobs
    "#]]
    .assert_eq(&says(here, "clone web.fl --from store --to other"));
    expect![[r#"
        copied  [SIZE] in 0 blobs
        present  [SIZE] in 1 blob
    "#]]
    .assert_eq(&says(here, "clone web.fl --from store --to other"));
    run(&mut command(here, "verify web.fl --store other"));
    let blob = blob(here);
    fs::write(&blob, noise(5, fs::metadata(&blob).unwrap().len() as usize)).unwrap();
    expect![[r#"
        ! error: dir://[HERE]/store: blob [HEX] is not what the flist names (its digest is another): the store is damaged or was tampered with
        [exit 3]
    "#]].assert_eq(&says(here, "clone web.fl --from store --to third"));
    expect![[r#"
        ! error: [HERE]/nowhere: there is no such store
        !  hint: packing, cloning and pulling make the folder of a store
        [exit 4]
    "#]]
    .assert_eq(&says(here, "clone web.fl --from nowhere --to third"));
}

/// A single replica's damage is no trouble for readers, so nobody but a check would ever see it.
#[test]
fn every_replica_is_verified_and_mended() {
    let folder = packed();
    let here = folder.path();
    run(&mut command(here, "clone web.fl --from store --to bad"));
    let name = blob(here).strip_prefix(here.join("store")).unwrap().to_owned();
    let bad = here.join("bad").join(name);
    let length = fs::metadata(&bad).unwrap().len() as usize;
    fs::write(&bad, noise(5, length)).unwrap();
    for stores in ["--store bad --store store", "--store store --store bad"] {
        expect![[r#"
            dir://[HERE]/bad: blob [HEX] does not match its digest: damaged or tampered with; push it again
            ! error: web.fl: 1 problem
            !  hint: `mos flist clone web.fl --from GOOD --to BAD --check` mends a store from another one
            [exit 3]
        "#]]
        .assert_eq(&says(here, &format!("verify web.fl {stores}")));
    }
    // Only a full check reads what is there.
    run(&mut command(here, "verify --quick web.fl --store bad --store store"));
    run(&mut command(here, "clone web.fl --from store --to bad"));
    assert_eq!(fs::read(&bad).unwrap(), noise(5, length));
    expect![[r#"
        copied  [SIZE] in 1 blob
        present  [SIZE] in 0 blobs
    "#]]
    .assert_eq(&says(here, "clone web.fl --from store --to bad --check"));
    run(&mut command(here, "verify web.fl --store bad --store store"));
    fs::remove_file(&bad).unwrap();
    let missing = expect![[r#"
        dir://[HERE]/bad: blob [HEX] is missing; push it again from a store that has it
        ! error: web.fl: 1 problem
        !  hint: `mos flist clone web.fl --from GOOD --to BAD --check` mends a store from another one
        [exit 1]
    "#]];
    for quick in ["", "--quick "] {
        let line = format!("verify {quick}web.fl --store bad --store store");
        missing.assert_eq(&says(here, &line));
    }
    // What belongs elsewhere is not missing.
    let first = &bad.file_name().unwrap().to_str().unwrap()[..2];
    let other = if first == "00" { "01-ff" } else { "00-00" };
    run(&mut command(
        here,
        &format!("verify --quick web.fl --store {other}=bad --store store"),
    ));
}

/// Whole blobs are looked at, but only a few are kept: as much as packing takes, however large the flist.
#[test]
fn verifying_keeps_little_in_memory() {
    let folder = folder();
    let here = folder.path();
    for seed in 0..6 {
        fs::write(here.join(format!("tree/large{seed}")), noise(seed, 16 << 20)).unwrap();
    }
    run(&mut command(here, "pack tree -o web.fl --store store"));
    let mut verify = command(here, "verify web.fl --store store").spawn().unwrap();
    let mut peak = 0;
    while verify.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", verify.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak = peak.max(kilobytes.unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert!(verify.wait().unwrap().success());
    assert!((1..64 << 10).contains(&peak), "{peak} kB");
}

#[test]
fn every_replica_of_the_older_format_is_verified() {
    let folder = folder();
    let here = folder.path();
    run(&mut command(
        here,
        "pack tree -o old.fl --format rfs --store one --store two",
    ));
    run(&mut command(here, "verify old.fl"));
    let blocks = || {
        let folders = fs::read_dir(here.join("two"))
            .unwrap()
            .map(|folder| folder.unwrap().path());
        let blocks = folders.flat_map(|folder| fs::read_dir(folder).unwrap());
        blocks.map(|block| block.unwrap().path()).collect::<Vec<_>>()
    };
    let [damaged, removed] = &blocks()[..] else {
        panic!("{:?}", blocks())
    };
    fs::write(damaged, "not what it was").unwrap();
    fs::remove_file(removed).unwrap();
    let mut said: Vec<String> = says(here, "verify old.fl").lines().map(str::to_owned).collect();
    said[..2].sort_by_key(|line| line.contains("missing"));
    assert!(
        said[0].starts_with("dir://[HERE]/two: block ") && said[0].contains("does not match"),
        "{said:?}"
    );
    assert!(
        said[1].starts_with("dir://[HERE]/two: block ") && said[1].contains("is missing"),
        "{said:?}"
    );
    assert_eq!(said.last().unwrap(), "[exit 3]");
    let quick = says(here, "verify --quick old.fl");
    assert!(
        quick.starts_with("dir://[HERE]/two: block ") && quick.contains("[exit 1]"),
        "{quick}"
    );
    run(&mut command(here, "unpack old.fl copy"));
}

#[test]
fn blocks_of_the_older_format_are_cloned_and_a_new_flist_names_their_store() {
    let folder = folder();
    let here = folder.path();
    run(&mut command(here, "pack tree -o old.fl --format rfs --store one"));
    expect![[r#"
        copied  [SIZE] in 2 blocks
        present  0 blocks
        route  dir://[HERE]/two
    "#]]
    .assert_eq(&says(here, "clone old.fl --to two -o new.fl"));
    expect![[r#"
        copied  [SIZE] in 0 blocks
        present  2 blocks
    "#]]
    .assert_eq(&says(here, "clone old.fl --from one --to two"));
    fs::rename(here.join("one"), here.join("away")).unwrap();
    run(&mut command(here, "verify new.fl"));
    run(&mut command(here, "unpack new.fl copy"));
    run(Command::new("diff")
        .args(["-r", "--no-dereference"])
        .arg(here.join("tree"))
        .arg(here.join("copy")));
    let inner = fs::read_dir(here.join("two")).unwrap().next().unwrap().unwrap().path();
    let block = fs::read_dir(inner).unwrap().next().unwrap().unwrap().path();
    let length = fs::metadata(&block).unwrap().len() as usize;
    fs::write(&block, noise(5, length)).unwrap();
    let said = says(here, "clone new.fl --to three");
    assert!(
        said.contains("is not what the flist names") && said.contains("[exit 3]"),
        "{said}"
    );
    let said = says(here, "clone new.fl --from away --to two --check");
    assert!(said.contains("in 1 block\n"), "{said}");
    run(&mut command(here, "verify new.fl"));
    run(&mut command(here, "pack tree -o web.fl --store store"));
    for line in [
        "clone web.fl --to other",
        "clone web.fl --from store --to other -o x.fl",
    ] {
        let said = says(here, line);
        assert!(said.contains("names no store") && said.contains("[exit 2]"), "{said}");
    }
}

#[test]
fn what_is_mounted_below_is_left_out_when_told() {
    if !is_root() {
        return;
    }
    let folder = folder();
    let here = folder.path();
    let (small, kernel) = (here.join("tree/small"), here.join("tree/kernel"));
    let small = Small::mount(&small);
    fs::write(small.0.join("inside"), "x").unwrap();
    let pack = "pack tree -o web.fl --store store";
    run(&mut command(here, pack));
    assert!(says(here, "ls -R web.fl").contains("small/inside"));
    run(&mut command(here, &format!("{pack} --one-file-system")));
    let list = says(here, "ls -R web.fl");
    assert!(list.contains("small") && !list.contains("inside"), "{list}");
    // Files of sysfs say that they have 4096 bytes, and have fewer.
    let source = Path::new("/sys/kernel/mm/transparent_hugepage");
    if !source.exists() {
        return eprintln!("SKIPPED: the kernel has no {}", source.display());
    }
    fs::create_dir(&kernel).unwrap();
    run(Command::new("mount").arg("--bind").arg(source).arg(&kernel));
    let _kernel = Small(&kernel);
    let said = says(here, pack);
    assert!(
        said.contains("the file became shorter while it was read") && said.contains("[exit 5]"),
        "{said}"
    );
    assert!(said.contains("--one-file-system leaves it out"), "{said}");
    run(&mut command(here, &format!("{pack} --one-file-system")));
}

#[test]
fn collected_only_when_told() {
    let folder = packed();
    let here = folder.path();
    expect![[r#"
        ! Nothing to delete; 1 needed, 0 young, 0 other objects stay.
    "#]]
    .assert_eq(&says(here, "gc store --keep web.fl --grace 0s"));
    fs::write(here.join("tree/usr/bin/tool"), noise(3, 300_000)).unwrap();
    run(&mut command(here, "pack tree -o new.fl --store store"));
    expect![[r#"
        ! Nothing to delete; 1 needed, 1 young, 0 other objects stay.
    "#]]
    .assert_eq(&says(here, "gc store --keep new.fl"));
    expect![[r#"
        delete blobs/b6/[HEX]  [SIZE]
        ! Nothing was deleted: 1 blob, [SIZE], would go with --yes; 1 needed, 0 young, 0 other objects stay.
    "#]]
    .assert_eq(&says(here, "gc store --keep new.fl --grace 0s"));
    run(&mut command(here, "verify web.fl --store store"));
    expect![[r#"
        delete blobs/b6/[HEX]  [SIZE]
        ! Deleted 1 blob, [SIZE]; 1 needed, 0 young, 0 other objects stay.
    "#]]
    .assert_eq(&says(here, "gc store --keep new.fl --grace 0s --yes"));
    run(&mut command(here, "verify new.fl --store store"));
    expect![[r#"
        ! error: dir://[HERE]/store: 1 blob of kept flists missing, such as [HEX]
        !  hint: is this the store that these flists were packed into?
        [exit 5]
    "#]]
    .assert_eq(&says(here, "gc store --keep web.fl --grace 0s --yes"));
    run(&mut command(here, "verify new.fl --store store"));
    expect![[r#"
        ! error: invalid value '1week' for '--grace <TIME>': expected a number and s, m, h or d, such as 24h
        !
        ! For more information, try '--help'.
        [exit 2]
    "#]]
    .assert_eq(&says(here, "gc store --keep new.fl --grace 1week"));
}

#[test]
fn blocks_of_the_older_format_among_blobs_are_not_collected() {
    let folder = packed();
    let here = folder.path();
    // Where both put `blobs/ab/ab…`.
    run(&mut command(
        here,
        "pack tree -o old.fl --format rfs --store store/blobs",
    ));
    fs::write(here.join("tree/usr/bin/tool"), noise(3, 300_000)).unwrap();
    run(&mut command(here, "pack tree -o new.fl --store store"));
    expect![[r#"
        delete blobs/b6/[HEX]  [SIZE]
        ! Deleted 1 blob, [SIZE]; 1 needed, 0 young, 2 other objects stay.
    "#]]
    .assert_eq(&says(here, "gc store --keep new.fl --grace 0s --yes"));
    run(&mut command(here, "verify old.fl"));
    run(&mut command(here, "verify new.fl --store store"));
}

#[test]
fn flists_of_a_channel_are_kept() {
    let folder = packed();
    let here = folder.path();
    fs::write(here.join("tree/usr/bin/tool"), noise(3, 300_000)).unwrap();
    run(&mut command(here, "pack tree -o new.fl --store store"));
    fs::create_dir(here.join("store/flists")).unwrap();
    fs::copy(here.join("web.fl"), here.join("store/flists/web.fl")).unwrap();
    run(&mut command(here, "gc store --keep new.fl --grace 0s --yes"));
    run(&mut command(here, "verify web.fl --store store"));
    fs::write(here.join("store/flists/web.fl"), "rubbish").unwrap();
    expect![[r#"
        ! error: dir://[HERE]/store/flists/web.fl: not an flist: it does not begin with the magic MOSFLIST; was the right file given?
        [exit 1]
    "#]].assert_eq(&says(here, "gc store --keep new.fl --grace 0s --yes"));
    run(&mut command(here, "verify web.fl --store store"));
}

#[test]
fn flists_that_packers_put_into_the_store_are_kept() {
    let folder = packed();
    let here = folder.path();
    fs::create_dir_all(here.join("firmware/vendor")).unwrap();
    fs::write(here.join("firmware/vendor/a.bin"), noise(5, 200_000)).unwrap();
    let line = "pack-firmware firmware --tag 1 --store store --upload";
    run(&mut command(here, line));
    run(&mut command(here, &line.replace("store --", "rfs --format rfs --")));
    fs::create_dir_all(here.join("store/other")).unwrap();
    fs::rename(
        here.join("rfs/manifests/firmware-1.fl"),
        here.join("store/other/firmware-1.fl"),
    )
    .unwrap();
    run(&mut command(here, "gc store --keep web.fl --grace 0s --yes"));
    run(&mut command(here, "verify store/manifests/firmware-1.fl --store store"));
}

#[test]
fn what_packing_writes_is_not_packed() {
    let folder = folder();
    let here = folder.path().join("tree");
    let pack = |line: &str| transcript(command(&here, line).env("MOS_CACHE", here.join("cache")), &here);
    pack("pack . -o etc/web.fl --store store");
    let first = fs::read(here.join("etc/web.fl")).unwrap();
    let said = pack("pack . -o etc/web.fl --store ./store/");
    for path in ["cache", "etc/web.fl", "store"] {
        assert!(
            said.contains(&format!("! left out, since this writes to it: {path}\n")),
            "{said}"
        );
    }
    let list = says(&here, "ls -R etc/web.fl");
    assert!(
        !list.contains("store") && !list.contains(".fl") && list.contains("usr/bin/tool"),
        "{list}"
    );
    assert!(first.len().abs_diff(fs::read(here.join("etc/web.fl")).unwrap().len()) < 512);
}

#[test]
fn slips_of_the_pen_are_told_before_work_is_done() {
    let folder = packed();
    let here = folder.path();
    expect![[r#"
        ! error: [HERE]/stroe: there is no such store
        !  hint: packing, cloning and pulling make the folder of a store
        [exit 4]
    "#]]
    .assert_eq(&says(here, "verify web.fl --store stroe"));
    for line in [
        "unpack web.fl out --store stroe",
        "mount web.fl tree --store stroe",
        "clone web.fl --from stroe --to new",
        "gc stroe --keep web.fl",
        "unmount stroe",
    ] {
        let said = says(here, line);
        assert!(
            said.contains("there is no such") && said.contains("[exit 4]"),
            "{line}: {said}"
        );
    }
    let said = says(here, "pack tree -o absent/web.fl --store other");
    assert!(said.contains("absent/web.fl") && !here.join("other").exists(), "{said}");
    let said = says(here, "pack tree -o tree --store other");
    assert!(said.contains("needs a name") && !here.join("other").exists(), "{said}");
    run(&mut command(
        here,
        "pack tree -o halves.fl --store 00-7f=low --store 80-ff=high",
    ));
    run(&mut command(
        here,
        "verify halves.fl --store 00-7f=low --store 80-ff=high",
    ));
    assert!(here.join("low").is_dir() || here.join("high").is_dir());
    fs::create_dir(here.join("wrong")).unwrap();
    let said = says(here, "verify --quick web.fl --store wrong");
    assert!(
        said.contains("is missing") && said.contains("hint: is this the store"),
        "{said}"
    );
    for line in [
        "convert web.fl -o absent/x.fl --to mos --store other",
        "pull oci://127.0.0.1:9/x -o absent/x.fl --store other",
    ] {
        let said = says(here, line);
        assert!(
            said.contains("absent/x.fl") && !here.join("other").exists(),
            "{line}: {said}"
        );
    }
    fs::create_dir_all(here.join("out/bin")).unwrap();
    let said = says(here, "unpack web.fl out --store store");
    assert!(
        said.contains("a folder stands where the flist has something else"),
        "{said}"
    );
    let said = says(here, "ls /dev/zero");
    assert!(said.contains("not an flist"), "{said}");
}

#[test]
fn route_of_an_older_builder_is_put_into_an_flist() {
    let folder = folder();
    let here = folder.path();
    run(&mut command(here, "pack tree -o old.fl --format rfs --store blocks"));
    assert!(says(here, "route old.fl --conf").contains("neither config/rfs.conf nor config/myfs.conf is there"));
    fs::create_dir(here.join("config")).unwrap();
    fs::write(here.join("mos.toml"), "").unwrap();
    let conf = "S3_ENDPOINT=https://s3.example.org:9000\nS3_BUCKET=mos\nS3_ACCESS_KEY=w\nS3_SECRET_KEY=w\n";
    fs::write(here.join("config/rfs.conf"), conf).unwrap();
    assert!(says(here, "route old.fl --conf").contains("no keys that may read"));
    let keys = "READ_ACCESS_KEY=reader\nREAD_SECRET_KEY=hushhush\n";
    fs::write(here.join("config/rfs.conf"), conf.to_owned() + keys).unwrap();
    let said = says(here, "route old.fl --conf");
    assert!(
        said.contains("! warning: the route ") && !said.contains("hushhush"),
        "{said}"
    );
    assert!(
        said.starts_with("s3s://***:***@s3.example.org:9000/blobs?region=garage\n"),
        "{said}"
    );
    let said = transcript(
        command(here, "route old.fl --set s3://K:S@h:3900")
            .env_remove("ROUTE_PATH")
            .env_remove("ROUTE_REGION"),
        here,
    );
    assert!(said.starts_with("s3://***:***@h:3900/blobs?region=garage\n"), "{said}");
    run(&mut command(here, "route old.fl --conf"));
    let file = fs::read(here.join("old.fl")).unwrap();
    let route = b"s3s://reader:hushhush@s3.example.org:9000/blobs?region=garage";
    assert!(file.windows(route.len()).any(|part| part == route));
}

#[test]
fn a_trace_is_taken_although_all_content_is_local() {
    if !is_root() || !Path::new("/dev/fuse").exists() {
        return eprintln!("SKIPPED: needs root and /dev/fuse");
    }
    let folder = packed();
    let here = folder.path();
    fs::create_dir(here.join("mnt")).unwrap();
    let mount = |line: &str| transcript(command(here, line).env("MOS_CACHE", here.join("cache")), here);
    let line = "mount web.fl mnt --store store --prefetch all --trace-to list --daemon";
    expect![[r#"
        ! error: absent/log: No such file or directory (os error 2)
        [exit 4]
    "#]]
    .assert_eq(&mount(&format!("{line} --log absent/log")));
    assert_eq!(fs::read_dir(here.join("mnt")).unwrap().count(), 0);
    let said = mount(line);
    assert!(said.contains("as a trace needs it"), "{said}");
    fs::read(here.join("mnt/usr/bin/tool")).unwrap();
    run(&mut command(here, "unmount mnt"));
    let said = mount(&format!("{line} --how kernel"));
    assert!(
        said.contains("as a trace needs it") && said.contains("[exit 1]"),
        "{said}"
    );
    let list = || fs::read_to_string(here.join("list")).unwrap_or_default();
    let patience = std::time::Instant::now();
    while list() != "usr/bin/tool\n" && patience.elapsed().as_secs() < 10 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(list(), "usr/bin/tool\n");
}

/// As the daemon of a node does: a laptop that mounts an flist for days has other uses for its memory.
#[test]
fn a_mount_keeps_little_in_memory() {
    if !is_root() || !Path::new("/dev/fuse").exists() {
        return eprintln!("SKIPPED: needs root and /dev/fuse");
    }
    let folder = folder();
    let here = folder.path();
    fs::write(here.join("tree/large"), noise(7, 48 << 20)).unwrap();
    run(&mut command(here, "pack tree -o web.fl --store store"));
    fs::create_dir(here.join("mnt")).unwrap();
    let mut mount = command(here, "mount web.fl mnt --store store --how fuse --daemon --json");
    let said = mount.env("MOS_CACHE", here.join("cache")).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(fs::read(here.join("mnt/large")).unwrap(), noise(7, 48 << 20));
    let status = fs::read_to_string(format!("/proc/{}/status", report["process"])).unwrap();
    run(&mut command(here, "unmount mnt"));
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let kilobytes: u64 = anonymous.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 24 << 10, "{kilobytes} kB");
}

#[test]
fn mounted_and_unmounted() {
    if !is_root() || !Path::new("/dev/fuse").exists() {
        return eprintln!("SKIPPED: needs root and /dev/fuse");
    }
    let folder = packed();
    let here = folder.path();
    fs::create_dir(here.join("mnt")).unwrap();
    let mount = |line: &str| transcript(command(here, line).env("MOS_CACHE", here.join("cache")), here);
    for (how, expected) in [
        (
            "fuse",
            expect![[r#"
        ! Mounted at [HERE]/mnt by FUSE with passthrough: FUSE was asked for.
        ! What goes wrong is written to [HERE]/cache/logs/[LOG].
    "#]],
        ),
        (
            "kernel --prefetch all",
            expect![[r#"
        ! Mounted at [HERE]/mnt by kernel (EROFS and overlay): it was asked for.
    "#]],
        ),
    ] {
        let line = format!("mount web.fl mnt --store store --daemon --how {how}");
        let log = here.join("mnt").to_string_lossy().trim_matches('/').replace('/', "!") + ".log";
        expected.assert_eq(&mount(&line).replace(&log, "[LOG]"));
        assert!(here.join("cache/logs").join(&log).is_file());
        run(Command::new("diff")
            .args(["-r", "--no-dereference"])
            .arg(here.join("tree"))
            .arg(here.join("mnt")));
        assert_eq!(says(here, "unmount mnt"), "! Unmounted mnt.\n");
        assert_eq!(fs::read_dir(here.join("mnt")).unwrap().count(), 0);
    }
    expect![[r#"
        ! error: mnt: nothing of ours is mounted here
        [exit 5]
    "#]]
    .assert_eq(&says(here, "unmount mnt"));
    expect![[r#"
        ! error: nowhere: cannot look at: No such file or directory (os error 2)
        [exit 4]
    "#]]
    .assert_eq(&mount("mount web.fl nowhere --store store --daemon"));
    expect![[r#"
        ! error: kernel: not possible: the content of 1 file is not local; fetch it first (prefetch all)
        !  hint: --how auto takes the way that is possible
        [exit 1]
    "#]]
    .assert_eq(&mount("mount web.fl mnt --store store --how kernel --cache fresh"));
}

#[test]
fn what_is_no_flist_is_refused() {
    let folder = packed();
    let here = folder.path();
    let bytes = fs::read(here.join("web.fl")).unwrap();
    fs::write(here.join("cut.fl"), &bytes[..bytes.len() - 10]).unwrap();
    fs::write(here.join("stub.fl"), &bytes[..20]).unwrap();
    let mut wrong = bytes.clone();
    wrong[2000] ^= 1;
    fs::write(here.join("wrong.fl"), &wrong).unwrap();
    fs::write(here.join("text.fl"), "hello").unwrap();
    for (file, expected) in [
        (
            "cut.fl",
            expect![[r#"
            ! error: cut.fl: the flist is malformed: section table at byte 280: a section beyond the end of the file; fetch or pack it again
            [exit 1]
        "#]],
        ),
        (
            "stub.fl",
            expect![[r#"
            ! error: stub.fl: the flist is malformed: header at byte 20: the file ends inside it; fetch or pack it again
            [exit 1]
        "#]],
        ),
        (
            "wrong.fl",
            expect![[r#"
            ! error: wrong.fl: the EROFS metadata of the flist do not match their digest: the file is damaged or was tampered with; fetch it again
            [exit 3]
        "#]],
        ),
        (
            "text.fl",
            expect![[r#"
            ! error: text.fl: not an flist: it does not begin with the magic MOSFLIST; was the right file given?
            [exit 1]
        "#]],
        ),
        (
            "missing.fl",
            expect![[r#"
            ! error: missing.fl: No such file or directory (os error 2)
            [exit 4]
        "#]],
        ),
        (
            "tree",
            expect![[r#"
            ! error: tree: Is a directory (os error 21)
            [exit 1]
        "#]],
        ),
    ] {
        expected.assert_eq(&says(here, &format!("inspect {file}")));
    }
}

#[test]
fn damaged_store_is_a_trust_failure() {
    let folder = packed();
    let here = folder.path();
    let blob = blob(here);
    let mut bytes = fs::read(&blob).unwrap();
    bytes[1000] ^= 1;
    fs::write(&blob, &bytes).unwrap();
    expect![[r#"
        blob [HEX] does not match its digest: damaged or tampered with; push it again
        usr/bin/tool: the frame at byte 0 of blob [HEX] is not what the flist names (its digest is another): the store is damaged or was tampered with
        ! error: web.fl: 2 problems
        [exit 3]
    "#]].assert_eq(&says(here, "verify web.fl --store store"));
    expect![[r#"
        ! web.fl is complete: 1 blob with [SIZE] of content.
    "#]]
    .assert_eq(&says(here, "verify --quick web.fl --store store"));
    expect![[r#"
        ! error: usr/bin/tool: the frame at byte 0 of blob [HEX] is not what the flist names (its digest is another): the store is damaged or was tampered with
        [exit 3]
    "#]].assert_eq(&says(here, "unpack web.fl copy --store store"));
    assert!(!here.join("copy/usr/bin/tool").exists());
    expect![[r#"
        ! error: usr/bin/tool: the frame at byte 0 of blob [HEX] is not what the flist names (its digest is another): the store is damaged or was tampered with
        [exit 3]
    "#]].assert_eq(&says(here, "cat web.fl usr/bin/tool --store store"));
    fs::remove_file(&blob).unwrap();
    expect![[r#"
        blob [HEX] is missing; push it again from a store that has it
        ! error: web.fl: 1 problem
        !  hint: is this the store that the flist was packed into?
        [exit 1]
    "#]]
    .assert_eq(&says(here, "verify --quick web.fl --store store"));
    expect![[r#"
        ! error: usr/bin/tool: blob [HEX]: dir://[HERE]/store: no object blobs/b6/[HEX]
        !  hint: is this the store that the flist was packed into?
        [exit 4]
    "#]]
    .assert_eq(&says(here, "unpack web.fl copy --store store"));
}

#[test]
fn store_that_cannot_be_reached() {
    let folder = packed();
    let here = folder.path();
    // The discard port: nothing listens there.
    expect![[r#"
        ! error: usr/bin/tool: blob [HEX]: http://127.0.0.1:9/x: unreachable after 5 tries: io: Connection refused (os error 111)
        [exit 4]
    "#]].assert_eq(&says(here, "cat web.fl usr/bin/tool --store http://127.0.0.1:9/x"));
    expect![[r#"
        ! error: `http://127.0.0.1:9/x` is not the address of a store: a web server can only be read; write to the directory or bucket that it serves
        [exit 2]
    "#]].assert_eq(&says(here, "pack tree -o new.fl --store http://127.0.0.1:9/x"));
    expect![[r#"
        ! error: 127.0.0.1:9: unreachable after 5 tries: io: Connection refused (os error 111)
        [exit 4]
    "#]]
    .assert_eq(&says(here, "pull oci://127.0.0.1:9/web:1 -o new.fl --store store"));
    expect![[r#"
        ! error: oci://127.0.0.1:9/web:1: a registry takes whole artefacts only
        !  hint: pack into a folder or a bucket, then `mos flist push`
        [exit 2]
    "#]]
    .assert_eq(&says(here, "pack tree -o new.fl --store oci://127.0.0.1:9/web:1"));
    assert!(!here.join("new.fl").exists());
}

#[test]
fn paths_that_are_not_there() {
    let folder = packed();
    let here = folder.path();
    expect![[r#"
        ! error: web.fl: no entry nothing
        !  hint: `mos flist ls -R web.fl` lists all of them
        [exit 4]
    "#]]
    .assert_eq(&says(here, "cat web.fl nothing --store store"));
    expect![[r#"
        ! error: web.fl: bin is not a regular file
        [exit 2]
    "#]]
    .assert_eq(&says(here, "cat web.fl bin --store store"));
    expect![[r#"
        ! error: web.fl: no entry usr/none
        !  hint: `mos flist ls -R web.fl` lists all of them
        [exit 4]
    "#]]
    .assert_eq(&says(here, "ls web.fl usr/none"));
    expect![[r#"
        ! error: nothing: No such file or directory (os error 2)
        [exit 4]
    "#]]
    .assert_eq(&says(here, "pack nothing -o new.fl --store store"));
    expect![[r#"
        ! error: tree/etc/os-release: cannot read the tar archive: failed to read entire block
        !  hint: a source is a folder, a tar archive (also .gz, .xz, .zst), or a container image as either
        [exit 1]
    "#]]
    .assert_eq(&says(here, "pack tree/etc/os-release -o new.fl --store store"));
}

#[test]
fn full_disk_is_named() {
    if !is_root() {
        return;
    }
    let folder = packed();
    let here = folder.path();
    let small = here.join("small");
    let small = Small::mount(&small);
    expect![[r#"
        ! error: cannot write small/copy/usr/bin/tool: No space left on device (os error 28)
        !  hint: make room, or write somewhere else
        [exit 1]
    "#]]
    .assert_eq(&says(here, "unpack web.fl small/copy --store store"));
    expect![[r#"
        ! error: cannot store a blob: dir://[HERE]/small/store: no room for blobs/b6/[HEX]: [SIZE] needed, 94208 free
        !  hint: make room, or write somewhere else
        [exit 1]
    "#]]
    .assert_eq(&says(here, "pack tree -o new.fl --store small/store"));
    assert!(!here.join("new.fl").exists());
    drop(small);
}

/// A file system with 100 KiB of room.
struct Small<'p>(&'p Path);

impl<'p> Small<'p> {
    fn mount(place: &'p Path) -> Self {
        fs::create_dir(place).unwrap();
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=100k", "none"])
            .arg(place));
        Self(place)
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(self.0));
    }
}

#[test]
fn missing_rights_are_named() {
    let folder = packed();
    let here = folder.path();
    // As nobody, whoever runs the tests: root may do everything.
    if !is_root() {
        return;
    }
    fs::set_permissions(here, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(here.join("open")).unwrap();
    fs::set_permissions(here.join("open"), fs::Permissions::from_mode(0o777)).unwrap();
    let nobody = |line: &str| {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            env!("CARGO_BIN_EXE_mos"),
            "flist",
        ]);
        command
            .args(line.split(' '))
            .current_dir(here)
            .env_remove("MOS_STORE")
            .env_remove("MOS_CONFIG");
        transcript(&mut command, here)
    };
    expect![[r#"
        ! error: cannot create copy: Permission denied (os error 13)
        !  hint: the user who runs this has no right to do that
        [exit 1]
    "#]]
    .assert_eq(&nobody("unpack web.fl copy --store store"));
    expect![[r#"
        ! error: cannot store a blob: dir://[HERE]/mine: blobs/b6/[HEX]: Permission denied (os error 13)
        !  hint: the user who runs this has no right to do that
        [exit 1]
    "#]]
    .assert_eq(&nobody("pack tree -o open/new.fl --store mine"));
    fs::set_permissions(here.join("tree/etc/os-release"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(here.join("tree/usr/bin"), fs::Permissions::from_mode(0o700)).unwrap();
    let store = tempfile::tempdir().unwrap();
    fs::set_permissions(store.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let line = format!("pack tree -o open/new.fl --store {}", store.path().display());
    expect![[r#"
        ! error: tree/etc/os-release: cannot read its content: Permission denied (os error 13)
        ! tree/usr/bin: cannot list: Permission denied (os error 13)
        !  hint: the user who runs this has no right to do that
        [exit 1]
    "#]]
    .assert_eq(&nobody(&line).replace(store.path().to_str().unwrap(), "[STORE]"));
}

#[test]
fn older_format_is_packed_read_converted_and_rerouted() {
    let folder = folder();
    let here = folder.path();
    expect![[r#"
        flist  old.fl, [SIZE]
        digest  blake3:[HEX]
        content  [SIZE] in 2 files
        chunks  2, 2 of them new
        uploaded  [SIZE] in 2 objects
        ! warning: not in the flist, 7 times: /: the part of its time below a second
    "#]]
    .assert_eq(&says(here, "pack tree -o old.fl --format rfs --store store"));
    expect![[r#"
        format  rfs flist (SQLite)
        digest  blake3:[HEX]
        size  [SIZE]
        entries  7: 4 directories, 2 files, 1 symbolic links, 0 others
        content  [SIZE]
        blocks  2
        route  dir://[HERE]/store
    "#]]
    .assert_eq(&says(here, "inspect old.fl"));
    // The flist names its store itself.
    expect![[r#"
        ! old.fl is whole: 2 blocks with [SIZE] of content.
    "#]]
    .assert_eq(&says(here, "verify old.fl"));
    expect![[r#"
        NAME=test
    "#]]
    .assert_eq(&says(here, "cat old.fl etc/os-release"));
    expect![[r#"
        dir:///nowhere
    "#]]
    .assert_eq(&says(here, "route old.fl --set dir:///nowhere"));
    expect![[r#"
        dir:///nowhere
    "#]]
    .assert_eq(&says(here, "route old.fl"));
    assert!(says(here, "cat old.fl usr/bin/tool").ends_with("[exit 4]\n"));
    let convert = |line: &str| transcript(command(here, line).env("MOS_CACHE", here.join("cache")), here);
    expect![[r#"
        flist  new.fl, [SIZE]
        digest  blake3:[HEX]
        content  [SIZE] in 2 files
        chunks  4, 4 of them new
        uploaded  [SIZE] in 1 object
        ! warning: not in the flist: the store dir:///nowhere, which the flist named
    "#]]
    .assert_eq(&convert("convert old.fl -o new.fl --to mos --from store --store new"));
    let json = convert("convert old.fl -o new.fl --to mos --from store --store new --json");
    assert!(
        json.contains(r#""kind": "store""#) && json.contains(r#""count": 1"#),
        "{json}"
    );
    let json = says(here, "pack tree -o lossy.fl --format rfs --store store --json");
    assert!(json.contains(r#""kind": "sub-second-time""#), "{json}");
    run(&mut command(here, "unpack new.fl copy --store new"));
    run(Command::new("diff")
        .args(["-r", "--no-dereference"])
        .arg(here.join("tree"))
        .arg(here.join("copy")));
    expect![[r#"
        ! error: old.fl: this needs an flist of version 2
        !  hint: `mos flist convert F -o G --to mos` makes one of it
        [exit 1]
    "#]]
    .assert_eq(&says(here, "push old.fl oci://127.0.0.1:9/a:1 --store store"));
    expect![[r#"
        ! error: new.fl: an flist of version 2 has no routes
        !  hint: say where its content is with --store or MOS_STORE
        [exit 1]
    "#]]
    .assert_eq(&says(here, "route new.fl"));
    expect![[r#"
        ! error: zdb://x: zdb stores are not supported: copy the blocks to a directory or bucket (`rfs clone`), and give that one as the store
        [exit 2]
    "#]].assert_eq(&says(here, "route old.fl --add zdb://x"));
    fs::write(here.join("text.fl"), b"SQLite format 3\0 and no more").unwrap();
    expect![[r#"
        ! error: text.fl: not an rfs flist: there is no table `inode`
        [exit 1]
    "#]]
    .assert_eq(&says(here, "ls text.fl"));
}

#[test]
fn settings_of_an_older_builder_are_honoured() {
    let folder = folder();
    let here = folder.path();
    let server = mos_testkit::S3Server::start();
    let endpoint = server
        .url()
        .split('@')
        .nth(1)
        .unwrap()
        .split('/')
        .next()
        .unwrap()
        .to_owned();
    fs::create_dir(here.join("config")).unwrap();
    let conf = format!(
        "S3_ENDPOINT=http://{endpoint}\nS3_BUCKET=bucket\nS3_ACCESS_KEY=TESTKEY\nS3_SECRET_KEY=test+secret\n\
         READ_ACCESS_KEY=READKEY\nREAD_SECRET_KEY=test+secret\nROUTE_PATH=/bucket\n"
    );
    fs::write(here.join("config/rfs.conf"), conf).unwrap();
    let said = says(here, "pack tree -o old.fl --format rfs");
    assert!(
        said.contains("must be one that can only read") && !said.contains("test+secret"),
        "{said}"
    );
    let routes = says(here, "route old.fl");
    assert!(routes.contains("/bucket") && !routes.contains("secret"), "{routes}");
    run(&mut command(here, "verify old.fl"));
    fs::write(here.join("config/rfs.conf"), "S3_BUCKET=bucket\n").unwrap();
    expect![[r#"
        ! error: ./config/rfs.conf:1: S3_ENDPOINT is missing
        [exit 1]
    "#]]
    .assert_eq(&says(here, "pack tree -o old.fl --format rfs"));
}

#[test]
fn tree_is_changed_on_the_way() {
    let folder = folder();
    let here = folder.path();
    run(&mut command(
        here,
        "pack tree -o web.fl --store store --exclude usr --mtime 7 --owner 1:2",
    ));
    let listed = says(here, "ls -R -l web.fl");
    assert!(
        !listed.contains("tool") && listed.contains("1970-01-01T00:00:07Z etc/os-release"),
        "{listed}"
    );
    assert!(listed.lines().all(|line| line.contains("  1  2  ")), "{listed}");
    expect![[r#"
        ! error: invalid value 'root' for '--owner <U:G>': expected two numbers, such as 0:0
        !
        ! For more information, try '--help'.
        [exit 2]
    "#]]
    .assert_eq(&says(here, "pack tree -o web.fl --store store --owner root"));
}

/// The lines of the README, as they stand there.
#[test]
fn tour_of_the_readme() {
    if !is_root() || !Path::new("/dev/fuse").exists() {
        return eprintln!("SKIPPED: needs root and /dev/fuse");
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap();
    let readme = fs::read_to_string(repository.join("README.md")).unwrap();
    let section = readme
        .split("## Flists\n")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let lines: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    assert_eq!(lines.len(), 5, "five lines: {lines:?}");

    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    // Less than all of them, so that the test is quick.
    run(Command::new("mkdir").arg(here.join("crates")));
    run(Command::new("cp")
        .arg("-r")
        .arg(repository.join("crates/flist"))
        .arg(repository.join("crates/tree"))
        .arg(here.join("crates")));
    let program = Path::new(env!("CARGO_BIN_EXE_mos")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut said = Vec::new();
    for line in lines {
        let mut command = Command::new("sh");
        command
            .args(["-ec", line])
            .current_dir(here)
            .env("PATH", &path)
            .env("MOS_CACHE", here.join("cache"));
        command.env_remove("MOS_STORE").env_remove("MOS_CONFIG");
        said.push(String::from_utf8(run(&mut command).stdout).unwrap());
    }
    assert!(said[1].contains("flist\ntree\n"), "{said:?}");
    let uploaded = said[3].lines().find(|line| line.starts_with("uploaded")).unwrap();
    assert!(
        uploaded.contains(" KiB in 1 object") || uploaded.contains(" B in 1 object"),
        "{uploaded}"
    );
}

/// Debian's `docker-registry` on a free port; it ends with the test.
struct RegistryServer {
    child: std::process::Child,
    host: String,
}

impl RegistryServer {
    fn start(here: &Path) -> Option<Self> {
        let config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}/registry}}}}\n\
             http: {{addr: \"127.0.0.1:0\", secret: test}}\n",
            here.display()
        );
        fs::write(here.join("registry.yml"), config).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(here.join("registry.yml"));
        let started = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let Ok(mut child) = started else {
            eprintln!("SKIPPED: docker-registry is not installed");
            return None;
        };
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let host = lines.by_ref().find_map(|line| {
            let line = line.unwrap();
            let (_, rest) = line.split_once("listening on ")?;
            Some(rest.split(['"', ',', ' ']).next().unwrap().to_owned())
        });
        // Nobody else reads its log, and a full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        let host = host.unwrap();
        Some(Self { child, host })
    }
}

impl Drop for RegistryServer {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn pushed_to_a_registry_and_pulled_from_it() {
    let folder = packed();
    let here = folder.path();
    let Some(server) = RegistryServer::start(here) else {
        return;
    };
    let address = format!("oci://{}/team/web:1", server.host);
    let says = |line: &str| says(here, &line.replace("ADDRESS", &address)).replace(&server.host, "[REGISTRY]");
    expect![[r#"
        address  oci://[REGISTRY]/team/web:1
        manifest  sha256:[HEX]
        layers  2, [SIZE]
        uploaded  [SIZE] in 2 layers
    "#]]
    .assert_eq(&says("push web.fl ADDRESS --store store"));
    expect![[r#"
        address  oci://[REGISTRY]/team/web:1
        manifest  sha256:[HEX]
        layers  2, [SIZE]
        uploaded  [SIZE] in 0 layers
    "#]]
    .assert_eq(&says("push web.fl ADDRESS --store store"));
    expect![[r#"
        flist  pulled.fl, [SIZE]
        digest  blake3:[HEX]
        manifest  sha256:[HEX]
        fetched  [SIZE] in 2 layers
    "#]]
    .assert_eq(&says("pull ADDRESS -o pulled.fl --store pulled"));
    assert_eq!(
        fs::read(here.join("pulled.fl")).unwrap(),
        fs::read(here.join("web.fl")).unwrap()
    );
    expect![[r#"
        ! pulled.fl is whole: 1 blob with [SIZE] of content.
    "#]]
    .assert_eq(&says("verify pulled.fl --store pulled"));
    expect![[r#"
        ! web.fl is whole: 1 blob with [SIZE] of content.
    "#]]
    .assert_eq(&says("verify web.fl --store ADDRESS"));
    expect![[r#"
        ! error: [REGISTRY]: there is no manifest 12 in team/web
        [exit 4]
    "#]]
    .assert_eq(&says("pull ADDRESS2 -o none.fl --store pulled"));
    expect![[r#"
        ! error: `oci://nowhere/` is not the address of an artefact: the repository is missing; write oci://HOST[:PORT]/REPOSITORY[:TAG]
        [exit 2]
    "#]].assert_eq(&says("pull oci://nowhere -o none.fl --store pulled"));
    assert!(!here.join("none.fl").exists());
}
