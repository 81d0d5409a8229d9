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

/// The statement is signed, and of this image alone.
fn check_provenance(system: &System) {
    let path = system.repository().join("dist/provenance.dsse.json");
    let sealed = fs::read_to_string(&path).unwrap();
    let verify = [
        "image",
        "verify",
        "--provenance",
        "dist/provenance.dsse.json",
        "--key",
        "keys/dev.pub",
    ];
    let said = says(system, &verify);
    assert!(
        said.contains("  provenance  valid") && !said.contains("[exit"),
        "{said}"
    );
    let other = says(system, &[&verify[..], &["dist/initramfs.cpio.zst"]].concat());
    assert!(!other.contains("[exit"), "the initramfs is a subject too: {other}");
    let strange = says(system, &[&verify[..], &["dist/contents.json"]].concat());
    assert!(
        strange.contains("it is not of dist/contents.json") && strange.contains("[exit 3]"),
        "{strange}"
    );
    let start = sealed.find("\"payload\":\"").unwrap() + 20;
    let flipped = if &sealed[start..=start] == "A" { "B" } else { "A" };
    system.write(
        "dist/provenance.dsse.json",
        &format!("{}{flipped}{}", &sealed[..start], &sealed[start + 1..]),
    );
    let tampered = says(system, &verify);
    assert!(
        tampered.contains("no signature in it is by ") && tampered.contains("[exit 3]"),
        "{tampered}"
    );
    fs::write(path, sealed).unwrap();
}

#[test]
fn bills_of_materials_and_provenance_are_beside_the_image_and_the_same_twice() {
    let system = hello();
    let documents = || {
        system.mos(&["image", "build", "--env", "dev"]);
        let read = |name: &str| fs::read(system.repository().join("dist").join(name)).unwrap();
        ["sbom.spdx.json", "sbom.cdx.json", "provenance.json", "vmlinuz.efi"].map(read)
    };
    let first = documents();
    fs::remove_dir_all(system.repository().join("dist")).unwrap();
    assert!(first == documents(), "another run writes other documents");
    check_provenance(&system);
    let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
    let [spdx, cyclonedx, provenance] = [json(&first[0]), json(&first[1]), json(&first[2])];
    let digest: String = <sha2::Sha256 as sha2::Digest>::digest(&first[3])
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(spdx["packages"][0]["checksums"][0]["checksumValue"], digest);
    assert_eq!(cyclonedx["metadata"]["component"]["hashes"][0]["content"], digest);
    assert_eq!(provenance["subject"][0]["digest"]["sha256"], digest);
    let components = cyclonedx["components"].as_array().unwrap();
    let named = |name: &str| components.iter().find(|component| component["name"] == name).unwrap();
    let busybox = named("busybox-static");
    assert!(
        busybox["purl"]
            .as_str()
            .unwrap()
            .starts_with("pkg:deb/debian/busybox-static@1%3A"),
        "{busybox}"
    );
    assert!(
        busybox.get("licenses").is_none(),
        "its copyright file is prose: {busybox}"
    );
    let stub = named("systemd-boot-efi")["licenses"][0]["expression"].as_str().unwrap();
    assert!(stub.contains("LGPL-2.1-or-later"), "{stub}");
    assert_eq!(busybox["evidence"]["occurrences"][0]["location"], "/bin/busybox");
    assert_eq!(named("my_init")["type"], "application");
    let lock = fs::read_to_string(system.repository().join("mos.lock")).unwrap();
    let inputs = provenance["predicate"]["buildDefinition"]["resolvedDependencies"]
        .as_array()
        .unwrap();
    let debs = inputs
        .iter()
        .filter(|input| input["uri"].as_str().is_some_and(|uri| uri.starts_with("pkg:deb/")));
    let digests: Vec<&str> = debs.map(|input| input["digest"]["sha256"].as_str().unwrap()).collect();
    assert!(
        digests.len() >= 3 && digests.iter().all(|digest| lock.contains(digest)),
        "{digests:?}"
    );
}
