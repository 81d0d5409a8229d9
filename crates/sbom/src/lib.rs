//! What an image is made of, for others' tools: SPDX 2.3 and CycloneDX 1.6, both JSON, and SLSA provenance 1.0.
//!
//! Pure: a [`Bill`] goes in, JSON comes out, and the same bill gives the same bytes. No document has a time of its own:
//! the one in it is that of the inputs, and identifiers are made from the digest of the image.
//!
//! Licences are those that packages state in a form that machines read; where one states none, nothing is guessed.

mod cyclonedx;
mod licence;
mod provenance;
mod purl;
mod spdx;

pub use cyclonedx::cyclonedx;
pub use licence::Licence;
pub use provenance::{Dependency, Provenance, Subject, provenance};
pub use purl::{Ecosystem, purl};
pub use spdx::spdx;

/// An image and everything in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bill {
    /// Of the image: project and environment.
    pub name: String,
    /// The build id.
    pub version: String,
    /// The file that the bill is about.
    pub file: String,
    /// SHA-256 of that file, 64 hexadecimal digits.
    pub sha256: String,
    /// The time of the inputs, in UTC: `2026-11-21T06:00:00Z`.
    pub created: String,
    /// The version of MOS that made it.
    pub mos: String,
    /// What is in it.
    pub items: Vec<Item>,
}

/// What sort of thing an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemKind {
    /// A package of a distribution.
    Package,
    /// The package of the kernel.
    Kernel,
    /// A program of ours, or a component.
    Program,
    /// A crate that is linked into programs.
    Crate,
}

/// A part of an image that somebody made and named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: ItemKind,
    /// As its makers name it.
    pub name: String,
    /// The same.
    pub version: String,
    /// Its package URL.
    pub purl: String,
    /// SHA-256 of its package or archive, or of the program itself.
    pub sha256: Option<String>,
    /// As it is declared.
    pub licence: Option<Licence>,
    /// What for: `base`, `kernel`, `stub`, …
    pub role: String,
    /// Paths in the image, without a leading `/`.
    pub files: Vec<String>,
    /// Names of the programs that it is linked into; in the image by itself when there are none.
    pub linked_into: Vec<String>,
}

impl Bill {
    /// A UUID that is made from the image's digest, as version 8 of RFC 9562, section 5.8, lets one.
    fn uuid(&self) -> String {
        let mut digits: Vec<char> = self.sha256.chars().chain(std::iter::repeat('0')).take(32).collect();
        digits[12] = '8';
        digits[16] = 'a';
        let part = |from: usize, to: usize| digits[from..to].iter().collect::<String>();
        format!(
            "{}-{}-{}-{}-{}",
            part(0, 8),
            part(8, 12),
            part(12, 16),
            part(16, 20),
            part(20, 32)
        )
    }

    /// The items in one order, each with an identifier of letters, digits, `.` and `-` that no other has.
    fn identified(&self) -> Vec<(String, &Item)> {
        let mut items: Vec<&Item> = self.items.iter().collect();
        items.sort_by(|left, right| {
            (left.kind, &left.name, &left.version).cmp(&(right.kind, &right.name, &right.version))
        });
        let mut identified: Vec<(String, &Item)> = Vec::new();
        for item in items {
            let name = identifier(&format!("{}-{}-{}", kind_name(item.kind), item.name, item.version));
            let taken = |name: &str| identified.iter().any(|(other, _)| other == name);
            let free = (1..).map(|number| match number {
                1 => name.clone(),
                number => format!("{name}-{number}"),
            });
            let name = free.into_iter().find(|name| !taken(name)).unwrap_or(name);
            identified.push((name, item));
        }
        identified
    }
}

fn kind_name(kind: ItemKind) -> &'static str {
    match kind {
        ItemKind::Package => "package",
        ItemKind::Kernel => "kernel",
        ItemKind::Program => "program",
        ItemKind::Crate => "crate",
    }
}

/// Only what both formats allow in identifiers (SPDX 2.3, section 7.2).
fn identifier(text: &str) -> String {
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') {
            c
        } else {
            '-'
        }
    };
    text.chars().map(allowed).collect()
}

/// JSON for files: indented, with a line end.
fn text(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> Bill {
        let item = |kind, name: &str, version: &str, ecosystem| Item {
            kind,
            name: name.to_owned(),
            version: version.to_owned(),
            purl: purl(ecosystem, name, version, None),
            sha256: Some("1".repeat(64)),
            licence: None,
            role: "base".to_owned(),
            files: Vec::new(),
            linked_into: Vec::new(),
        };
        let busybox = Item {
            licence: Some(Licence::of_expression("GPL-2.0-only AND Odd-Licence")),
            files: vec!["bin/busybox".to_owned()],
            ..item(ItemKind::Package, "busybox", "1:1.35.0-4+b7", Ecosystem::Debian)
        };
        let program = Item {
            licence: Some(Licence::of_expression("Apache-2.0")),
            ..item(ItemKind::Program, "my_init", "0.1.0", Ecosystem::Generic)
        };
        let library = Item {
            linked_into: vec!["my_init".to_owned()],
            ..item(ItemKind::Crate, "rustix", "1.1.0", Ecosystem::Cargo)
        };
        Bill {
            name: "lab dev".to_owned(),
            version: "0123456789ab".to_owned(),
            file: "vmlinuz.efi".to_owned(),
            sha256: "2".repeat(64),
            created: "2026-11-21T06:00:00Z".to_owned(),
            mos: "0.1.0".to_owned(),
            items: vec![library, program, busybox],
        }
    }

    #[test]
    fn identifiers_are_allowed_and_unique() {
        let mut bill = sample();
        bill.items.extend(sample().items);
        let names: Vec<String> = bill.identified().into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names[..2],
            ["package-busybox-1-1.35.0-4-b7", "package-busybox-1-1.35.0-4-b7-2"]
        );
        assert_eq!(bill.uuid(), "22222222-2222-8222-a222-222222222222");
    }
}
