//! What the official tools say: `cyclonedx-python-lib` has the schema of CycloneDX, `spdx-tools` the rules of SPDX.
//!
//! `scripts/deps.sh test` puts both into `target/python`; another Python that has them is named by `MOS_SBOM_PYTHON`.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

use std::path::{Path, PathBuf};
use std::process::Command;

use mos_sbom::{Bill, Ecosystem, Item, ItemKind, Licence, cyclonedx, purl, spdx};

/// Reports every violation of the schema, of which an empty list is what is hoped for.
const CYCLONEDX: &str = "
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
sys.exit(str(error) if error else 0)
";
const SPDX: &str = "
import sys
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
found = validate_full_spdx_document(parse_file(sys.argv[1]))
sys.exit('\\n'.join(f'{it.validation_message} {it.context}' for it in found) if found else 0)
";

/// A Python with this module.
fn python(module: &str) -> Option<PathBuf> {
    let named = std::env::var_os("MOS_SBOM_PYTHON").map(PathBuf::from);
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/python/bin/python");
    let candidates = named.into_iter().chain([ours, PathBuf::from("python3")]);
    let has = |python: &PathBuf| {
        let import = Command::new(python).args(["-c", &format!("import {module}")]).output();
        import.is_ok_and(|output| output.status.success())
    };
    let found = candidates.into_iter().find(has);
    if found.is_none() {
        eprintln!("SKIPPED: no Python has the module {module}");
    }
    found
}

fn accepts(python: &Path, program: &str, name: &str, document: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, document).unwrap();
    let output = Command::new(python).args(["-c", program]).arg(&path).output().unwrap();
    assert!(
        output.status.success(),
        "{}\n{document}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Everything that an item may have and may lack.
fn bill() -> Bill {
    let item = |kind, name: &str, ecosystem| Item {
        kind,
        name: name.to_owned(),
        version: "1:2.0~rc1-4+b7".to_owned(),
        purl: purl(ecosystem, name, "1:2.0~rc1-4+b7", Some("amd64")),
        sha256: None,
        licence: None,
        role: "base".to_owned(),
        files: Vec::new(),
        linked_into: Vec::new(),
    };
    let copyright = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
                     License: GPL-2+ with Bison exception\n\nLicense: Expat or BSD-3-clause, and LGPL-2.1\n\n\
                     License: Apache-2.0 with LLVM-exception\n\nLicense: GPL-2 or Odd_1\n";
    let library = |licence: &str| Item {
        licence: Some(Licence::of_expression(licence)),
        linked_into: vec!["my_init".to_owned()],
        ..item(ItemKind::Crate, licence, Ecosystem::Cargo)
    };
    let licences = [
        "(MIT OR Apache-2.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception",
        "MIT/Apache-2.0",
        "MIT AND",
        "0BSD OR custom",
    ];
    let mut items: Vec<Item> = licences.into_iter().map(library).collect();
    items.push(Item {
        licence: Licence::of_copyright(copyright),
        sha256: Some("a".repeat(64)),
        files: vec!["bin/b".to_owned(), "bin/with space".to_owned()],
        ..item(ItemKind::Package, "busybox", Ecosystem::Debian)
    });
    items.push(item(ItemKind::Kernel, "linux-image", Ecosystem::Debian));
    items.push(item(ItemKind::Package, "musl", Ecosystem::Alpine));
    items.push(item(ItemKind::Program, "my_init", Ecosystem::Generic));
    Bill {
        name: "lab dev".to_owned(),
        version: "0123456789ab".to_owned(),
        file: "vmlinuz.efi".to_owned(),
        sha256: "0123456789abcdef".repeat(4),
        created: "2026-11-21T06:00:00Z".to_owned(),
        mos: "0.1.0".to_owned(),
        items,
    }
}

#[test]
fn schema_of_cyclonedx_accepts_the_bill() {
    if let Some(python) = python("cyclonedx.validation.json, jsonschema") {
        accepts(&python, CYCLONEDX, "bill.cdx.json", &cyclonedx(&bill()));
    }
}

#[test]
fn rules_of_spdx_accept_the_bill() {
    if let Some(python) = python("spdx_tools.spdx") {
        accepts(&python, SPDX, "bill.spdx.json", &spdx(&bill()));
    }
}
