//! Our signatures against those of sbsign, sbverify and openssl, on systemd's real stub. Needs the package sbsigntool
//! and the network (package systemd-boot-efi, through the host's apt).

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use mos_architecture::Architecture;
use mos_boot::secure_boot::{self, Certificate, Guid, Identity, Signed, Time, Variable, write_private};
use mos_packages::{Apt, deb};
use mos_tree::Kind;
use tempfile::TempDir;

const STUB: &str = "usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// A real EFI program, and a folder.
struct Bench {
    program: Vec<u8>,
    folder: TempDir,
}

impl Bench {
    /// Nothing when a tool is missing.
    fn new(tools: &[&str]) -> Option<Self> {
        for tool in tools {
            if Command::new(tool).arg("--help").output().is_err() {
                eprintln!("SKIPPED: {tool} is not installed");
                return None;
            }
        }
        let apt = Apt::new(Path::new(env!("CARGO_TARGET_TMPDIR")).join("apt"), Architecture::X86_64);
        let quiet = &mut |_: mos_packages::Progress<'_>| {};
        let found = apt.resolve(&["systemd-boot-efi"], false, quiet);
        let fetched = match found.and_then(|found| apt.fetch(&found[0], quiet)) {
            Ok(fetched) => fetched,
            Err(error) => {
                eprintln!("SKIPPED: no stub: {error}");
                return None;
            }
        };
        let tree = deb::read(&fetched.path).unwrap().tree;
        let Kind::File(content) = &tree.get(STUB).unwrap().kind else {
            panic!("{STUB} is no file")
        };
        let folder = tempfile::tempdir().unwrap();
        Some(Self {
            program: content.read().unwrap(),
            folder,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// A new identity, also as NAME.key and NAME.crt.
    fn identity(&self, name: &str) -> Identity {
        let (identity, key) = Identity::generate(name).unwrap();
        write_private(&self.path(&format!("{name}.key")), &key).unwrap();
        self.write(&format!("{name}.crt"), identity.certificate().pem());
        identity
    }

    /// Whether the program succeeds, and what it says.
    fn run(&self, program: &str, arguments: &[&str]) -> (bool, String) {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    fn must(&self, program: &str, arguments: &[&str]) -> String {
        let (good, text) = self.run(program, arguments);
        assert!(good, "{program} {arguments:?}: {text}");
        text
    }
}

fn signed(program: &[u8], identity: &Identity) -> Vec<u8> {
    match secure_boot::sign(program, identity).unwrap() {
        Signed::Now(bytes) => bytes,
        Signed::Already => panic!("it was signed before"),
    }
}

#[test]
fn sbverify_accepts_ours_and_refuses_a_foreign_key_and_a_flipped_byte() {
    let Some(bench) = Bench::new(&["sbverify"]) else { return };
    let (db, foreign) = (bench.identity("db"), bench.identity("foreign"));
    let ours = signed(&bench.program, &db);
    assert_eq!(ours, signed(&bench.program, &db), "signing twice gives the same bytes");
    bench.write("ours.efi", &ours);
    assert!(
        bench
            .must("sbverify", &["--cert", "db.crt", "ours.efi"])
            .contains("Signature verification OK")
    );
    assert!(!bench.run("sbverify", &["--cert", "foreign.crt", "ours.efi"]).0);
    let [signature] = &secure_boot::signatures(&ours).unwrap()[..] else {
        panic!()
    };
    assert!(signature.is_trusted(&[db.certificate().clone()]));
    assert!(!signature.is_trusted(&[foreign.certificate().clone()]));
    let mut flipped = ours;
    flipped[0x2000] ^= 1;
    bench.write("flipped.efi", &flipped);
    assert!(!bench.run("sbverify", &["--cert", "db.crt", "flipped.efi"]).0);
    assert!(!secure_boot::signatures(&flipped).unwrap()[0].holds);
    let error = secure_boot::sign(&flipped, &foreign).unwrap_err().to_string();
    assert!(error.contains("changed after `db` signed it"), "{error}");
}

#[test]
fn ours_is_accepted_after_sbsign_and_before_it_and_we_accept_sbsigns() {
    let Some(bench) = Bench::new(&["sbverify", "sbsign"]) else {
        return;
    };
    let (first, second) = (bench.identity("first"), bench.identity("second"));
    let sbsign = |key: &str, from: &str, to: &str| {
        let (key, cert) = (format!("{key}.key"), format!("{key}.crt"));
        bench.must("sbsign", &["--key", &key, "--cert", &cert, "--output", to, from]);
        fs::read(bench.path(to)).unwrap()
    };
    bench.write("plain.efi", &bench.program);
    let theirs = sbsign("first", "plain.efi", "theirs.efi");
    let both = signed(&theirs, &second);
    bench.write("both.efi", &both);
    bench.write("ours.efi", signed(&bench.program, &second));
    let reverse = sbsign("first", "ours.efi", "reverse.efi");
    for (file, bytes) in [("both.efi", &both), ("reverse.efi", &reverse)] {
        for (name, identity) in [("first.crt", &first), ("second.crt", &second)] {
            bench.must("sbverify", &["--cert", name, file]);
            let trusted = [identity.certificate().clone()];
            let found = secure_boot::signatures(bytes).unwrap();
            assert_eq!(
                found.iter().filter(|signature| signature.is_trusted(&trusted)).count(),
                1
            );
            assert!(found.len() == 2 && found.iter().all(|signature| signature.holds));
        }
    }
    assert_eq!(secure_boot::sign(&both, &second).unwrap(), Signed::Already);
    assert_eq!(secure_boot::sign(&both, &first).unwrap(), Signed::Already);
}

#[test]
fn sections_with_a_gap_between_them_are_signed_as_sbverify_checks_them() {
    let Some(bench) = Bench::new(&["sbverify"]) else { return };
    let db = bench.identity("db");
    let mut program = bench.program.clone();
    let header = program.windows(8).position(|name| name == b".sdmagic").unwrap();
    let field = header + 20..header + 24;
    let offset = u32::from_le_bytes(program[field.clone()].try_into().unwrap());
    program[field].copy_from_slice(&(offset + 512).to_le_bytes());
    program.splice(offset as usize..offset as usize, [0xee; 512]);
    bench.write("gap.efi", signed(&program, &db));
    bench.must("sbverify", &["--cert", "db.crt", "gap.efi"]);
}

#[test]
fn openssl_reads_our_certificates_and_an_issued_signer_is_trusted_by_its_root() {
    let Some(bench) = Bench::new(&["openssl", "sbverify"]) else {
        return;
    };
    bench.identity("root");
    let text = bench.must("openssl", &["x509", "-in", "root.crt", "-noout", "-text"]);
    for expected in [
        "CN = root",
        "Dec 31 23:59:59 9999",
        "CA:FALSE",
        "Digital Signature",
        "sha256WithRSAEncryption",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    bench.must("openssl", &["verify", "-CAfile", "root.crt", "root.crt"]);
    bench.must("openssl", &["genrsa", "-traditional", "-out", "leaf.key", "3072"]);
    fs::set_permissions(bench.path("leaf.key"), fs::Permissions::from_mode(0o600)).unwrap();
    bench.must(
        "openssl",
        &[
            "req",
            "-new",
            "-key",
            "leaf.key",
            "-subj",
            "/O=MOS/CN=leaf",
            "-out",
            "leaf.csr",
        ],
    );
    let issue = [
        "x509",
        "-req",
        "-in",
        "leaf.csr",
        "-CA",
        "root.crt",
        "-CAkey",
        "root.key",
        "-CAcreateserial",
        "-out",
        "leaf.crt",
    ];
    bench.must("openssl", &issue);
    let leaf = Identity::open(&bench.path("leaf.key"), &bench.path("leaf.crt")).unwrap();
    assert_eq!(leaf.certificate().name(), "leaf");
    let signature = secure_boot::signatures(&signed(&bench.program, &leaf))
        .unwrap()
        .remove(0);
    assert!(signature.is_trusted(&[Certificate::read(&bench.path("root.crt")).unwrap()]));
    assert!(!signature.is_trusted(&[]));
}

#[test]
fn keys_that_cannot_be_used_are_refused_and_an_encrypted_one_asks_for_its_passphrase() {
    let Some(bench) = Bench::new(&["openssl"]) else { return };
    let (one, _) = (bench.identity("one"), bench.identity("two"));
    let open = |key: &str| Identity::open(&bench.path(key), &bench.path("one.crt"));
    assert!(
        open("two.key")
            .unwrap_err()
            .to_string()
            .contains("does not belong to the certificate of `one`")
    );
    fs::set_permissions(bench.path("one.key"), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(open("one.key").unwrap_err().to_string().contains("others can read"));
    assert!(
        write_private(&bench.path("one.key"), "").is_err(),
        "a key is never written over"
    );
    fs::set_permissions(bench.path("one.key"), fs::Permissions::from_mode(0o600)).unwrap();
    bench.must(
        "openssl",
        &[
            "pkcs8",
            "-topk8",
            "-in",
            "one.key",
            "-passout",
            "pass:x",
            "-out",
            "locked.key",
        ],
    );
    fs::set_permissions(bench.path("locked.key"), fs::Permissions::from_mode(0o600)).unwrap();
    let error = open("locked.key").unwrap_err().to_string();
    assert!(error.contains(secure_boot::PASSPHRASE), "{error}");
    bench.must(
        "openssl",
        &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "ec.key"],
    );
    fs::set_permissions(bench.path("ec.key"), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(open("ec.key").is_err());
    assert!(Certificate::from_der(&one.certificate().der()[..500]).is_err());
    assert!(!format!("{one:?}").contains("PRIVATE"));
}

#[test]
fn signature_lists_and_updates_are_those_of_efitools_and_openssl_verifies_them() {
    let Some(bench) = Bench::new(&["openssl", "cert-to-efi-sig-list", "sign-efi-sig-list"]) else {
        return;
    };
    let pk = bench.identity("PK");
    let owner = Guid::of_project("demo");
    let ours = secure_boot::signature_lists(owner, &[pk.certificate()]);
    bench.must(
        "cert-to-efi-sig-list",
        &["-g", &owner.to_string(), "PK.crt", "theirs.esl"],
    );
    assert_eq!(ours, fs::read(bench.path("theirs.esl")).unwrap());
    let time = Time {
        year: 2026,
        month: 11,
        day: 21,
        hour: 17,
        minute: 5,
        second: 9,
    };
    let update = secure_boot::update(Variable::PlatformKey, &ours, time, &pk).unwrap();
    let sign = [
        "-t",
        "2026-11-21 17:05:09",
        "-k",
        "PK.key",
        "-c",
        "PK.crt",
        "PK",
        "theirs.esl",
        "theirs.auth",
    ];
    bench.must("sign-efi-sig-list", &sign);
    bench.must(
        "sign-efi-sig-list",
        &["-t", "2026-11-21 17:05:09", "-o", "PK", "theirs.esl", "message"],
    );
    let theirs = fs::read(bench.path("theirs.auth")).unwrap();
    // All but the signature itself and the lengths.
    let length = |update: &[u8]| u32::from_le_bytes(update[16..20].try_into().unwrap()) as usize;
    assert_eq!((&update[..16], &update[20..40]), (&theirs[..16], &theirs[20..40]));
    assert_eq!(update[16 + length(&update)..], theirs[16 + length(&theirs)..]);
    // Around the SignedData, which firmware wants bare, openssl wants a ContentInfo.
    let data = &update[40..16 + length(&update)];
    let around = |tag: u8, content: &[u8]| [&[tag, 0x82][..], &(content.len() as u16).to_be_bytes(), content].concat();
    let signed_data = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
    bench.write("p7", around(0x30, &[&signed_data[..], &around(0xa0, data)].concat()));
    let verify = [
        "smime", "-verify", "-inform", "DER", "-in", "p7", "-content", "message", "-binary",
    ];
    bench.must(
        "openssl",
        &[&verify[..], &["-purpose", "any", "-CAfile", "PK.crt", "-out", "out"]].concat(),
    );
}
