//! What goes beside an image for those who did not make it: bills of materials and provenance.
//!
//! ```text
//! sbom.spdx.json, sbom.cdx.json   what is in it: packages, kernel, stub, our programs and their crates
//! provenance.json                 an in-toto statement: from what it was made
//! ```
//!
//! Made from the record of contents and the image, without times of their own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use jiff::Timestamp;
use mos_config::{LOCK_FILE, Plan};
use mos_sbom::{
    Bill, Dependency, Ecosystem, Item, ItemKind, Licence, Provenance, Subject, cyclonedx, provenance, purl, spdx,
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::builder::Builder;
use crate::contents::{Contents, PackageRecord};
use crate::error::BuildError;
use crate::image::{BuiltImage, NodePrograms};
use crate::kernel_part::json;

/// The version of MOS.
const MOS_VERSION: &str = env!("CARGO_PKG_VERSION");
/// Beside each of our programs: the crates that are linked into it.
const CRATES_ENDING: &str = "crates.json";

/// A crate, as the file beside a program has it.
#[derive(Debug, Clone, Deserialize)]
struct LinkedCrate {
    name: String,
    version: String,
    #[serde(default)]
    licence: Option<String>,
    #[serde(default)]
    sha256: Option<String>,
}

/// A file to be put beside an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its name.
    pub name: &'static str,
    /// Its content.
    pub text: String,
}

impl Builder<'_> {
    /// The documents of an image.
    ///
    /// # Errors
    /// [`BuildError::Io`].
    pub fn documents(
        &self,
        plan: &Plan,
        image: &BuiltImage,
        programs: &NodePrograms,
    ) -> Result<Vec<Document>, BuildError> {
        let contents: Contents = json(&image.contents)?;
        let subjects = vec![subject(&image.efi)?, subject(&image.initramfs)?];
        let bill = Bill {
            name: format!("{} {}", plan.project, plan.environment),
            version: contents.build_id.clone(),
            file: subjects[0].name.clone(),
            sha256: subjects[0].sha256.clone(),
            created: Timestamp::from_second(image.report.built)
                .unwrap_or_default()
                .to_string(),
            mos: MOS_VERSION.to_owned(),
            items: items(&contents, programs)?,
        };
        let from = Provenance {
            subjects,
            parameters: parameters(plan),
            inputs: contents.inputs.clone(),
            mos: MOS_VERSION.to_owned(),
            dependencies: self.dependencies(&bill)?,
        };
        Ok(vec![
            Document {
                name: "sbom.spdx.json",
                text: spdx(&bill),
            },
            Document {
                name: "sbom.cdx.json",
                text: cyclonedx(&bill),
            },
            Document {
                name: "provenance.json",
                text: provenance(&from),
            },
        ])
    }

    /// Everything with a digest, the lock, and the state of the configuration.
    fn dependencies(&self, bill: &Bill) -> Result<Vec<Dependency>, BuildError> {
        let of_item = |item: &Item| Dependency {
            uri: Some(item.purl.clone()),
            name: item.name.clone(),
            digest: item.sha256.clone().map(|digest| ("sha256".to_owned(), digest)),
            notes: Vec::new(),
        };
        let mut dependencies: Vec<Dependency> = bill.items.iter().map(of_item).collect();
        dependencies.sort_by(|left, right| left.uri.cmp(&right.uri));
        let lock = self.repository().join(LOCK_FILE);
        if lock.is_file() {
            dependencies.push(Dependency {
                uri: None,
                name: LOCK_FILE.to_owned(),
                digest: Some(("sha256".to_owned(), subject(&lock)?.sha256)),
                notes: Vec::new(),
            });
        }
        dependencies.extend(commit(self.repository()));
        Ok(dependencies)
    }
}

fn subject(path: &Path) -> Result<Subject, BuildError> {
    let bytes = fs::read(path).map_err(BuildError::at(path))?;
    Ok(Subject {
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        sha256: sha256(&bytes),
    })
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the user asked for.
fn parameters(plan: &Plan) -> Vec<(String, serde_json::Value)> {
    let image = &plan.image;
    vec![
        ("project".to_owned(), plan.project.as_str().into()),
        ("environment".to_owned(), plan.environment.as_str().into()),
        ("kernel".to_owned(), image.kernel_package.as_str().into()),
        ("packages".to_owned(), image.packages.clone().into()),
        ("modules".to_owned(), image.modules.clone().into()),
        ("command_line".to_owned(), image.command_line.as_str().into()),
    ]
}

/// The commit of the configuration, when git keeps it. No address: one may have a password in it.
fn commit(repository: &Path) -> Option<Dependency> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(repository)
            .args(arguments)
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--verify", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--", "."])?;
    let modified = !changed.is_empty();
    Some(Dependency {
        uri: None,
        name: "configuration".to_owned(),
        digest: Some(("gitCommit".to_owned(), commit)),
        notes: modified
            .then(|| ("modified".to_owned(), "true".to_owned()))
            .into_iter()
            .collect(),
    })
}

