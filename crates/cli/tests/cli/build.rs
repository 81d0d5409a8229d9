//! `mos build`, `mos runtime build`, `mos image`.

use std::fs;
use std::path::{Path, PathBuf};

use expect_test::expect;

use crate::support::{Script, System, cache};
use crate::transcript::transcript;
use crate::{HELLO, hello, unique};

fn says(system: &System, arguments: &[&str]) -> String {
    transcript(&mut system.command(arguments), system.folder())
}

#[test]
fn second_build_does_nothing_and_says_so() {
    let system = hello();
    let build = ["build", "--env", "dev"];
    expect![[r#"
        ! hello [HEX]: packed, 0 blobs
        ! Wrote [HERE]/repository/mos.lock.
        ! resolving packages: busybox-static
        ! resolving packages: linux-image-6.12-cloud-amd64
        ! resolving packages: systemd-boot-efi
        ! boot image: made
        ! Wrote [HERE]/repository/mos.lock.
        ! Built 2 of 2 parts; dist/vmlinuz.efi is ready.
    "#]]
    .assert_eq(&says(&system, &build));
    let efi = system.repository().join("dist/vmlinuz.efi");
    let before = fs::metadata(&efi).unwrap().modified().unwrap();
    expect![[r#"
        ! hello [HEX]: nothing changed
        ! boot image: nothing changed
        ! Nothing changed: nothing was built.
    "#]]
    .assert_eq(&says(&system, &build));
    assert_eq!(fs::metadata(&efi).unwrap().modified().unwrap(), before);
}

#[test]
fn image_shows_what_it_is_made_of() {
    let system = hello();
    system.mos(&["image", "build", "--env", "dev"]);
    let shown = says(&system, &["image", "inspect"]);
    // The kernel's number changes with the package.
    let kernel = shown
        .lines()
        .find_map(|line| line.strip_prefix("kernel: "))
        .unwrap()
        .to_owned();
    assert!(
        kernel.starts_with("6.12.") && kernel.ends_with("-cloud-amd64"),
        "{kernel}"
    );
    expect![[r#"
        SECTION  SIZE
        .cmdline  [SIZE]
        .data  [SIZE]
        .dynamic  [SIZE]
        .dynsym  [SIZE]
        .initrd  [SIZE]
        .linux  [SIZE]
        .osrel  [SIZE]
        .rela  [SIZE]
        .reloc  [SIZE]
        .sbat  [SIZE]
        .sdmagic  [SIZE]
        .text  [SIZE]
        .uname  [SIZE]
        kernel: [KERNEL]
        command line: console=ttyS0
        ID=mos
        NAME=MOS
        PRETTY_NAME="MOS dev [HEX]"
        VERSION_ID=[HEX]
        VARIANT_ID=dev
        BUILD_ID=[HEX]
    "#]]
    .assert_eq(&shown.replace(&kernel, "[KERNEL]"));
    let output = system.mos(&["image", "inspect", "--json"]).stdout;
    let image: serde_json::Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(image["kernel"], kernel.as_str());
    let bytes = fs::metadata(system.repository().join("dist/vmlinuz.efi"))
        .unwrap()
        .len();
    assert_eq!(image["bytes"], bytes);
}

#[test]
fn image_explains_what_is_in_it() {
    let system = hello();
    let explain = |what: &str| says(&system, &["image", "explain", what]);
    assert!(explain("failover").contains("contents.json is missing"));
    fs::write(
        system.repository().join("image/modules.conf"),
        "virtio_net\nvfat\nbinfmt-script\n",
    )
    .unwrap();
    fs::create_dir_all(system.repository().join("fw/x")).unwrap();
    fs::write(system.repository().join("fw/x/a.bin"), "firmware").unwrap();
    fs::write(system.repository().join("fw/WHENCE"), "Link: x/b.bin -> a.bin\n").unwrap();
    fs::write(system.repository().join("image/firmware.conf"), "folder fw\nx/b.bin\n").unwrap();
    system.mos(&["image", "build", "--env", "dev"]);
    let shown = explain("failover");
    let chain = "  failover: needed by net_failover\n  net_failover: needed by virtio_net\n  virtio_net: asked for\n";
    assert!(shown.replace("! ", "").contains(chain), "{shown}");
    assert!(explain("nls-cp437").contains("a default character set for fat"));
    assert!(explain("binfmt_script").contains("built into the kernel"));
    assert!(explain("/bin/busybox").contains("from package busybox-static"));
    assert!(explain("/bin/ls").contains("from links to the applets of busybox"));
    assert!(
        explain("copyright").contains("by the rule documentation"),
        "{}",
        explain("copyright")
    );
    let shown = explain("x/b.bin");
    assert!(
        shown.contains("another name of x/a.bin") && shown.contains("from folder fw"),
        "{shown}"
    );
    assert!(explain("lib/firmware").contains("2 files"));
    let absent = system.command(&["image", "explain", "virtio_nett"]).output().unwrap();
    assert_eq!(absent.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&absent.stderr).contains("did you mean `virtio_net`?"));
    let json = system.mos(&["image", "explain", "vfat", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!((&json["what"], &json["brings"][0]), (&"module".into(), &"fat".into()));
    fs::write(system.repository().join("image/modules.conf"), "virtio_nett\nvfta\n").unwrap();
    let missing = says(&system, &["image", "build", "--env", "dev"]);
    for (place, name, near) in [("1:1", "virtio_nett", "virtio_net"), ("2:1", "vfta", "vfat")] {
        let start = format!("image/modules.conf:{place}: module `{name}`: kernel ");
        let end = format!("; did you mean `{near}`?");
        let line = missing.lines().find(|line| line.contains(&start));
        assert!(line.is_some_and(|line| line.ends_with(&end)), "{missing}");
    }
}

#[test]
fn file_that_is_no_image_is_refused() {
    let system = hello();
    expect![[r#"
        ! error: mos.toml: not a PE32+ file, or damaged: no MZ signature
        [exit 1]
    "#]]
    .assert_eq(&says(&system, &["image", "inspect", "mos.toml"]));
    expect![[r#"
        ! error: dist/vmlinuz.efi: No such file or directory (os error 2)
        !  hint: `mos image build --env ENV` writes dist/vmlinuz.efi
        [exit 4]
    "#]]
    .assert_eq(&says(&system, &["image", "inspect"]));
}

#[test]
fn image_needs_the_key_and_the_programs_of_the_node() {
    let system = hello();
    let mut command = system.command(&["image", "build", "--env", "dev"]);
    let said = transcript(command.env("MOS_NODE_PROGRAMS", system.folder()), system.folder());
    expect![[r#"
        ! error: the node's program [HERE]/my_init is missing
        !  hint: `make build` makes both; MOS_NODE_PROGRAMS names the folder that has them
        [exit 4]
    "#]]
    .assert_eq(&said);
    fs::remove_dir_all(system.repository().join("keys")).unwrap();
    expect![[r#"
        ! error: [HERE]/repository/keys/dev.pub: No such file or directory (os error 2)
        !  hint: `mos keys new --env dev` makes the keys
        [exit 3]
    "#]]
    .assert_eq(&says(&system, &["image", "build", "--env", "dev"]));
}

#[test]
fn every_line_that_cannot_be_satisfied_is_told_in_one_go_with_its_place() {
    let system = hello();
    system.write("image/packages.list", "busybox-static\nno-such-package\n");
    system.write("image/modules.conf", "virtio_net\nno_such_module\n!no_such_companion\n");
    system.write("image/firmware.conf", "folder fw\nno-such/*.bin\n");
    system.write("fw/some.bin", "firmware");
    let output = system.command(&["image", "build", "--env", "dev"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for (place, start) in [
        ("image/modules.conf:2:1", "module `no_such_module`: kernel "),
        ("image/modules.conf:3:1", "module `!no_such_companion`: kernel "),
        (
            "image/firmware.conf:2:1",
            "firmware `no-such/*.bin`: none of the 1 files in 1 sources",
        ),
    ] {
        assert!(said.contains(&format!("{place}: {start}")), "{place}: {said}");
    }
    assert!(said.contains("no-such-package"), "{said}");
}

#[test]
fn combined_runtime_is_one_flist_of_everything() {
    const OTHER: Script = Script {
        name: "other",
        script: "#!/bin/sh\nexec sleep 100000\n",
        service: "[service]\nname = \"other\"\nexec = \"/var/cache/bin/other\"\n",
    };
    let system = System::new(&[HELLO, OTHER]);
    system.write("programs/hello/hello", &unique(&system));
    system.write("programs/other/other", &unique(&system));
    let combined = ["runtime", "build", "--env", "dev", "--pack-mode", "combined"];
    expect![[r#"
        FLIST  VERSION  CONTENT  STORED  FILE
        runtime  hello-[HEX]+other-[HEX]  [SIZE]  [SIZE]  dist/flists/runtime.fl
        ! runtime hello-[HEX]+other-[HEX]: packed, 0 blobs
        ! Wrote [HERE]/repository/mos.lock.
    "#]]
    .assert_eq(&says(&system, &combined));
    expect![[r#"
        FLIST  VERSION  CONTENT  STORED  FILE
        hello  [HEX]  [SIZE]  [SIZE]  dist/flists/hello.fl
        other  [HEX]  [SIZE]  [SIZE]  dist/flists/other.fl
        ! hello [HEX]: packed, 0 blobs
        ! other [HEX]: packed, 0 blobs
    "#]]
    .assert_eq(&says(&system, &["runtime", "build", "--env", "dev"]));
    let one = [
        "runtime",
        "build",
        "--env",
        "dev",
        "--component",
        "other",
        "--output-dir",
        "one",
        "--json",
    ];
    let output = system.mos(&one).stdout;
    let built: serde_json::Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(built.as_array().map(Vec::len), Some(1));
    assert_eq!(built[0]["name"], "other");
    assert_eq!(files(&system.repository().join("one")), ["other.fl"]);
}

#[test]
fn component_that_there_is_not_is_answered_with_those_there_are() {
    let system = hello();
    let arguments = ["runtime", "build", "--env", "dev", "--component", "helo"];
    expect![[r#"
        ! error: the environment has no component `helo`; it has: hello
        [exit 4]
    "#]]
    .assert_eq(&says(&system, &arguments));
}

#[test]
fn damaged_output_in_the_cache_is_built_again() {
    let system = hello();
    let build = ["runtime", "build", "--env", "dev"];
    let first = says(&system, &build);
    let flist = system.repository().join("dist/flists/hello.fl");
    let content = fs::read(&flist).unwrap();
    let kept = find(&cache().join("steps"), &content).expect("the flist in the cache");
    fs::write(&kept, b"rubbish").unwrap();
    fs::remove_file(&flist).unwrap();
    let second = says(&system, &build);
    assert!(first.contains(": packed"), "{first}");
    assert_eq!(second.lines().nth(1), first.lines().nth(1), "{second}");
    assert_eq!(fs::read(&flist).unwrap(), content);
    assert_eq!(fs::read(&kept).unwrap(), content, "the cache is whole again");
}

/// The names in a folder.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The file below a folder that has this content.
fn find(folder: &Path, content: &[u8]) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return find(&path, content);
        }
        let same = entry.metadata().ok()?.len() == content.len() as u64;
        (same && fs::read(&path).ok()? == content).then_some(path)
    })
}
