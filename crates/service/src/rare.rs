//! Parts that most service files do not have.

use std::fmt;
use std::ops::Deref;

/// A part that takes no more room than a pointer where a service file says nothing of it: a node has a thousand services,
/// and each is in memory for as long as the node runs.
#[derive(Clone, PartialEq, Eq)]
pub struct Rare<T>(Option<Box<T>>);

/// A part of which there is one that says nothing.
pub trait Silent: Sized + PartialEq + 'static {
    /// That one.
    const SILENT: &'static Self;
}

impl<T: Silent> From<T> for Rare<T> {
    fn from(part: T) -> Self {
        // Only so are two that say nothing equal.
        Self((part != *T::SILENT).then(|| Box::new(part)))
    }
}

impl<T: Silent> Deref for Rare<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::SILENT)
    }
}

impl<T> Default for Rare<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Silent + fmt::Debug> fmt::Debug for Rare<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dependencies, Guards, Limits, Resources, Security, Service};

    #[test]
    fn what_says_nothing_is_the_default_and_takes_no_room() {
        assert_eq!(Dependencies::SILENT, &Dependencies::default());
        assert_eq!(Guards::SILENT, &Guards::default());
        assert_eq!(Limits::SILENT, &Limits::default());
        assert_eq!(Resources::SILENT, &Resources::default());
        assert_eq!(Security::SILENT, &Security::default());
        assert_eq!(Rare::from(Resources::default()), Rare::default());
        assert_eq!(size_of::<Rare<Resources>>(), size_of::<usize>());
        let part = Resources {
            tasks_max: Some(7),
            ..Resources::default()
        };
        assert_eq!(*Rare::from(part.clone()), part);
    }

    #[test]
    fn a_thousand_services_take_less_than_a_megabyte_before_they_say_anything() {
        // Of which 64-bit processors have half a kilobyte; whoever adds a part that is rare makes it `Rare`, or a `Box`.
        assert!(size_of::<Service>() <= 512, "{}", size_of::<Service>());
    }
}
