//! Our unified kernel image against those that `objcopy` and `ukify` make, and against what `objdump` and `ukify` read, on
//! systemd's real stub. Needs binutils and the network (package systemd-boot-efi, through the host's apt), and ukify
//! (package systemd-ukify, since Debian 13) on the PATH.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use mos_architecture::Architecture;
use mos_boot::uki::{self, UkiParts};
use mos_packages::{Apt, deb};
use mos_tree::Kind;

const STUB: &str = "usr/lib/systemd/boot/efi/linuxx64.efi.stub";

fn stub() -> Option<Vec<u8>> {
    let apt = Apt::new(
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("apt"),
        Architecture::X86_64,
    );
    let quiet = &mut |_: mos_packages::Progress<'_>| {};
    let found = apt
        .resolve(&["systemd-boot-efi"], false, quiet)
        .and_then(|found| apt.fetch(&found[0], quiet));
    match found {
        Ok(fetched) => match &deb::read(&fetched.path).unwrap().tree.get(STUB).unwrap().kind {
            Kind::File(content) => Some(content.read().unwrap()),
            other => panic!("{STUB}: {other:?}"),
        },
        Err(error) => {
            eprintln!("skipped: no stub: {error}");
            None
        }
    }
}

/// Runs a tool; nothing when it is not installed.
fn tool(name: &str, arguments: &[&str], directory: &Path) -> Option<String> {
    match Command::new(name)
        .args(arguments)
        .current_dir(directory)
        .env("LC_ALL", "C")
        .output()
    {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(error) => {
            eprintln!("skipped: cannot run {name}: {error}");
            None
        }
    }
}

/// Name, size and address of each section, as `objdump -h` prints them.
fn listed(text: &str) -> Vec<(String, u32, u32)> {
    let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let rows = rows.filter(|words| words.len() == 7 && words[0].parse::<u32>().is_ok());
    let number = |word: &str| u32::from_str_radix(word, 16).unwrap();
    rows.map(|words| (words[1].to_owned(), number(words[2]), number(words[3])))
        .collect()
}

fn parts(linux: &[u8]) -> UkiParts<'_> {
    UkiParts {
        linux,
        initrd: &[0x5a; 10_001],
        cmdline: "console=ttyS0 quiet",
        osrelease: "ID=mos\nVERSION_ID=1\n",
        uname: "6.12.117",
    }
}

fn contents<'p>(parts: &UkiParts<'p>) -> [(&'static str, &'p [u8]); 5] {
    [
        (".osrel", parts.osrelease.as_bytes()),
        (".cmdline", parts.cmdline.as_bytes()),
        (".uname", parts.uname.as_bytes()),
        (".initrd", parts.initrd),
        (".linux", parts.linux),
    ]
}

