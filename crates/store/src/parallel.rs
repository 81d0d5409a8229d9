//! Many requests at once, a bounded number of them under way.

use crate::StoreError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Requests under way at once to one store: enough to hide a round trip of 50 ms behind a server's 3 ms of work, and few
/// enough that a small server does not call it an attack.
pub(crate) const WIDTH: usize = 16;

/// Does something with every item, at most `width` at a time; the results are in the order of the items.
///
/// What fails with [`StoreError::Unreachable`] is done again as long as others succeed: one lost request of thousands
/// must not cost all of them. The first error is returned when nothing succeeds any more, or at once when trying again
/// cannot help.
pub(crate) fn each<I: Sync, T: Send>(
    items: &[I],
    width: usize,
    work: impl Fn(&I) -> Result<T, StoreError> + Sync,
) -> Result<Vec<T>, StoreError> {
    let mut done: Vec<Option<T>> = items.iter().map(|_| None).collect();
    loop {
        let open: Vec<usize> = (0..items.len()).filter(|at| done[*at].is_none()).collect();
        if open.is_empty() {
            return Ok(done.into_iter().flatten().collect());
        }
        let (results, error) = pass(items, &open, width, &work);
        match error {
            Some(error) if results.is_empty() || !matches!(error, StoreError::Unreachable { .. }) => return Err(error),
            _ => {}
        }
        for (at, result) in results {
            done[at] = Some(result);
        }
    }
}

type Pass<T> = (Vec<(usize, T)>, Option<StoreError>);

/// Tries every open item once; ends early when an error is of the lasting kind, which is then the one returned.
fn pass<I: Sync, T: Send>(
    items: &[I],
    open: &[usize],
    width: usize,
    work: &(impl Fn(&I) -> Result<T, StoreError> + Sync),
) -> Pass<T> {
    let next = AtomicUsize::new(0);
    let shared = Mutex::new((Vec::new(), None));
    let worker = || {
        while let Some(at) = open.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = work(&items[*at]);
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(result) => shared.0.push((*at, result)),
                Err(error) if matches!(error, StoreError::Unreachable { .. }) => {
                    shared.1.get_or_insert(error);
                }
                Err(error) => {
                    next.store(open.len(), Ordering::Relaxed);
                    shared.1 = Some(error);
                }
            }
        }
    };
    match width.min(open.len()) {
        0 | 1 => worker(),
        threads => thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(worker)))),
    }
    shared.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;

    #[test]
    fn results_are_in_order_and_the_width_is_kept() {
        let items: Vec<u32> = (0..100).collect();
        let (under_way, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let doubled = each(&items, 4, |item| {
            most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::yield_now();
            under_way.fetch_sub(1, Ordering::SeqCst);
            Ok(item * 2)
        });
        assert!(doubled.unwrap().into_iter().eq(items.iter().map(|item| item * 2)));
        assert!((1..=4).contains(&most.into_inner()));
    }

    #[test]
    fn one_lost_request_is_made_again_and_an_outage_ends_it() {
        let items: Vec<u32> = (0..50).collect();
        let tries = AtomicUsize::new(0);
        let flaky = |item: &u32| match tries.fetch_add(1, Ordering::SeqCst) % 3 {
            0 => Err(StoreError::unreachable(&Memory::new(), "lost")),
            _ => Ok(*item),
        };
        assert_eq!(each(&items, 3, flaky).unwrap(), items);
        let out = |_: &u32| Err::<(), _>(StoreError::unreachable(&Memory::new(), "gone"));
        assert!(matches!(each(&items, 3, out), Err(StoreError::Unreachable { .. })));
    }

    #[test]
    fn a_lasting_error_stops_the_rest() {
        let tries = AtomicUsize::new(0);
        let error = each(&[0; 1000], 2, |_| {
            tries.fetch_add(1, Ordering::SeqCst);
            Err::<(), _>(StoreError::refused(&Memory::new(), "x", "no"))
        });
        assert!(matches!(error, Err(StoreError::Refused { .. })));
        assert!(tries.into_inner() <= 4);
    }
}
