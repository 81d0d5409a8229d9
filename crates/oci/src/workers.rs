//! A few layers at the same time.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::OciError;

/// Runs `one` for each item on a few threads, in order of start; the results are in the order of the items. After the
/// first error nothing new begins, and that error is given back.
pub(crate) fn each<I: Sync, T: Send>(
    items: &[I],
    threads: usize,
    one: impl Fn(&I) -> Result<T, OciError> + Sync,
) -> Result<Vec<T>, OciError> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let done: Mutex<Vec<(usize, Result<T, OciError>)>> = Mutex::default();
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { break };
            let result = one(item);
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            done.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((index, result));
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads.clamp(1, items.len().max(1)) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order() {
        let items: Vec<usize> = (0..100).collect();
        let doubled = each(&items, 4, |item| Ok(item * 2)).unwrap();
        assert_eq!(doubled, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        assert!(each(&[] as &[u8], 4, |_| Ok(())).unwrap().is_empty());
    }

    #[test]
    fn nothing_begins_after_a_failure() {
        let begun = AtomicUsize::new(0);
        let error = each(&[0; 1000], 1, |_| {
            begun.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(OciError::TooManyBlobs { bytes: 0, limit: 0 })
        });
        assert!(error.is_err());
        assert_eq!(begun.into_inner(), 1);
    }
}
