//! Our prediction of PCR 11 against that of systemd-measure, on systemd's real stub. Needs systemd, and the network
//! (package systemd-boot-efi, through the host's apt).

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

use std::fs;
use std::path::Path;
use std::process::Command;

use mos_boot::pcr::{self, Bank, PHASES};
use mos_boot::uki::{self, UkiParts};
use mos_packages::{Apt, deb};
use mos_tree::Kind;

const STUB: &str = "usr/lib/systemd/boot/efi/linuxx64.efi.stub";
/// Where Debian has it.
const SYSTEMD_MEASURE: &str = "/lib/systemd/systemd-measure";

fn stub() -> Option<Vec<u8>> {
    let apt = Apt::new(Path::new(env!("CARGO_TARGET_TMPDIR")).join("apt"));
    let quiet = &mut |_: mos_packages::Progress<'_>| {};
    let found = apt.resolve(&["systemd-boot-efi"], false, quiet);
    match found.and_then(|found| apt.fetch(&found[0], quiet)) {
        Ok(fetched) => match &deb::read(&fetched.path).unwrap().tree.get(STUB).unwrap().kind {
            Kind::File(content) => Some(content.read().unwrap()),
            other => panic!("{STUB}: {other:?}"),
        },
        Err(error) => {
            eprintln!("SKIPPED: no stub: {error}");
            None
        }
    }
}

#[test]
fn systemd_measure_predicts_the_same_for_every_bank_and_phase() {
    let Some(stub) = stub() else { return };
    if !Path::new(SYSTEMD_MEASURE).exists() {
        eprintln!("SKIPPED: {SYSTEMD_MEASURE} is missing");
        return;
    }
    let parts = UkiParts {
        linux: &stub,
        initrd: &[0x5a; 10_001],
        cmdline: "console=ttyS0 quiet",
        osrelease: "ID=mos\nVERSION_ID=1\n",
        uname: "6.12.117",
    };
    let image = uki::uki(&stub, &parts).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let contents = [
        ("linux", parts.linux),
        ("osrel", parts.osrelease.as_bytes()),
        ("cmdline", parts.cmdline.as_bytes()),
        ("initrd", parts.initrd),
    ];
    let mut command = Command::new(SYSTEMD_MEASURE);
    command.args(["calculate", "--json=short"]).current_dir(folder.path());
    for (name, bytes) in contents {
        fs::write(folder.path().join(name), bytes).unwrap();
        command.arg(format!("--{name}={name}"));
    }
    command.args(Bank::ALL.map(|bank| format!("--bank={bank}")));
    command
        .arg("--phase=")
        .args(PHASES.map(|phase| format!("--phase={phase}")));
    let output = command.output().unwrap();
    let theirs: String = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{theirs}");
    for bank in Bank::ALL {
        for phases in PHASES.into_iter().chain([""]) {
            let ours: String = pcr::predict(&image, bank, phases)
                .unwrap()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let phase = if phases.is_empty() {
                String::new()
            } else {
                format!("\"phase\":\"{phases}\",")
            };
            let row = format!("{{{phase}\"pcr\":11,\"hash\":\"{ours}\"}}");
            assert!(theirs.contains(&row), "{bank} {phases}: {row} is not in {theirs}");
        }
    }
    assert_eq!(theirs.matches("hash").count(), Bank::ALL.len() * (PHASES.len() + 1));
}