fn items(contents: &Contents, programs: &NodePrograms) -> Result<Vec<Item>, BuildError> {
    let mut items: Vec<Item> = contents
        .packages
        .iter()
        .map(|package| of_package(contents, package))
        .collect();
    let mut crates: BTreeMap<(String, String), Item> = BTreeMap::new();
    for path in [&programs.my_init, &programs.mos_node] {
        let program = of_program(contents, path)?;
        let list = path.with_added_extension(CRATES_ENDING);
        // Programs that somebody else built may come without it.
        let linked: Vec<LinkedCrate> = if list.is_file() { json(&list)? } else { Vec::new() };
        for one in linked {
            let item = crates
                .entry((one.name.clone(), one.version.clone()))
                .or_insert_with(|| of_crate(&one));
            item.linked_into.push(program.name.clone());
        }
        items.push(program);
    }
    items.extend(crates.into_values());
    Ok(items)
}

fn of_package(contents: &Contents, package: &PackageRecord) -> Item {
    let ecosystem = match package.distribution.as_str() {
        "alpine" => Ecosystem::Alpine,
        "" => Ecosystem::Generic,
        _ => Ecosystem::Debian,
    };
    let files = match package.role.as_str() {
        "kernel" => files(contents, "kernel modules"),
        _ => files(contents, &format!("package {}", package.name)),
    };
    Item {
        kind: if package.role == "kernel" {
            ItemKind::Kernel
        } else {
            ItemKind::Package
        },
        name: package.name.clone(),
        version: package.version.clone(),
        purl: purl(ecosystem, &package.name, &package.version, Some(&package.architecture)),
        // Of a kernel from git there is a commit, and no file that has a digest.
        sha256: Some(package.sha256.clone()).filter(|sha256| !sha256.is_empty()),
        licence: package.licence.clone(),
        role: package.role.clone(),
        files,
        linked_into: Vec::new(),
    }
}

fn of_program(contents: &Contents, path: &Path) -> Result<Item, BuildError> {
    let Subject { name, sha256 } = subject(path)?;
    Ok(Item {
        kind: ItemKind::Program,
        version: MOS_VERSION.to_owned(),
        purl: purl(Ecosystem::Generic, &name, MOS_VERSION, None),
        sha256: Some(sha256),
        licence: Some(Licence::of_expression(env!("CARGO_PKG_LICENSE"))),
        role: "program of the node".to_owned(),
        files: files(contents, &format!("component {name}")),
        linked_into: Vec::new(),
        name,
    })
}

fn of_crate(one: &LinkedCrate) -> Item {
    Item {
        kind: ItemKind::Crate,
        name: one.name.clone(),
        version: one.version.clone(),
        purl: purl(Ecosystem::Cargo, &one.name, &one.version, None),
        sha256: one.sha256.clone(),
        licence: one.licence.as_deref().map(Licence::of_expression),
        role: "crate".to_owned(),
        files: Vec::new(),
        linked_into: Vec::new(),
    }
}

fn files(contents: &Contents, part: &str) -> Vec<String> {
    let files = contents.files.iter().filter(|file| file.part == part);
    files.map(|file| file.path.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_of_both_programs_are_there_once() {
        let folder = tempfile::tempdir().unwrap();
        let programs = NodePrograms {
            my_init: folder.path().join("my_init"),
            mos_node: folder.path().join("mos-node"),
        };
        let crates = r#"[{"name":"rustix","version":"1.1.6","licence":"MIT OR Apache-2.0","sha256":"ab"}]"#;
        for path in [&programs.my_init, &programs.mos_node] {
            fs::write(path, "program").unwrap();
            fs::write(path.with_added_extension(CRATES_ENDING), crates).unwrap();
        }
        let items = items(&Contents::default(), &programs).unwrap();
        let names: Vec<&str> = items.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(names, ["my_init", "mos-node", "rustix"]);
        assert_eq!(items[2].linked_into, ["my_init", "mos-node"]);
        assert_eq!(items[2].licence.as_ref().unwrap().expression, "MIT OR Apache-2.0");
        fs::remove_file(programs.my_init.with_added_extension(CRATES_ENDING)).unwrap();
        assert_eq!(
            super::items(&Contents::default(), &programs).unwrap()[2].linked_into,
            ["mos-node"]
        );
    }

    #[test]
    fn a_folder_without_git_has_no_commit() {
        assert_eq!(commit(tempfile::tempdir().unwrap().path()), None);
    }
}
