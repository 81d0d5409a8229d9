//! Work on many modules by as many threads as there are processors: what takes the time is decompressing them.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What `work` makes of each item and its number, in the order of the items.
///
/// # Errors
/// That of an item; work on the others may have been done or not.
pub(crate) fn map<T, R, E>(items: &[T], work: impl Fn(usize, &T) -> Result<R, E> + Sync) -> Result<Vec<R>, E>
where
    T: Sync,
    R: Send,
    E: Send,
{
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        while let Some((number, item)) = take(&next, items) {
            done.push((number, work(number, item)?));
        }
        Ok(done)
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = processors.min(items.len());
    let mut all: Vec<(usize, R)> = Vec::with_capacity(items.len());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        for worker in workers {
            all.extend(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(())
    })?;
    all.sort_by_key(|(number, _)| *number);
    Ok(all.into_iter().map(|(_, result)| result).collect())
}

fn take<'i, T>(next: &AtomicUsize, items: &'i [T]) -> Option<(usize, &'i T)> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    Some((number, items.get(number)?))
}

#[cfg(test)]
mod tests {
    use super::map;

    #[test]
    fn results_are_in_order_and_an_error_ends_it() {
        let items: Vec<usize> = (0..1000).collect();
        let doubled = map(&items, |number, item| Ok::<_, ()>(number + item)).unwrap();
        assert!(doubled.iter().enumerate().all(|(number, sum)| *sum == 2 * number));
        let failed = map(&items, |_, item| if *item == 500 { Err(*item) } else { Ok(()) });
        assert_eq!(failed, Err(500));
        assert_eq!(map(&[] as &[u8], |_, _| Ok::<_, ()>(())), Ok(Vec::new()));
    }
}
