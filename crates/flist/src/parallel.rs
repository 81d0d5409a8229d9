//! The same work on many things, on a few threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};

/// As many threads as there are processors.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Does `work` on every item, on `threads` threads, while this one makes the items. Only a few items wait at a time.
///
/// # Errors
/// The first error of `items` or `work`; what others have begun is still finished.
pub(crate) fn for_each<T: Send, E: Send>(
    threads: usize,
    mut items: impl Iterator<Item = Result<T, E>>,
    work: impl Fn(T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    if threads <= 1 {
        return items.try_for_each(|item| work(item?));
    }
    let (sender, queue) = sync_channel(threads);
    let (queue, failed, stop) = (Mutex::new(queue), Mutex::new(None), AtomicBool::new(false));
    let fail = |error| {
        stop.store(true, Ordering::Relaxed);
        failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = next(&queue) {
                    // After an error the queue is only emptied, so that nobody waits for room in it.
                    if !stop.load(Ordering::Relaxed) {
                        work(item).unwrap_or_else(fail);
                    }
                }
            });
        }
        for item in items.take_while(|_| !stop.load(Ordering::Relaxed)) {
            match item {
                // The receiver lives as long as this function.
                Ok(item) => drop(sender.send(item)),
                Err(error) => fail(error),
            }
        }
        drop(sender);
    });
    failed
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .map_or(Ok(()), Err)
}

fn next<T>(queue: &Mutex<Receiver<T>>) -> Option<T> {
    // The lock is held while waiting, never while working.
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn everything_is_done_once_with_any_number_of_threads() {
        for threads in [0, 1, 2, 7] {
            let sum = AtomicU64::new(0);
            let items = (1..=1000_u64).map(Ok::<_, ()>);
            let done = for_each(threads, items, |item| {
                sum.fetch_add(item, Ordering::Relaxed);
                Ok(())
            });
            assert_eq!((done, sum.into_inner()), (Ok(()), 500_500));
        }
    }

    #[test]
    fn the_first_error_stops_the_rest() {
        for threads in [1, 3] {
            let begun = AtomicU64::new(0);
            let work = |item: u64| {
                begun.fetch_add(1, Ordering::Relaxed);
                if item == 10 { Err("ten") } else { Ok(()) }
            };
            assert_eq!(for_each(threads, (0..1_000_000).map(Ok), work), Err("ten"));
            assert!(begun.into_inner() < 1_000_000);
            let mut items = (0..5).map(|item| if item == 3 { Err("three") } else { Ok(item) });
            assert_eq!(for_each(threads, &mut items, |_| Ok(())), Err("three"));
        }
    }
}
