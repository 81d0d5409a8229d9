//! Where an image comes from: SLSA provenance 1.0 (slsa.dev/spec/v1.0/provenance) in an in-toto statement, version 1.
//!
//! Times and names of machines are left out: the same inputs give the same statement.

use serde_json::{Value, json};

use crate::text;

/// What kind of build it was, and who says so: names of ours that lead nowhere.
const BUILD_TYPE: &str = "urn:mos:build:boot-image:1";
const BUILDER: &str = "urn:mos:builder";

/// A file that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// SHA-256, 64 hexadecimal digits.
    pub sha256: String,
}

/// Something that went into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// Its package URL or address; none for a file of the configuration.
    pub uri: Option<String>,
    /// Its name.
    pub name: String,
    /// The kind of digest, as in-toto names them, and the digest: `sha256`, `gitCommit`.
    pub digest: Option<(String, String)>,
    /// What else there is to say, such as that a working tree had changes that no commit has.
    pub notes: Vec<(String, String)>,
}

/// Everything that the statement says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// What was made.
    pub subjects: Vec<Subject>,
    /// What the user asked for, by name.
    pub parameters: Vec<(String, Value)>,
    /// The hash of all inputs.
    pub inputs: String,
    /// The version of MOS.
    pub mos: String,
    /// What went in.
    pub dependencies: Vec<Dependency>,
}

/// The statement.
pub fn provenance(provenance: &Provenance) -> String {
    let subjects: Vec<Value> = provenance
        .subjects
        .iter()
        .map(|subject| json!({ "name": subject.name, "digest": { "sha256": subject.sha256 } }))
        .collect();
    let parameters: serde_json::Map<String, Value> = provenance.parameters.iter().cloned().collect();
    text(&json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": parameters,
                "internalParameters": { "inputs": provenance.inputs, "mos": provenance.mos },
                "resolvedDependencies": provenance.dependencies.iter().map(dependency).collect::<Vec<_>>(),
            },
            "runDetails": {
                "builder": { "id": BUILDER, "version": { "mos": provenance.mos } },
            },
        },
    }))
}

fn dependency(dependency: &Dependency) -> Value {
    let mut descriptor = json!({ "name": dependency.name });
    if let Some(uri) = &dependency.uri {
        descriptor["uri"] = json!(uri);
    }
    if let Some((kind, digest)) = &dependency.digest {
        descriptor["digest"] = json!({ kind: digest });
    }
    if !dependency.notes.is_empty() {
        let notes = dependency
            .notes
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)));
        descriptor["annotations"] = Value::Object(notes.collect());
    }
    descriptor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_has_what_the_specification_requires() {
        let said = provenance(&Provenance {
            subjects: vec![Subject {
                name: "vmlinuz.efi".to_owned(),
                sha256: "2".repeat(64),
            }],
            parameters: vec![("environment".to_owned(), json!("dev"))],
            inputs: "3".repeat(64),
            mos: "0.1.0".to_owned(),
            dependencies: vec![Dependency {
                uri: Some("pkg:deb/debian/busybox@1".to_owned()),
                name: "busybox".to_owned(),
                digest: Some(("sha256".to_owned(), "1".repeat(64))),
                notes: vec![("modified".to_owned(), "true".to_owned())],
            }],
        });
        let statement: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
        assert_eq!(statement["subject"][0]["digest"]["sha256"], "2".repeat(64));
        let definition = &statement["predicate"]["buildDefinition"];
        assert!(definition["buildType"].as_str().unwrap().starts_with("urn:"));
        assert_eq!(definition["externalParameters"]["environment"], "dev");
        assert_eq!(
            definition["resolvedDependencies"][0]["digest"]["sha256"],
            "1".repeat(64)
        );
        assert_eq!(definition["resolvedDependencies"][0]["annotations"]["modified"], "true");
        assert_eq!(statement["predicate"]["runDetails"]["builder"]["id"], "urn:mos:builder");
    }
}
