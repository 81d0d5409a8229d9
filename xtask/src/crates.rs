//! The crates that are linked into a program, for the bill of materials of images.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};

/// Between the fields of a line that cargo prints: in no name and no licence.
const SEPARATOR: char = '\t';

/// The crates of a package for a target as JSON: what `cargo tree` says is linked, with digests out of `Cargo.lock`.
pub(crate) fn linked(package: &str, target: &str) -> Result<String, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let format = format!("{{p}}{SEPARATOR}{{l}}");
    let output = Command::new(cargo)
        .args(["tree", "--locked", "--offline", "--prefix", "none", "--no-dedupe"])
        .args([
            "--edges",
            "normal,no-proc-macro",
            "--target",
            target,
            "--package",
            package,
        ])
        .args(["--format", &format])
        .output()
        .map_err(|error| format!("cargo tree: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let lock = std::fs::read_to_string("Cargo.lock").map_err(|error| format!("Cargo.lock: {error}"))?;
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let list = Value::from(list(package, &listed, &checksums(&lock)));
    Ok(format!("{list:#}\n"))
}

/// Each crate once, sorted, without the package itself.
fn list(package: &str, lines: &str, checksums: &BTreeMap<(String, String), String>) -> Vec<Value> {
    let mut found: BTreeMap<(String, String), Value> = BTreeMap::new();
    for line in lines.lines() {
        let (what, licence) = line.split_once(SEPARATOR).unwrap_or((line, ""));
        let mut words = what.split(' ');
        let (Some(name), Some(version)) = (words.next(), words.next().and_then(|word| word.strip_prefix('v'))) else {
            continue;
        };
        if name == package {
            continue;
        }
        let key = (name.to_owned(), version.to_owned());
        let mut one = json!({ "name": name, "version": version });
        if !licence.is_empty() {
            one["licence"] = json!(licence);
        }
        if let Some(checksum) = checksums.get(&key) {
            one["sha256"] = json!(checksum);
        }
        found.insert(key, one);
    }
    found.into_values().collect()
}

/// The digests of the archives that a lock names, by name and version; our own crates have none.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let entry = |block: &str| {
        let field = |key: &str| {
            let line = block
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""))?;
            Some(line.trim_end_matches('"').to_owned())
        };
        Some(((field("name")?, field("version")?), field("checksum")?))
    };
    lock.split("[[package]]").filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_listed_once_with_licence_and_digest() {
        let lines = "my-init v0.1.0 (/x)\tApache-2.0\nrustix v1.1.6\tMIT OR Apache-2.0\nmos-sys v0.1.0 (/x)\tApache-2.0\n\
                     rustix v1.1.6\tMIT OR Apache-2.0\nodd v1.0.0\t\n";
        let lock = "version = 4\n\n[[package]]\nname = \"mos-sys\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"rustix\"\n\
                    version = \"1.1.6\"\nsource = \"registry\"\nchecksum = \"ab12\"\n";
        let list = list("my-init", lines, &checksums(lock));
        let expected = json!([
            { "name": "mos-sys", "version": "0.1.0", "licence": "Apache-2.0" },
            { "name": "odd", "version": "1.0.0" },
            { "name": "rustix", "version": "1.1.6", "licence": "MIT OR Apache-2.0", "sha256": "ab12" },
        ]);
        assert_eq!(Value::from(list), expected);
    }
}
