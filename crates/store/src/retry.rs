//! Trying again what may work later, with growing waits.

use crate::{Listed, Read, StoreError, Write};
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// How often to try, and how long to wait in between: the wait doubles from `first` up to `cap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Wait after the first failure.
    pub first: Duration,
    /// Longest wait.
    pub cap: Duration,
    /// Tries in all, the first one included.
    pub tries: u32,
}

impl Default for Schedule {
    /// Five tries within four seconds of waiting: enough for a server that restarts.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(250),
            cap: Duration::from_secs(30),
            tries: 5,
        }
    }
}

impl Schedule {
    /// The wait after `failed` failed tries, or `None` when that was the last one. `jitter` (0 to 1) shortens the wait
    /// by up to a half, so that a fleet that lost its server does not come back in step.
    pub fn wait(&self, failed: u32, jitter: f64) -> Option<Duration> {
        if failed >= self.tries {
            return None;
        }
        let doublings = failed.saturating_sub(1).min(31);
        let full = self.first.saturating_mul(1 << doublings).min(self.cap);
        Some(full.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0))
    }
}

/// What the observer of a [`Retry`] is told before each wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The store, without secrets.
    pub address: String,
    /// Tries so far.
    pub tries: u32,
    /// How long the wait will be.
    pub wait: Duration,
    /// What the last try said.
    pub reason: String,
}

/// Told before each wait.
pub type Observer = Arc<dyn Fn(&Wait) + Send + Sync>;

/// Tries something again while it is [`StoreError::Unreachable`], and only then.
#[derive(Clone, Default)]
pub(crate) struct Retrier {
    schedule: Schedule,
    observer: Option<Observer>,
}

impl Retrier {
    pub(crate) fn new(schedule: Schedule, observer: Option<Observer>) -> Self {
        Self { schedule, observer }
    }

    /// A try that was itself several tries counts as so many: nested schedules do not multiply.
    pub(crate) fn run<T>(&self, attempt: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut tries = 0;
        loop {
            let (address, reason) = match attempt() {
                Err(StoreError::Unreachable {
                    address,
                    tries: more,
                    reason,
                }) => {
                    tries += more;
                    (address, reason)
                }
                other => return other,
            };
            let Some(wait) = self.schedule.wait(tries, random_fraction()) else {
                return Err(StoreError::Unreachable { address, tries, reason });
            };
            self.tell(Wait {
                address,
                tries,
                wait,
                reason,
            });
            thread::sleep(wait);
        }
    }

    fn tell(&self, wait: Wait) {
        if let Some(observer) = &self.observer {
            observer(&wait);
        }
    }
}

impl fmt::Debug for Retrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Retrier").field(&self.schedule).finish()
    }
}

/// Tries again when the store inside is [`StoreError::Unreachable`], and only then.
///
/// Every operation of a store can be repeated without harm, so all of them are.
#[derive(Clone, Debug)]
pub struct Retry<S> {
    store: S,
    retrier: Retrier,
}

impl<S> Retry<S> {
    /// Wraps a store.
    pub fn new(store: S, schedule: Schedule, observer: Option<Observer>) -> Self {
        let retrier = Retrier::new(schedule, observer);
        Self { store, retrier }
    }

    fn run<T>(&self, attempt: impl Fn(&S) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.retrier.run(|| attempt(&self.store))
    }
}

impl<S: Read> Read for Retry<S> {
    fn get(&self, name: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        self.run(|store| store.get(name, limit))
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.run(|store| store.get_range(name, range.clone()))
    }

    fn length(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.run(|store| store.length(name))
    }

    fn lengths(&self, names: &[String]) -> Result<Vec<Option<u64>>, StoreError> {
        self.run(|store| store.lengths(names))
    }

    fn report_bad(&self, name: &str) -> bool {
        self.store.report_bad(name)
    }

    fn address(&self) -> String {
        self.store.address()
    }
}

impl<S: Write> Write for Retry<S> {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.run(|store| store.put(name, bytes))
    }

    fn holds(&self, name: &str, bytes: &[u8]) -> Result<bool, StoreError> {
        self.run(|store| store.holds(name, bytes))
    }

    fn list_entries(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.run(|store| store.list_entries(prefix))
    }

    fn abort_stale_uploads(&self, older_than: Duration) -> Result<usize, StoreError> {
        self.run(|store| store.abort_stale_uploads(older_than))
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.run(|store| store.delete(name))
    }
}

/// A number from 0 to 1. The standard library's hash keys are random, which is all that spreading waits needs.
pub(crate) fn random_fraction() -> f64 {
    RandomState::new().hash_one(0) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Flaky(AtomicU32);

    impl Read for Flaky {
        fn get(&self, name: &str, _: u64) -> Result<Vec<u8>, StoreError> {
            match self.0.fetch_sub(1, Ordering::Relaxed) {
                0 => Ok(name.into()),
                left => Err(StoreError::unreachable(self, format!("{left} to go"))),
            }
        }

        fn get_range(&self, name: &str, _: Range<u64>) -> Result<Vec<u8>, StoreError> {
            Err(StoreError::not_found(self, name))
        }

        fn length(&self, _: &str) -> Result<Option<u64>, StoreError> {
            Ok(None)
        }

        fn address(&self) -> String {
            "flaky".into()
        }
    }

    const QUICK: Schedule = Schedule {
        first: Duration::from_micros(10),
        cap: Duration::from_micros(20),
        tries: 3,
    };

    #[test]
    fn each_wait_is_told_and_the_try_that_works_counts() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&told);
        let observer: Observer = Arc::new(move |wait| sink.lock().unwrap().push((wait.tries, wait.reason.clone())));
        let store = Retry::new(Flaky(AtomicU32::new(2)), QUICK, Some(observer));
        assert_eq!(store.get("a", 9).unwrap(), b"a");
        assert_eq!(
            *told.lock().unwrap(),
            [(1, "2 to go".to_owned()), (2, "1 to go".to_owned())]
        );
    }

    #[test]
    fn gives_up_after_the_last_try_and_counts_them() {
        let error = Retry::new(Flaky(AtomicU32::new(9)), QUICK, None)
            .get("a", 9)
            .unwrap_err();
        assert_eq!(error.to_string(), "flaky: unreachable after 3 tries: 7 to go");
    }

    #[test]
    fn what_cannot_get_better_is_not_tried_again() {
        let panics: Observer = Arc::new(|wait| panic!("{wait:?}"));
        let error = Retry::new(Flaky(AtomicU32::new(0)), QUICK, Some(panics))
            .get_range("a", 0..1)
            .unwrap_err();
        assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    }

    #[test]
    fn waits_double_up_to_the_cap() {
        let schedule = Schedule {
            first: Duration::from_secs(1),
            cap: Duration::from_secs(5),
            tries: 6,
        };
        let waits: Vec<_> = (1..=6)
            .map(|failed| schedule.wait(failed, 0.0).map(|wait| wait.as_secs()))
            .collect();
        assert_eq!(waits, [Some(1), Some(2), Some(4), Some(5), Some(5), None]);
    }

    proptest! {
        #[test]
        fn jitter_takes_at_most_half(failed in 1..u32::MAX, jitter in -1.0..2.0f64) {
            let schedule = Schedule { tries: u32::MAX, ..Schedule::default() };
            let (full, wait) = (schedule.wait(failed, 0.0).unwrap(), schedule.wait(failed, jitter).unwrap());
            prop_assert!(full / 2 <= wait && wait <= full && full <= schedule.cap);
        }
    }
}