#[test]
fn sections_and_headers_agree_with_binutils() {
    let Some(stub) = stub() else { return };
    let directory = tempfile::tempdir().unwrap();
    // The stub is itself a PE file, as the kernel is.
    let parts = parts(&stub);
    let ours = uki::uki(&stub, &parts).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
    write("stub", &stub);
    write("ours.efi", &ours);
    let contents = contents(&parts);
    let sections = uki::inspect(&ours).unwrap();
    let mut arguments: Vec<String> = Vec::new();
    for (name, content) in contents {
        write(&name[1..], content);
        let address = sections.iter().find(|section| section.name == name).unwrap().address;
        arguments.push(format!("--add-section={name}={}", &name[1..]));
        arguments.push(format!("--change-section-vma={name}={address:#x}"));
    }
    arguments.extend(["stub".to_owned(), "theirs.efi".to_owned()]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if tool("objcopy", &arguments, directory.path()).is_none() {
        return;
    }

    // objdump reads the same sections, at the same places, out of both files.
    let headers = |name: &str| listed(&tool("objdump", &["-h", name], directory.path()).unwrap());
    assert_eq!(headers("ours.efi"), headers("theirs.efi"));
    assert_eq!(headers("ours.efi").len(), sections.len());
    // Addresses rise, each added section on a page of its own.
    for pair in sections.windows(2) {
        assert!(pair[0].address + pair[0].size <= pair[1].address);
    }
    // What objcopy wrote is read back by us, and the other way round.
    let theirs = fs::read(directory.path().join("theirs.efi")).unwrap();
    let (ours_read, theirs_read) = (uki::extract(&ours).unwrap(), uki::extract(&theirs).unwrap());
    assert_eq!(ours_read, theirs_read);
    for (name, content) in contents {
        assert!(ours_read[name] == content, "{name}");
        let dump = format!("--dump-section={name}=dumped");
        tool(
            "objcopy",
            &[dump.as_str(), "ours.efi", "discarded.efi"],
            directory.path(),
        );
        assert!(fs::read(directory.path().join("dumped")).unwrap() == content, "{name}");
    }
    // The size of the image is what objcopy says, and both checksums follow the same rule.
    let field = |name: &str, field: &str| {
        let text = tool("objdump", &["-p", name], directory.path()).unwrap();
        let line = text.lines().find(|line| line.starts_with(field)).unwrap();
        u32::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap()
    };
    assert_eq!(field("ours.efi", "SizeOfImage"), field("theirs.efi", "SizeOfImage"));
    assert_eq!(checksum(&ours), field("ours.efi", "CheckSum"));
    assert_eq!(checksum(&theirs), field("theirs.efi", "CheckSum"));
}

#[test]
fn sections_are_those_that_ukify_makes_and_reads() {
    let Some(stub) = stub() else { return };
    let directory = tempfile::tempdir().unwrap();
    let parts = parts(&stub);
    let write = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
    write("stub", &stub);
    write("ours.efi", &uki::uki(&stub, &parts).unwrap());
    for (name, content) in contents(&parts) {
        write(&name[1..], content);
    }
    let arguments = [
        ["--stub", "stub"],
        ["--linux", "linux"],
        ["--initrd", "initrd"],
        ["--cmdline", parts.cmdline],
        ["--os-release", "@osrel"],
        ["--uname", parts.uname],
        ["--output", "theirs.efi"],
    ];
    let arguments = [&["build"][..], arguments.as_flattened()].concat();
    if tool("ukify", &arguments, directory.path()).is_none() {
        return;
    }
    let theirs = fs::read(directory.path().join("theirs.efi")).unwrap();
    let (ours, theirs) = (
        uki::extract(&fs::read(directory.path().join("ours.efi")).unwrap())
            .unwrap()
            .into_iter()
            .map(|(name, bytes)| (name, bytes.to_vec()))
            .collect::<BTreeMap<_, _>>(),
        uki::extract(&theirs).unwrap(),
    );
    // The stub stands in for a kernel, and both have an .sbat: ukify joins them, as it does not with a real kernel.
    for (name, bytes) in theirs.iter().filter(|(name, _)| *name != ".sbat") {
        assert!(ours[name] == *bytes, "{name}");
    }
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    // What ukify reads of both: the sections with their sizes and hashes.
    let read = |name: &str| tool("ukify", &["--json=short", "inspect", name], directory.path()).unwrap();
    let sections = |text: &str| -> Vec<String> {
        let parts = text.split("},").filter(|part| !part.contains(".sbat"));
        let mut parts: Vec<String> = parts
            .map(|part| part.trim_matches(['{', '}', '\n', ' ']).to_owned())
            .collect();
        parts.sort();
        parts
    };
    let (ours, theirs) = (read("ours.efi"), read("theirs.efi"));
    assert!(ours.contains("sha256") && ours.contains(".initrd"), "{ours}");
    assert_eq!(sections(&ours), sections(&theirs));
}

/// The checksum by its definition: all words but its own summed, carries added back, plus the length.
fn checksum(bytes: &[u8]) -> u32 {
    let optional = u32::from_le_bytes(bytes[0x3c..0x40].try_into().unwrap()) as usize + 24;
    let mut bytes = bytes.to_vec();
    bytes[optional + 64..optional + 68].fill(0);
    let words = bytes
        .chunks(2)
        .map(|word| u64::from(word[0]) | u64::from(*word.get(1).unwrap_or(&0)) << 8);
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u32::try_from(sum).unwrap() + u32::try_from(bytes.len()).unwrap()
}
