//! Plain blocks that are kept for a while, each fetched and decoded once however many threads want it: the kernel asks
//! for one block in several pieces at the same time.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::block::Hash;

/// Blocks by their key, which is the hash of what they hold.
#[derive(Default)]
pub(crate) struct Cache {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The last used one at the back.
    plain: VecDeque<(Hash, Arc<Vec<u8>>)>,
    /// What some thread is bringing.
    busy: HashSet<Hash>,
}

/// The duty to bring a block. Dropped, also by an error or a panic, it passes to the next thread that wants the block.
struct Duty<'c> {
    cache: &'c Cache,
    key: Hash,
}

/// Blocks that are kept: 16 MiB.
const BLOCKS: usize = 32;

impl Cache {
    /// The block with this key; brings it when it is not here and no other thread is bringing it.
    pub(crate) fn get<E>(&self, key: Hash, bring: impl FnOnce() -> Result<Vec<u8>, E>) -> Result<Arc<Vec<u8>>, E> {
        let mut state = self.lock();
        loop {
            if let Some(plain) = state.touch(&key) {
                return Ok(plain);
            }
            if state.busy.insert(key) {
                break;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        let _duty = Duty { cache: self, key };
        let plain = Arc::new(bring()?);
        self.lock().insert(key, plain.clone());
        Ok(plain)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn touch(&mut self, key: &Hash) -> Option<Arc<Vec<u8>>> {
        let position = self.plain.iter().position(|(other, _)| other == key)?;
        let entry = self.plain.remove(position)?;
        let plain = entry.1.clone();
        self.plain.push_back(entry);
        Some(plain)
    }

    fn insert(&mut self, key: Hash, plain: Arc<Vec<u8>>) {
        self.plain.push_back((key, plain));
        if self.plain.len() > BLOCKS {
            self.plain.pop_front();
        }
    }
}

impl Drop for Duty<'_> {
    fn drop(&mut self) {
        self.cache.lock().busy.remove(&self.key);
        self.cache.changed.notify_all();
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cache({} blocks)", self.lock().plain.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn many_threads_bring_a_block_once() {
        let (cache, brought, start) = (Cache::default(), AtomicUsize::new(0), Barrier::new(8));
        let bring = || {
            brought.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(20));
            Ok::<_, ()>(vec![7])
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    assert_eq!(*cache.get([1; 32], bring).unwrap(), [7]);
                });
            }
        });
        assert_eq!(brought.into_inner(), 1);
    }

    #[test]
    fn who_fails_leaves_the_block_to_the_next() {
        let cache = Cache::default();
        assert_eq!(cache.get([1; 32], || Err("away")), Err("away"));
        assert_eq!(*cache.get([1; 32], || Ok::<_, ()>(vec![1])).unwrap(), [1]);
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let cache = Cache::default();
        let blocks = BLOCKS as u8;
        let get = |key: u8| *cache.get([key; 32], || Ok::<_, ()>(vec![1])).unwrap() == [1];
        assert!((0..blocks).all(get) && get(0) && get(blocks));
        let kept = |key: u8| cache.get([key; 32], || Err(())).is_ok();
        assert!(kept(0) && !kept(1) && kept(2) && kept(blocks));
    }
}
