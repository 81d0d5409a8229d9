//! Our prediction of PCR 11, and our signed policies, against those of systemd-measure, on systemd's real stub. Needs systemd, and the network
//! (package systemd-boot-efi, through the host's apt).

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mos_architecture::Architecture;
use mos_boot::pcr::policy::{self, PolicyError};
use mos_boot::pcr::{self, Bank, PHASES};
use mos_boot::secure_boot::{Identity, sign};
use mos_boot::uki::{self, UkiParts};
use mos_packages::{Apt, deb};
use mos_tree::Kind;

const STUB: &str = "usr/lib/systemd/boot/efi/linuxx64.efi.stub";
/// Where Debian has it.
const SYSTEMD_MEASURE: &str = "/lib/systemd/systemd-measure";

fn stub() -> Option<Vec<u8>> {
    let apt = Apt::new(Path::new(env!("CARGO_TARGET_TMPDIR")).join("apt"), Architecture::X86_64);
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

fn parts(stub: &[u8]) -> UkiParts<'_> {
    UkiParts {
        linux: stub,
        initrd: &[0x5a; 10_001],
        cmdline: "console=ttyS0 quiet",
        osrelease: "ID=mos\nVERSION_ID=1\n",
        uname: "6.12.117",
    }
}

/// systemd-measure over the same parts, which are written into a folder.
fn systemd_measure(verb: &str, parts: &UkiParts<'_>, folder: &Path) -> Option<Command> {
    if !Path::new(SYSTEMD_MEASURE).exists() {
        eprintln!("SKIPPED: {SYSTEMD_MEASURE} is missing");
        return None;
    }
    let contents = [
        ("linux", parts.linux),
        ("osrel", parts.osrelease.as_bytes()),
        ("cmdline", parts.cmdline.as_bytes()),
        ("initrd", parts.initrd),
    ];
    let mut command = Command::new(SYSTEMD_MEASURE);
    command.args([verb, "--json=short"]).current_dir(folder);
    for (name, bytes) in contents {
        fs::write(folder.join(name), bytes).unwrap();
        command.arg(format!("--{name}={name}"));
    }
    Some(command)
}

fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn systemd_measure_predicts_the_same_for_every_bank_and_phase() {
    let Some(stub) = stub() else { return };
    let parts = parts(&stub);
    let image = uki::uki(&stub, &parts).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let Some(mut command) = systemd_measure("calculate", &parts, folder.path()) else {
        return;
    };
    command
        .args(Bank::ALL.map(|bank| format!("--bank={bank}")))
        .arg("--phase=")
        .args(PHASES.map(|phase| format!("--phase={phase}")));
    let theirs = printed(&mut command);
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

/// A TPM in software that listens on a socket in a folder, for systemd-measure to compute policies with.
struct Tpm(Child);

impl Tpm {
    fn start(folder: &Path) -> Option<Self> {
        let state = folder.join("state");
        fs::create_dir(&state).unwrap();
        let mut command = Command::new("swtpm");
        command
            .args([
                "socket",
                "--tpm2",
                "--flags",
                "not-need-init,startup-clear",
                "--tpmstate",
            ])
            .arg(format!("dir={}", state.display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", folder.join("tpm").display()))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}", folder.join("tpm.ctrl").display()));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let Ok(child) = child else {
            eprintln!("SKIPPED: swtpm is missing");
            return None;
        };
        let tpm = Self(child);
        let end = Instant::now() + Duration::from_secs(30);
        while !folder.join("tpm").exists() {
            assert!(Instant::now() < end, "swtpm does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(tpm)
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn systemd_measure_signs_the_same_policies() {
    let Some(stub) = stub() else { return };
    let parts = parts(&stub);
    let folder = tempfile::tempdir().unwrap();
    let (identity, key) = Identity::generate("policies").unwrap();
    let public = identity.certificate().public_key().pem();
    fs::write(folder.path().join("key"), key).unwrap();
    fs::write(folder.path().join("public"), &public).unwrap();
    let phases = ["", "enter-initrd"];
    let image = policy::sign(&uki::uki(&stub, &parts).unwrap(), &identity, &phases).unwrap();
    let ours = uki::extract(&image).unwrap();
    assert_eq!(ours[".pcrpkey"], public.as_bytes());
    let Some(mut command) = systemd_measure("sign", &parts, folder.path()) else {
        return;
    };
    let libraries = Command::new("/sbin/ldconfig").arg("-p").output();
    if !libraries.is_ok_and(|it| String::from_utf8_lossy(&it.stdout).contains("libtss2-tcti-swtpm.so")) {
        return eprintln!("SKIPPED: libtss2-tcti-swtpm is missing (package tpm2-tools)");
    }
    let Some(_tpm) = Tpm::start(folder.path()) else { return };
    command
        .args([
            "--bank=sha256",
            "--private-key=key",
            "--public-key=public",
            "--pcrpkey=public",
        ])
        .args(phases.map(|phase| format!("--phase={phase}")))
        .arg(format!(
            "--tpm2-device=swtpm:path={}",
            folder.path().join("tpm").display()
        ));
    let theirs = printed(&mut command);
    assert_eq!(String::from_utf8_lossy(ours[".pcrsig"]), theirs.trim_end());
}

#[test]
fn a_policy_holds_for_its_image_alone() {
    let Some(stub) = stub() else { return };
    let (identity, _) = Identity::generate("policies").unwrap();
    let image = uki::uki(&stub, &parts(&stub)).unwrap();
    assert_eq!(policy::verify(&image).unwrap(), []);
    let signed = policy::sign(&image, &identity, &[""]).unwrap();
    assert_eq!(
        policy::sign(&image, &identity, &[""]).unwrap(),
        signed,
        "the same bytes each time"
    );
    let verdicts = policy::verify(&signed).unwrap();
    assert_eq!(verdicts.len(), 1);
    assert!(
        verdicts.iter().all(|it| it.holds && it.phases.as_deref() == Some("")),
        "{verdicts:?}"
    );
    // What the policy is of is measured: the smallest change and it does not hold.
    let place = signed.windows(12).position(|bytes| bytes == b"console=ttyS").unwrap();
    let mut changed = signed.clone();
    changed[place] ^= 1;
    assert!(policy::verify(&changed).unwrap().iter().all(|it| !it.holds));
    assert!(matches!(
        policy::sign(&signed, &identity, &[""]),
        Err(PolicyError::Already)
    ));
    let mos_boot::secure_boot::Signed::Now(booted) = sign(&image, &identity).unwrap() else {
        panic!("signed for the first time")
    };
    assert!(matches!(
        policy::sign(&booted, &identity, &[""]),
        Err(PolicyError::Signed)
    ));
    // Secure Boot covers the policy: signed in that order both hold.
    let mos_boot::secure_boot::Signed::Now(both) = sign(&signed, &identity).unwrap() else {
        panic!("signed for the first time")
    };
    assert!(policy::verify(&both).unwrap().iter().all(|it| it.holds));
    assert_eq!(uki::inspect(&both).unwrap().last().unwrap().name, ".linux");
}
