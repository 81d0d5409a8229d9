//! Removing old images. The plan is pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use jiff::{SignedDuration, Timestamp};
use mos_store::Listed;

use crate::catalog::{Catalog, Indexed};
use crate::entry::Image;
use crate::error::CatalogError;

/// An entry without an image that is younger than this may belong to an upload that still runs.
const GRACE: SignedDuration = SignedDuration::from_hours(24);

/// What a clean-up would remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrunePlan {
    /// Images that stay.
    pub keep: Vec<Image>,
    /// Images that go, with their entries.
    pub delete: Vec<Image>,
    /// Entries of images that are not there.
    pub orphans: Vec<String>,
}

impl PrunePlan {
    /// Keeps the newest images of each environment, and those of which nobody knows how old they are.
    fn new(images: Vec<Image>, newest: NonZeroUsize) -> Self {
        let mut environments: BTreeMap<Option<String>, Vec<Image>> = BTreeMap::new();
        let (dated, mut keep): (Vec<_>, Vec<_>) = images.into_iter().partition(|image| image.uploaded.is_some());
        for image in dated {
            environments.entry(image.environment.clone()).or_default().push(image);
        }
        let mut delete = Vec::new();
        for mut images in environments.into_values() {
            images.sort_by_key(|image| Reverse((image.uploaded, image.name.clone())));
            delete.extend(images.split_off(newest.get().min(images.len())));
            keep.append(&mut images);
        }
        Self {
            keep,
            delete,
            orphans: Vec::new(),
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.delete.is_empty() && self.orphans.is_empty()
    }
}

impl Catalog<'_> {
    /// Finds out what goes when only the `newest` images of each environment stay.
    ///
    /// # Errors
    /// As the store finds them.
    pub fn plan_prune(&self, newest: NonZeroUsize, now: Timestamp) -> Result<PrunePlan, CatalogError> {
        let listing = self.list()?;
        let is_old = |entry: &Listed| {
            let modified = entry.modified.and_then(|time| Timestamp::try_from(time).ok());
            modified.is_some_and(|time| now.duration_since(time) > GRACE)
        };
        let is_orphan = |entry: &&Listed| is_old(entry) && !listing.images.iter().any(|it| it.name == entry.name);
        let orphans = listing.entries.iter().filter(is_orphan);
        Ok(PrunePlan {
            orphans: orphans.map(|entry| entry.name.clone()).collect(),
            ..PrunePlan::new(self.images_of(&listing)?, newest)
        })
    }

    /// Does what was planned. The index loses the images before they go, so that no reader is sent to one that is gone;
    /// killed half-way, the next clean-up goes on.
    ///
    /// # Errors
    /// As the store finds them; [`CatalogError::Busy`].
    pub fn prune(&self, plan: &PrunePlan, now: Timestamp) -> Result<Indexed, CatalogError> {
        let goes = |image: &Image| plan.delete.iter().any(|gone| gone.name == image.name);
        let mut stay = self.images()?;
        stay.retain(|image| !goes(image));
        self.write_index(&stay, now)?;
        for image in &plan.delete {
            self.store().delete(&self.name(&image.name))?;
            self.store().delete(&self.entry_name(&image.name))?;
        }
        for orphan in &plan.orphans {
            self.store().delete(&self.entry_name(orphan))?;
        }
        self.reindex(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn image(name: &str, environment: Option<&str>, seconds: Option<i64>) -> Image {
        let mut image = Image::new(name, 1, None, None);
        image.environment = environment.map(str::to_owned);
        image.uploaded = seconds.map(|seconds| Timestamp::from_second(seconds).unwrap());
        image
    }

    fn names(images: &[Image]) -> Vec<&str> {
        images.iter().map(|image| image.name.as_str()).collect()
    }

    #[test]
    fn the_newest_of_each_environment_stay_and_so_does_what_has_no_date() {
        let images = vec![
            image("a.efi", Some("dev"), Some(1)),
            image("b.efi", Some("dev"), Some(3)),
            image("c.efi", Some("dev"), Some(2)),
            image("d.efi", Some("production"), Some(0)),
            image("e.efi", None, Some(5)),
            image("f.efi", None, Some(6)),
            image("g.efi", None, None),
        ];
        let plan = PrunePlan::new(images, NonZeroUsize::MIN);
        assert_eq!(names(&plan.keep), ["g.efi", "f.efi", "b.efi", "d.efi"]);
        assert_eq!(names(&plan.delete), ["e.efi", "c.efi", "a.efi"]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_environment_has_too_many(times in proptest::collection::vec((0u8..3, proptest::option::of(0i64..9)), 0..20), newest in 1usize..5) {
            let images: Vec<Image> = times.iter().enumerate().map(|(number, (environment, time))| {
                image(&format!("{number}.efi"), Some(&environment.to_string()), *time)
            }).collect();
            let plan = PrunePlan::new(images.clone(), NonZeroUsize::new(newest).unwrap());
            prop_assert_eq!(plan.keep.len() + plan.delete.len(), images.len());
            for gone in &plan.delete {
                let newer = |kept: &&Image| kept.environment == gone.environment && kept.uploaded >= gone.uploaded;
                prop_assert_eq!(plan.keep.iter().filter(newer).count(), newest);
            }
        }
    }
}
