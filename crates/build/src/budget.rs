//! The budget of an environment's image, and what grew since the last build that kept to it.
//!
//! ```text
//! <cache>/sizes/<repository>-<environment>.json     of the last image within the budget, replaced as a whole
//! ```
//!
//! The record is only there to say what grew: without it, the largest parts are named.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;

use mos_config::Plan;
use mos_store::Digest;
use mos_sys::durable;
use serde::{Deserialize, Serialize};

use crate::builder::Builder;
use crate::contents::Contents;
use crate::error::BuildError;
use crate::image::{BuiltImage, short};
use crate::kernel_part::json;

const FOLDER: &str = "sizes";
/// How many parts are named.
const NAMED: usize = 5;
/// The name of the kernel among the parts.
const KERNEL: &str = "kernel";

/// The sizes of an image, as far as growth is to be told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// Of the inputs.
    build_id: String,
    /// Bytes of the EFI file.
    bytes: u64,
    /// Bytes of each part before compression, and of the kernel.
    parts: BTreeMap<String, u64>,
}

/// An image that is larger than its environment allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverBudget {
    /// The environment.
    pub environment: String,
    /// Bytes of the EFI file.
    pub bytes: u64,
    /// Bytes that it may have.
    pub budget: u64,
    /// What grew since the last image within the budget, before compression, the most first; none when there was no
    /// such image.
    pub grown: Option<Vec<(String, u64)>>,
    /// The largest parts, before compression.
    pub largest: Vec<(String, u64)>,
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let over = self.bytes.saturating_sub(self.budget);
        let (bytes, budget, over) = (Megabytes(self.bytes), Megabytes(self.budget), Megabytes(over));
        writeln!(
            f,
            "the boot image of {} has {bytes}, {over} more than its budget of {budget}",
            self.environment
        )?;
        match &self.grown {
            Some(grown) if grown.is_empty() => writeln!(f, "  no part grew since it was within the budget")?,
            Some(grown) => writeln!(f, "  since it was within the budget, these grew: {}", list(grown, "+"))?,
            None => {}
        }
        write!(
            f,
            "  the largest parts are: {}, before compression",
            list(&self.largest, "")
        )
    }
}

fn list(parts: &[(String, u64)], sign: &str) -> String {
    let one = |(name, bytes): &(String, u64)| format!("{name} {sign}{}", Megabytes(*bytes));
    parts.iter().take(NAMED).map(one).collect::<Vec<_>>().join(", ")
}

/// Bytes as a budget is written: millions, with as many digits as tell small ones apart.
struct Megabytes(u64);

impl fmt::Display for Megabytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (millions, rest) = (self.0 / 1_000_000, self.0 % 1_000_000);
        match millions {
            0 if rest < 1000 => write!(f, "{rest} bytes"),
            _ => write!(f, "{millions}.{:03} MB", rest / 1000),
        }
    }
}

impl Record {
    fn of(image: &BuiltImage, contents: &Contents) -> Self {
        let mut parts = BTreeMap::from([(KERNEL.to_owned(), image.report.kernel_bytes)]);
        for file in &contents.files {
            *parts.entry(file.part.clone()).or_default() += file.bytes;
        }
        Self {
            build_id: image.report.build_id.clone(),
            bytes: image.report.efi_bytes,
            parts,
        }
    }

    /// By how much each part grew, the most first.
    fn grown_since(&self, last: &Self) -> Vec<(String, u64)> {
        let grown = self.parts.iter().map(|(part, bytes)| {
            let before = last.parts.get(part).copied().unwrap_or(0);
            (part.clone(), bytes.saturating_sub(before))
        });
        largest_first(grown)
    }
}

fn largest_first(parts: impl Iterator<Item = (String, u64)>) -> Vec<(String, u64)> {
    let mut parts: Vec<_> = parts.filter(|(_, bytes)| *bytes > 0).collect();
    parts.sort_by(|left, right| (right.1, &left.0).cmp(&(left.1, &right.0)));
    parts
}

impl Builder<'_> {
    /// Compares an image with the budget of its environment, and keeps its sizes when it is within.
    ///
    /// # Errors
    /// [`BuildError::OverBudget`].
    pub fn check_budget(&self, plan: &Plan, image: &BuiltImage) -> Result<(), BuildError> {
        let path = self.size_record(plan);
        // What another version left, or half a disk, is as good as nothing.
        let last: Option<Record> = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let same = |last: &Record| (&last.build_id, last.bytes) == (&image.report.build_id, image.report.efi_bytes);
        let within = plan.image.budget.is_none_or(|budget| image.report.efi_bytes <= budget);
        if within && last.as_ref().is_some_and(same) {
            return Ok(());
        }
        let record = Record::of(image, &json(&image.contents)?);
        if let (false, Some(budget)) = (within, plan.image.budget) {
            return Err(BuildError::OverBudget(Box::new(OverBudget {
                environment: plan.environment.clone(),
                bytes: record.bytes,
                budget,
                grown: last.map(|last| record.grown_since(&last)),
                largest: largest_first(record.parts.into_iter()),
            })));
        }
        let text = serde_json::to_vec(&record).map_err(|error| BuildError::at(&path)(error.into()))?;
        let folder = self.cache().root().join(FOLDER);
        fs::create_dir_all(&folder).map_err(BuildError::at(&folder))?;
        durable::write(&path, &text, 0o644).map_err(BuildError::at(&path))
    }

    fn size_record(&self, plan: &Plan) -> PathBuf {
        let repository = fs::canonicalize(self.repository()).unwrap_or_else(|_| self.repository().to_owned());
        let digest = Digest::of(repository.as_os_str().as_encoded_bytes());
        let name = format!("{}-{}.json", short(&digest), plan.environment);
        self.cache().root().join(FOLDER).join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(parts: &[(&str, u64)]) -> Record {
        Record {
            parts: parts.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect(),
            ..Record::default()
        }
    }

    #[test]
    fn growth_is_named_the_most_first() {
        let last = record(&[("kernel", 10), ("package a", 5), ("package gone", 9)]);
        let now = record(&[("kernel", 11), ("package a", 5), ("package new", 7)]);
        assert_eq!(
            now.grown_since(&last),
            [("package new".to_owned(), 7), ("kernel".to_owned(), 1)]
        );
    }

    #[test]
    fn the_message_says_how_much_and_why() {
        let over = OverBudget {
            environment: "dev".to_owned(),
            bytes: 16_500_000,
            budget: 16_000_000,
            grown: Some(vec![("package bash".to_owned(), 1_234_567), ("kernel".to_owned(), 12)]),
            largest: vec![("kernel".to_owned(), 11_000_000)],
        };
        assert_eq!(
            over.to_string(),
            "the boot image of dev has 16.500 MB, 0.500 MB more than its budget of 16.000 MB\n  \
             since it was within the budget, these grew: package bash +1.234 MB, kernel +12 bytes\n  \
             the largest parts are: kernel 11.000 MB, before compression"
        );
    }
}
