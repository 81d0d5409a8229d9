//! The stores that a check looks into, and which of their blobs are there.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use mos_store::{Read, Route, RoutedStore};

use super::Finding;
use crate::error::Part;
use crate::flist::Flist;
use crate::table::BlobRef;

/// One store that is looked into.
pub(super) struct Replica {
    /// What it holds when it is one of several.
    route: Option<Route>,
    pub(super) store: Arc<dyn Read>,
}

/// What is known of the copies of blobs, by the blob's number and the replica's.
#[derive(Default)]
pub(super) struct Present {
    findings: BTreeMap<(usize, usize), Finding>,
    /// Stores that cannot say what they have, and are asked no more.
    away: HashSet<usize>,
    away_findings: Vec<Finding>,
}

impl Replica {
    /// The only store.
    pub(super) fn only(store: Arc<dyn Read>) -> Self {
        Self { route: None, store }
    }

    /// One of several.
    pub(super) fn of((route, store): &RoutedStore) -> Self {
        Self {
            route: Some(route.clone()),
            store: store.clone(),
        }
    }

    pub(super) fn holds(&self, name: &str) -> bool {
        self.route.as_ref().is_none_or(|route| route.holds(name))
    }

    /// A finding of this store, which is named when it is not the only one.
    pub(super) fn finding(&self, finding: Finding) -> Finding {
        match &self.route {
            None => finding,
            Some(route) => Finding::Replica {
                store: route.to_string(),
                finding: finding.into(),
            },
        }
    }

    /// Which of the blobs that belong here are missing or have another length, from one request for all; the error when the
    /// store cannot say.
    fn absent(&self, flist: &Flist) -> Result<Vec<(usize, Finding)>, Finding> {
        let named = flist.blobs().iter().map(|blob| (blob, blob.digest.blob_name()));
        let (held, names): (Vec<_>, Vec<_>) = named
            .enumerate()
            .filter(|(_, (_, name))| self.holds(name))
            .map(|(number, (blob, name))| ((number, blob), name))
            .unzip();
        let lengths = self.store.lengths(&names).map_err(|source| {
            self.finding(Finding::Store {
                part: Part::Blobs(names.len()),
                source: source.into(),
            })
        })?;
        let absent = held.into_iter().zip(lengths);
        Ok(absent
            .filter_map(|((number, blob), length)| Some((number, self.finding(absent_blob(blob, length)?))))
            .collect())
    }
}

fn absent_blob(blob: &BlobRef, length: Option<u64>) -> Option<Finding> {
    let part = Part::Blob(blob.digest);
    match length {
        None => Some(Finding::Missing(part)),
        Some(found) if found != blob.length => Some(Finding::Length {
            part,
            expected: blob.length,
            found,
        }),
        Some(_) => None,
    }
}

impl Present {
    /// Asks every store for the lengths of what it holds.
    ///
    /// # Errors
    /// What they said, when none of them can tell.
    pub(super) fn ask(flist: &Flist, replicas: &[Replica]) -> Result<Self, Vec<Finding>> {
        let mut present = Self::default();
        for (at, replica) in replicas.iter().enumerate() {
            match replica.absent(flist) {
                Ok(absent) => {
                    let absent = absent.into_iter().map(|(number, finding)| ((number, at), finding));
                    present.findings.extend(absent);
                }
                Err(finding) => {
                    present.away.insert(at);
                    present.away_findings.push(finding);
                }
            }
        }
        match present.away.len() == replicas.len() {
            true => Err(present.away_findings),
            false => Ok(present),
        }
    }

    /// Whether a copy need not be looked at.
    pub(super) fn is_wrong(&self, blob: usize, replica: usize) -> bool {
        self.away.contains(&replica) || self.findings.contains_key(&(blob, replica))
    }

    pub(super) fn report(&mut self, blob: usize, replica: usize, finding: Finding) {
        self.findings.insert((blob, replica), finding);
    }

    /// Everything: first the stores that are away, then blob by blob.
    pub(super) fn findings(self) -> Vec<Finding> {
        self.away_findings
            .into_iter()
            .chain(self.findings.into_values())
            .collect()
    }
}
