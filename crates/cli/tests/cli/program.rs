//! The program itself: usage, help, pipes, tools.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use expect_test::expect;

use crate::support::{mos, run};
use crate::transcript::transcript;

fn says(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    transcript(
        mos(folder.path()).env_remove("MOS_CACHE").args(arguments),
        folder.path(),
    )
}

#[test]
fn usage_errors_name_what_was_meant() {
    expect![[r#"
        ! error: unrecognized subcommand 'lokc'
        !
        !  tip: a similar subcommand exists: 'lock'
        !
        ! Usage: mos [OPTIONS] <COMMAND>
        !
        ! For more information, try '--help'.
        [exit 2]
    "#]]
    .assert_eq(&says(&["lokc"]));
    expect![[r#"
        ! error: the following required arguments were not provided:
        !  --env <ENV>
        !
        ! Usage: mos list --env <ENV>
        !
        ! For more information, try '--help'.
        [exit 2]
    "#]]
    .assert_eq(&says(&["list"]));
    expect![[r#"
        ! error: invalid value '80' for '--forward <HOST:GUEST>': expected HOST:GUEST, two port numbers, such as 8080:80
        !
        ! For more information, try '--help'.
        [exit 2]
    "#]]
    .assert_eq(&says(&["run", "--env", "dev", "--forward", "80"]));
    expect![[r#"
        ! error: --timeline draws the way to ready
        !  hint: add --until ready
        [exit 2]
    "#]]
    .assert_eq(&says(&[
        "run",
        "--env",
        "dev",
        "--until",
        "login",
        "--timeline",
        "x.svg",
    ]));
    expect![[r#"
        ! error: the following required arguments were not provided:
        !  <DIR>
        !
        ! Usage: mos serve <DIR>
        !
        ! For more information, try '--help'.
        [exit 2]
    "#]]
    .assert_eq(&says(&["serve"]));
}

/// Arguments that people and scripts get wrong; none of them may end in a panic (70) or a signal.
#[test]
fn no_argument_makes_it_panic() {
    let odd: [&[&str]; 13] = [
        &[],
        &[""],
        &["new", ""],
        &["new", "/"],
        &["list", "--env", ""],
        &["list", "--env", "../dev"],
        &["validate", "--config", ""],
        &["image", "inspect", "/dev/null"],
        &["image", "inspect", "/"],
        &["image", "explain", "", "--output-dir", "/dev/null"],
        &["release", "show", "--env", "dev", "--from", "gopher://x"],
        &["serve", "/dev/null", "--listen", "127.0.0.1:0"],
        &["run", "--image", "/dev/null", "--memory", "0", "--disks", "0"],
    ];
    for arguments in odd {
        let folder = tempfile::tempdir().unwrap();
        let output = mos(folder.path())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code();
        assert!(
            matches!(code, Some(1..=5)),
            "{arguments:?} ended with {code:?}:\n{said}"
        );
        assert!(!said.is_empty() && !said.contains("panicked"), "{arguments:?}:\n{said}");
    }
}

/// Runs with a standard output that nobody reads.
fn unread(folder: &Path, arguments: &[&str]) -> String {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = mos(folder)
        .args(arguments)
        .stdout(writer)
        .stderr(Stdio::piped())
        .output();
    let output = output.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}:\n{said}");
    said
}

#[test]
fn closed_pipe_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    run(mos(folder.path()).args(["new", "--name", "demo", "."]));
    for arguments in [
        &["list", "--env", "dev"][..],
        &["list", "--env", "dev", "--json"],
        &["runtime", "build", "--env", "dev", "--dry-run"],
        &["completions", "bash"],
        &["--help"],
        &["--version"],
    ] {
        assert_eq!(unread(folder.path(), arguments), "", "{arguments:?}");
    }
}

#[test]
fn full_disk_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    run(mos(folder.path()).args(["new", "--name", "demo", "."]));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = mos(folder.path());
    let output = command
        .args(["list", "--env", "dev"])
        .stdout(full)
        .stderr(Stdio::piped());
    let output = output.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    expect![[r#"
        error: cannot write to standard output: No space left on device (os error 28)
    "#]]
    .assert_eq(&String::from_utf8(output.stderr).unwrap());
}

#[test]
fn manual_has_a_page_for_every_verb() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    expect![[r#"
        ! Manual pages written to man1.
    "#]]
    .assert_eq(&transcript(mos(here).args(["man", "man1"]), here));
    let mut pages: Vec<String> = fs::read_dir(here.join("man1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    expect![[r#"
        mos-build.1
        mos-clean.1
        mos-completions.1
        mos-doctor.1
        mos-flist-cat.1
        mos-flist-clone.1
        mos-flist-convert.1
        mos-flist-diff.1
        mos-flist-gc.1
        mos-flist-inspect.1
        mos-flist-ls.1
        mos-flist-mount.1
        mos-flist-pack-firmware.1
        mos-flist-pack-modules.1
        mos-flist-pack.1
        mos-flist-pull.1
        mos-flist-push.1
        mos-flist-route.1
        mos-flist-unmount.1
        mos-flist-unpack.1
        mos-flist-verify.1
        mos-flist.1
        mos-image-build.1
        mos-image-diff.1
        mos-image-explain.1
        mos-image-inspect.1
        mos-image-pcr.1
        mos-image-sign.1
        mos-image-size.1
        mos-image-upload.1
        mos-image-verify.1
        mos-image.1
        mos-import.1
        mos-kernels-clean.1
        mos-kernels-index.1
        mos-kernels-list.1
        mos-kernels.1
        mos-keys-new.1
        mos-keys-show.1
        mos-keys.1
        mos-list.1
        mos-lock.1
        mos-man.1
        mos-new.1
        mos-release-history.1
        mos-release-publish.1
        mos-release-show.1
        mos-release-verify.1
        mos-release.1
        mos-run.1
        mos-runtime-build.1
        mos-runtime.1
        mos-serve.1
        mos-validate.1
        mos.1"#]]
    .assert_eq(&pages.join("\n"));
    let page = fs::read_to_string(here.join("man1/mos-release-publish.1")).unwrap();
    assert!(
        page.contains(".TH mos-release-publish 1") && page.contains("dry\\-run"),
        "{page}"
    );
    man_reads(&here.join("man1/mos-run.1"));
}

/// `man` itself understands the page.
fn man_reads(page: &Path) {
    let man = Command::new("man")
        .env("MANWIDTH", "100")
        .arg("--local-file")
        .arg(page)
        .output();
    let Ok(output) = man else {
        return eprintln!("not checked: `man` is not installed");
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("Boot a node in a virtual machine"), "{text}");
}

#[test]
fn completions_know_the_verbs() {
    for shell in ["bash", "fish", "zsh"] {
        let folder = tempfile::tempdir().unwrap();
        let output = run(mos(folder.path()).args(["completions", shell]));
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("publish") && script.contains("pack-mode"), "{shell}");
    }
}

#[test]
fn doctor_names_the_packages_of_missing_tools() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let doctor = |arguments: &[&str]| {
        let output = mos(here).arg("doctor").args(arguments).env("PATH", here).output();
        let output = output.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, table, said) = doctor(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("error: not ready: build, debian"), "{said}");
    assert!(table.contains("cargo") && table.contains("missing"), "{table}");
    assert!(table.contains("encrypted-keys"), "all features are shown: {table}");
    if fs::read_to_string("/etc/os-release").is_ok_and(|text| text.contains("ID=debian")) {
        assert!(said.contains("hint: sudo apt-get install apt cargo gcc git"), "{said}");
    }
    // What is chosen is all that is shown, and all that counts.
    let (code, table, said) = doctor(&["alpine"]);
    assert_eq!((code, said.as_str()), (Some(0), "Everything is there for: alpine.\n"));
    assert!(!table.contains("cargo"), "{table}");
    let (code, json, _) = doctor(&["alpine", "build", "--json"]);
    assert_eq!(code, Some(1));
    let reports: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(reports.as_array().unwrap().len(), 2);
    assert_eq!(reports[0]["ready"], false);
    assert_eq!(reports[0]["needs"][0]["name"], "cargo");
    assert!(reports[0]["needs"][0]["found"].is_null());
    assert_eq!(reports[1]["ready"], true);
    let (code, _, said) = doctor(&["biuld"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("tip: a similar value exists: 'build'"), "{said}");
}

#[test]
fn missing_tool_names_its_package() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    run(mos(here).args(["new", "--name", "demo", "."]));
    let build = |component: &str| {
        let mut command = mos(here);
        command.args(["runtime", "build", "--env", "dev", "--component", component]);
        command.env("PATH", here).env("MOS_CACHE", here.join("cache"));
        transcript(&mut command, here)
    };
    expect![[r#"
        ! error: `cc` is not installed
        !  hint: on Debian: apt-get install gcc
        [exit 4]
    "#]]
    .assert_eq(&build("node-metrics"));
    expect![[r#"
        ! error: the environment has no component `nothing`; it has: node-metrics, web
        [exit 4]
    "#]]
    .assert_eq(&build("nothing"));
}

#[test]
fn clean_removes_only_what_mos_made() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let cache = here.join("cache");
    for (name, bytes) in [("steps", 2048), ("crates", 4096), ("photographs", 1)] {
        fs::create_dir_all(cache.join(name)).unwrap();
        fs::write(cache.join(name).join("one"), vec![0; bytes]).unwrap();
    }
    let clean = |arguments: &[&str]| transcript(mos(here).env("MOS_CACHE", &cache).arg("clean").args(arguments), here);
    expect![[r#"
        FOLDER  SIZE  WHAT
        [HERE]/cache/steps  [SIZE]  outputs of build steps
        ! Would remove [SIZE] from [HERE]/cache.
    "#]]
    .assert_eq(&clean(&["--dry-run"]));
    expect![[r#"
        [
          {
            "path": "[HERE]/cache/steps",
            "what": "outputs of build steps",
            "bytes": 2048
          },
          {
            "path": "[HERE]/cache/crates",
            "what": "archives of crates",
            "bytes": 4096
          }
        ]
    "#]]
    .assert_eq(&clean(&["--dry-run", "--all", "--json", "--quiet"]));
    assert!(cache.join("steps/one").exists());
    expect![[r#"
        FOLDER  SIZE  WHAT
        [HERE]/cache/steps  [SIZE]  outputs of build steps
        ! Removed [SIZE] from [HERE]/cache.
    "#]]
    .assert_eq(&clean(&[]));
    assert!(!cache.join("steps").exists() && cache.join("crates/one").exists());
    clean(&["--all"]);
    assert!(!cache.join("crates").exists() && cache.join("photographs/one").exists());
    expect![[r#"
        ! Removed [SIZE] from [HERE]/cache.
    "#]]
    .assert_eq(&clean(&["--all"]));
}

#[test]
fn workflows_come_with_a_new_repository_or_to_an_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let new = |arguments: &[&str]| transcript(mos(here).arg("new").args(arguments), here);
    expect![[r#"
        ! Wrote 22 files to [HERE]/lab.
        ! Wrote [HERE]/lab/.github/workflows/mos.yml: its head says what it needs.
        ! Next: cd lab && mos run --env dev
    "#]]
    .assert_eq(&new(&["lab", "--ci", "github"]));
    run(mos(&here.join("lab")).arg("validate"));
    expect![[r#"
        ! Wrote [HERE]/lab/.forgejo/workflows/mos.yml: its head says what it needs.
    "#]]
    .assert_eq(&new(&["lab", "--ci", "forgejo"]));
    expect![[r#"
        ! error: [HERE]/lab/.forgejo/workflows/mos.yml: there already
        [exit 5]
    "#]]
    .assert_eq(&new(&["lab", "--ci", "forgejo"]));
}
