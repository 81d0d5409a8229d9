//! The sections of two EFI files, and whatever else is in the files.

use std::collections::BTreeSet;

use serde::Serialize;

use super::ImageDiff;
use crate::inside::Inside;

/// A section that came, went or changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SectionChange {
    /// `.initrd`, `.linux`, …
    pub name: String,
    /// Bytes in the first file; none when it has no such section.
    pub before: Option<u64>,
    /// Bytes in the second.
    pub after: Option<u64>,
    /// What is behind it.
    pub why: String,
}

/// The package that brings the stub's own sections.
const STUB_PACKAGE: &str = crate::packages::STUB_PACKAGE;

pub(super) fn compare(before: &Inside, after: &Inside, diff: &ImageDiff) -> Vec<SectionChange> {
    let names: BTreeSet<&String> = before.sections.keys().chain(after.sections.keys()).collect();
    let change = |name: &String| {
        let (old, new) = (before.sections.get(name), after.sections.get(name));
        let bytes = |section: Option<&Vec<u8>>| section.map(|content| content.len() as u64);
        (old != new).then(|| SectionChange {
            name: name.clone(),
            before: bytes(old),
            after: bytes(new),
            why: why(name, diff),
        })
    };
    names.into_iter().filter_map(change).collect()
}

fn why(name: &str, diff: &ImageDiff) -> String {
    match name {
        ".cmdline" => "the command line".to_owned(),
        ".osrel" => "the build id, which stands for all inputs".to_owned(),
        ".uname" => "the kernel's version".to_owned(),
        ".initrd" => initramfs(diff).to_owned(),
        ".linux" => match &diff.kernel {
            Some(_) => "another version of the kernel".to_owned(),
            None => "another build of the same version of the kernel".to_owned(),
        },
        _ => match diff.packages.iter().find(|package| package.name == STUB_PACKAGE) {
            Some(stub) => {
                let version = |version: &Option<String>| version.clone().unwrap_or("none".to_owned());
                format!("{STUB_PACKAGE} {} -> {}", version(&stub.before), version(&stub.after))
            }
            None => "another UEFI stub".to_owned(),
        },
    }
}

fn initramfs(diff: &ImageDiff) -> &'static str {
    if diff.files.is_empty() {
        "the same files, compressed or put in order in another way"
    } else {
        "its files"
    }
}

/// What is behind a difference that is in no section.
pub(super) fn rest(before: &Inside, after: &Inside, diff: &ImageDiff) -> Option<String> {
    if diff.identical || !diff.sections.is_empty() {
        return None;
    }
    let bare = before.sections.is_empty() || after.sections.is_empty();
    Some(match (bare, &diff.signers) {
        (true, _) => format!("the initramfs: {}", initramfs(diff)),
        (false, Some(_)) => "the signature".to_owned(),
        (false, None) => "headers or bytes outside all sections".to_owned(),
    })
}
