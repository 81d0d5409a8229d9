//! `mos image size`.

use std::fs;

use crate::hello;
use crate::support::System;
use crate::transcript::transcript;

fn says(system: &System, arguments: &[&str]) -> String {
    transcript(&mut system.command(arguments), system.folder())
}

#[test]
fn sizes_are_by_part_directory_and_file_and_add_up() {
    let system = hello();
    system.mos(&["image", "build", "--env", "dev"]);
    let shown = says(&system, &["image", "size", "--svg", "size.svg"]);
    for line in [
        "PART  SIZE  STORED  FILES",
        "component mos-node  [SIZE]  [SIZE]  3",
        "/bin/busybox  [SIZE]  [SIZE]  package busybox-static",
        "! Wrote size.svg.",
    ] {
        assert!(shown.contains(line), "{line} is not in:\n{shown}");
    }
    let picture = fs::read_to_string(system.repository().join("size.svg")).unwrap();
    assert!(
        picture.starts_with("<svg") && picture.contains("<title>/sbin/mos-node: "),
        "{picture}"
    );
    let output = system.mos(&["image", "size", "--env", "dev", "--json"]).stdout;
    let sizes: serde_json::Value = serde_json::from_slice(&output).unwrap();
    let sum = |list: &str, field: &str| -> u64 {
        let list = sizes[list].as_array().unwrap().iter();
        list.map(|row| row[field].as_u64().unwrap()).sum()
    };
    assert_eq!(sum("parts", "bytes"), sizes["unpacked"]);
    assert_eq!(sum("parts", "stored"), sizes["initramfs"]);
    assert_eq!(sum("files", "stored"), sizes["initramfs"]);
    let bytes = fs::metadata(system.repository().join("dist/vmlinuz.efi"))
        .unwrap()
        .len();
    assert_eq!(sizes["bytes"], bytes);
    assert!(sum("removed", "bytes") > 0);
    fs::remove_file(system.repository().join("dist/contents.json")).unwrap();
    let shown = says(&system, &["image", "size"]);
    assert!(
        shown.contains("! No record of this image is beside it") && shown.contains("/bin/busybox"),
        "{shown}"
    );
}

#[test]
fn what_is_no_image_has_no_sizes() {
    let system = hello();
    let refused = says(&system, &["image", "size", "mos.toml"]);
    assert!(
        refused.contains("mos.toml: initramfs: not a cpio archive") && refused.contains("[exit 1]"),
        "{refused}"
    );
    let missing = says(&system, &["image", "size"]);
    assert!(
        missing.contains("dist/vmlinuz.efi: No such file") && missing.contains("[exit 4]"),
        "{missing}"
    );
}

#[test]
fn differences_of_two_images_are_explained() {
    let system = hello();
    let diff = |arguments: &[&str]| says(&system, &[&["image", "diff"], arguments].concat());
    system.mos(&["image", "build", "--env", "dev", "--output-dir", "old"]);
    system.mos(&["image", "build", "--env", "dev"]);
    assert_eq!(
        diff(&["old", "dist/vmlinuz.efi"]),
        "The images are the same, byte by byte.\n"
    );
    system.write("image/files/etc/motd", "hello\n");
    let modules = fs::read_to_string(system.repository().join("image/modules.conf")).unwrap();
    system.write("image/modules.conf", &format!("{modules}\nvfat\n"));
    let environment = fs::read_to_string(system.repository().join("environments/dev.toml")).unwrap();
    let image = "[image]\ncommand_line = \"console=ttyS0 quiet\"\nkeep = [\"usr/share/doc/*/copyright\"]\nremove = [\"/none\"]\n";
    system.write("environments/dev.toml", &format!("{environment}{image}"));
    let said = says(&system, &["image", "build", "--env", "dev"]);
    assert!(
        said.contains("[image] remove: `none` covers nothing that packages bring"),
        "{said}"
    );
    let shown = diff(&["old", "dist"]);
    for line in [
        "command line\n  - console=ttyS0\n  + console=ttyS0 quiet\n",
        "+ vfat ",
        "[SIZE] (asked for)",
        ": fat: needed by vfat",
        "~ /etc/motd ",
        ": other content of image/files",
        ": package busybox-static; no longer removed by the rule documentation",
        "): its files",
        ".osrel [SIZE] -> [SIZE] (+0 B): the build id, which stands for all inputs",
        "[exit 1]",
    ] {
        assert!(shown.contains(line), "{line} is not in:\n{shown}");
    }
    assert!(!shown.contains("not in the records"), "{shown}");
    let output = system
        .command(&["image", "diff", "dist", "old", "--json"])
        .output()
        .unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["command_line"]["after"], "console=ttyS0");
    assert!(json["files"].as_array().unwrap().iter().all(|file| file["why"] != ""));
    assert!(diff(&["old", "gone"]).contains("[exit 4]"));
}

#[test]
fn image_over_its_budget_is_no_output_and_what_grew_is_named() {
    let system = hello();
    let environment = fs::read_to_string(system.repository().join("environments/dev.toml")).unwrap();
    let budget = |text: &str| {
        system.write(
            "environments/dev.toml",
            &format!("{environment}[image]\nbudget = \"{text}\"\n"),
        );
    };
    let build = || says(&system, &["image", "build", "--env", "dev"]);
    budget("1 MB");
    let refused = build();
    assert!(
        refused.contains("more than its budget of 1.000 MB") && refused.contains("[exit 1]"),
        "{refused}"
    );
    assert!(refused.contains("the largest parts are: kernel 1"), "{refused}");
    assert!(
        !refused.contains("grew"),
        "nothing is known of earlier builds: {refused}"
    );
    assert!(!system.repository().join("dist").exists());
    budget("1 GiB");
    build();
    system.write("image/files/etc/large", &"x".repeat(2_000_000));
    budget("1 MB");
    for _ in 0..2 {
        let refused = build();
        let line = "since it was within the budget, these grew: image/files +2.000 MB";
        assert!(refused.contains(line), "{refused}");
        assert!(refused.contains("hint: `mos image size --env dev`"), "{refused}");
    }
    let shown = says(&system, &["image", "size", "--env", "dev"]);
    assert!(shown.contains("/etc/large"), "{shown}");
    assert!(says(&system, &["build", "--env", "dev"]).contains("[exit 1]"));
}
