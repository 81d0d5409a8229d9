//! Packages, modules, firmware and kernel options of two images, from their records.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::contents::Contents;
use crate::inside::Inside;

/// A thing with a name that came, went or changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ItemChange {
    /// Of the package, the module or the firmware.
    pub name: String,
    /// Its version or size in the first image; none when it has none.
    pub before: Option<String>,
    /// In the second.
    pub after: Option<String>,
    /// What it is for, or why it is there.
    pub why: String,
}

/// An option of the kernel's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OptionChange {
    /// `CONFIG_…`.
    pub name: String,
    /// `y`, `m`, `n`, a value, or `absent`.
    pub before: String,
    /// The same in the second image.
    pub after: String,
}

/// What an option has that a configuration does not mention.
const ABSENT: &str = "absent";

/// The state of each thing with what is said about it.
type Items = BTreeMap<String, (String, String)>;

pub(super) fn packages(before: &Inside, after: &Inside) -> Vec<ItemChange> {
    changes(before, after, |contents| {
        let package = contents.packages.iter();
        package
            .map(|it| (it.name.clone(), (it.version.clone(), it.role.clone())))
            .collect()
    })
}

pub(super) fn modules(before: &Inside, after: &Inside) -> Vec<ItemChange> {
    changes(before, after, |contents| {
        let modules = contents.modules.iter();
        modules
            .map(|it| (it.name.clone(), (bytes(it.bytes), it.reason.clone())))
            .collect()
    })
}

pub(super) fn firmware(before: &Inside, after: &Inside) -> Vec<ItemChange> {
    changes(before, after, |contents| {
        let files = contents.firmware.iter();
        let why = |wanted_by: &[String], source: &str| format!("of {source}, for {}", wanted_by.join(", "));
        files
            .map(|it| (it.path.clone(), (bytes(it.bytes), why(&it.wanted_by, &it.source))))
            .collect()
    })
}

fn bytes(count: u64) -> String {
    format!("{count} bytes")
}

/// Nothing when one of the records is missing: what is in only one of them cannot be told.
fn changes(before: &Inside, after: &Inside, items: impl Fn(&Contents) -> Items) -> Vec<ItemChange> {
    let (Some(before), Some(after)) = (&before.contents, &after.contents) else {
        return Vec::new();
    };
    let (before, after) = (items(before), items(after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let change = |name: &String| {
        let (old, new) = (before.get(name), after.get(name));
        let differs = old.map(|(state, _)| state) != new.map(|(state, _)| state);
        differs.then(|| ItemChange {
            name: name.clone(),
            before: old.map(|(state, _)| state.clone()),
            after: new.map(|(state, _)| state.clone()),
            why: new.or(old).map(|(_, why)| why.clone()).unwrap_or_default(),
        })
    };
    names.into_iter().filter_map(change).collect()
}

pub(super) fn options(before: &Inside, after: &Inside) -> Vec<OptionChange> {
    let (Some(before), Some(after)) = (&before.config, &after.config) else {
        return Vec::new();
    };
    let (before, after) = (parse(before), parse(after));
    let names: BTreeSet<&&str> = before.keys().chain(after.keys()).collect();
    let changes = names.into_iter().filter_map(|name| {
        let of = |options: &BTreeMap<&str, &str>| (*options.get(*name).unwrap_or(&ABSENT)).to_owned();
        let (before, after) = (of(&before), of(&after));
        (before != after).then(|| OptionChange {
            name: (**name).to_owned(),
            before,
            after,
        })
    });
    changes.collect()
}

/// A configuration as the kernel's own tools write it (`Documentation/kbuild/kconfig.rst`).
fn parse(text: &str) -> BTreeMap<&str, &str> {
    let lines = text.lines().filter_map(|line| match line.strip_prefix("# ") {
        Some(rest) => Some((rest.strip_suffix(" is not set")?, "n")),
        None => line.split_once('='),
    });
    lines.filter(|(name, _)| name.starts_with("CONFIG_")).collect()
}
