//! The same work on many things, on a few threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};

/// Batches that wait for each thread: enough that threads rarely wait for each other.
const WAITING: usize = 4;
/// Items in a batch at most.
const BATCH_ITEMS: usize = 16;
/// A batch is full once its items weigh as much: about the bytes of a frame, so that what lies in one frame is mostly
/// the work of one thread.
const BATCH_WEIGHT: u64 = 256 << 10;

/// As many threads as there are processors.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Does `work` on every item, on `threads` threads, while this one makes the items. Light items that follow each other go
/// to one thread together; only a few wait at a time.
///
/// # Errors
/// The first error of `items` or `work`; what others have begun is still finished.
pub(crate) fn for_each<T: Send, E: Send>(
    threads: usize,
    mut items: impl Iterator<Item = Result<T, E>>,
    weight: impl Fn(&T) -> u64,
    work: impl Fn(T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    if threads <= 1 {
        return items.try_for_each(|item| work(item?));
    }
    let (sender, queue) = sync_channel::<Vec<T>>(threads * WAITING);
    let (queue, failed, stop) = (Mutex::new(queue), Mutex::new(None), AtomicBool::new(false));
    let fail = |error| {
        stop.store(true, Ordering::Relaxed);
        failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
    };
    let stopped = || stop.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(batch) = next(&queue) {
                    // After an error the queue is only emptied, so that nobody waits for room in it.
                    let mut left = batch.into_iter().take_while(|_| !stopped());
                    left.try_for_each(&work).unwrap_or_else(fail);
                }
            });
        }
        while !stopped() {
            let batch = batch(&mut items, &weight).unwrap_or_else(|error| {
                fail(error);
                Vec::new()
            });
            // The receiver lives as long as this function, so sending fails never.
            if batch.is_empty() || sender.send(batch).is_err() {
                break;
            }
        }
        drop(sender);
    });
    failed
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .map_or(Ok(()), Err)
}

/// The next items, until they are many or heavy; none at the end.
fn batch<T, E>(items: &mut impl Iterator<Item = Result<T, E>>, weight: &impl Fn(&T) -> u64) -> Result<Vec<T>, E> {
    let mut batch = Vec::new();
    let mut heavy = 0_u64;
    while batch.len() < BATCH_ITEMS && heavy < BATCH_WEIGHT {
        let Some(item) = items.next() else { break };
        let item = item?;
        heavy = heavy.saturating_add(weight(&item));
        batch.push(item);
    }
    Ok(batch)
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
            let weight = |item: &u64| item * 1000;
            let done = for_each(threads, items, weight, |item| {
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
            assert_eq!(
                for_each(threads, (0..1_000_000).map(Ok), |_| u64::MAX, work),
                Err("ten")
            );
            assert!(begun.into_inner() < 1_000_000);
            let mut items = (0..5).map(|item| if item == 3 { Err("three") } else { Ok(item) });
            assert_eq!(for_each(threads, &mut items, |_| 0, |_| Ok(())), Err("three"));
        }
    }
}
