//! Decoded frames that are kept for a while, each fetched and decoded once however many threads want it.
//!
//! A frame that was fetched along with another is kept as it came and decoded by whoever wants it first, or by a thread
//! that would otherwise wait for another frame: one request brings work for every thread. What was used longest ago goes first when there is too much.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Frames by their index, up to a number of bytes.
#[derive(Debug)]
pub(crate) struct Cache {
    limit: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    slots: HashMap<u32, Slot>,
    /// Slots that hold bytes, by when they were last used.
    uses: BTreeMap<u64, u32>,
    /// Slots that wait to be decoded.
    stored: BTreeSet<u32>,
    clock: u64,
    bytes: usize,
}

#[derive(Debug)]
enum Slot {
    /// Somebody fetches or decodes it.
    Busy,
    /// Fetched along; when it was put here.
    Stored(u64, Arc<Vec<u8>>),
    /// Decoded; when it was last used.
    Plain(u64, Arc<Vec<u8>>),
}

/// What to do about a frame.
pub(crate) enum Claim {
    /// Use it.
    Plain(Arc<Vec<u8>>),
    /// Decode it. When it is another frame than the one that was asked for, ask again afterwards.
    Stored(Arc<Vec<u8>>, Ticket),
    /// Fetch it and those behind it, all of which are the caller's now. The first is the one that was asked for.
    Fetch(Vec<Ticket>),
}

/// The duty to bring one frame. Dropped unfulfilled, it passes to the next who asks.
#[derive(Debug)]
pub(crate) struct Ticket {
    cache: Arc<Cache>,
    frame: u32,
    done: bool,
}

impl Cache {
    /// An empty cache that keeps about `limit` bytes, and one frame at least.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Asks for a frame; decodes those behind it or waits while another thread brings it. `along` says which frames to fetch with it, given a
    /// test for those that are here or on their way.
    pub(crate) fn claim(self: &Arc<Self>, frame: u32, along: impl FnOnce(&dyn Fn(u32) -> bool) -> Vec<u32>) -> Claim {
        let mut state = self.lock();
        loop {
            match state.slots.get(&frame) {
                Some(Slot::Busy) => {
                    let next = state.stored.range(frame..).next().copied();
                    if let Some(next) = next {
                        let stored = state.take(next);
                        return Claim::Stored(stored, self.ticket(&mut state, next));
                    }
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Some(Slot::Plain(..)) => return Claim::Plain(state.touch(frame)),
                Some(Slot::Stored(..)) => {
                    let stored = state.take(frame);
                    return Claim::Stored(stored, self.ticket(&mut state, frame));
                }
                None => {
                    let more = along(&|other| other == frame || state.slots.contains_key(&other));
                    let all = std::iter::once(frame).chain(more);
                    return Claim::Fetch(all.map(|frame| self.ticket(&mut state, frame)).collect());
                }
            }
        }
    }

    /// Forgets the frames that are here and of which this is true.
    pub(crate) fn forget(&self, which: impl Fn(u32) -> bool) {
        let mut state = self.lock();
        let here: Vec<u32> = state.uses.values().copied().filter(|frame| which(*frame)).collect();
        here.into_iter().for_each(|frame| drop(state.take(frame)));
    }

    fn ticket(self: &Arc<Self>, state: &mut State, frame: u32) -> Ticket {
        state.slots.insert(frame, Slot::Busy);
        Ticket {
            cache: self.clone(),
            frame,
            done: false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; and chunks are checked on use, whatever is kept here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Which frame.
    pub(crate) fn frame(&self) -> u32 {
        self.frame
    }

    /// Hands in the plain bytes.
    pub(crate) fn plain(self, bytes: Arc<Vec<u8>>) {
        self.fulfil(bytes, Slot::Plain);
    }

    /// Hands in the bytes as they came, to be decoded by who wants them.
    pub(crate) fn stored(self, bytes: Vec<u8>) {
        self.fulfil(Arc::new(bytes), Slot::Stored);
    }

    fn fulfil(mut self, bytes: Arc<Vec<u8>>, slot: fn(u64, Arc<Vec<u8>>) -> Slot) {
        self.done = true;
        let mut state = self.cache.lock();
        state.bytes += bytes.len();
        let now = state.tick(self.frame);
        let slot = slot(now, bytes);
        if let Slot::Stored(..) = slot {
            state.stored.insert(self.frame);
        }
        state.slots.insert(self.frame, slot);
        state.shrink(self.cache.limit);
        self.cache.changed.notify_all();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.done {
            self.cache.lock().slots.remove(&self.frame);
            self.cache.changed.notify_all();
        }
    }
}

impl State {
    fn tick(&mut self, frame: u32) -> u64 {
        self.clock += 1;
        self.uses.insert(self.clock, frame);
        self.clock
    }

    /// The plain bytes of a frame that is here, now used last.
    fn touch(&mut self, frame: u32) -> Arc<Vec<u8>> {
        let bytes = self.take(frame);
        self.bytes += bytes.len();
        let now = self.tick(frame);
        self.slots.insert(frame, Slot::Plain(now, bytes.clone()));
        bytes
    }

    /// Takes a frame's bytes out; nothing when it has none.
    fn take(&mut self, frame: u32) -> Arc<Vec<u8>> {
        match self.slots.remove(&frame) {
            Some(Slot::Stored(used, bytes) | Slot::Plain(used, bytes)) => {
                self.uses.remove(&used);
                self.stored.remove(&frame);
                self.bytes -= bytes.len();
                bytes
            }
            Some(Slot::Busy) | None => Arc::default(),
        }
    }

    fn shrink(&mut self, limit: usize) {
        while self.bytes > limit && self.uses.len() > 1 {
            let Some((_, oldest)) = self.uses.pop_first() else {
                return;
            };
            self.take(oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch(cache: &Arc<Cache>, frame: u32, more: &[u32]) -> Vec<Ticket> {
        match cache.claim(frame, |_| more.to_vec()) {
            Claim::Fetch(tickets) => tickets,
            _ => panic!("frame {frame} is here"),
        }
    }

    #[test]
    fn the_frame_used_longest_ago_goes_first() {
        let cache = Cache::new(100);
        for frame in 0..3 {
            for ticket in fetch(&cache, frame, &[]) {
                ticket.plain(Arc::new(vec![0; 50]));
            }
            // Asked for again and again, so the others go.
            assert!(matches!(cache.claim(0, |_| vec![]), Claim::Plain(_)));
        }
        assert!(matches!(cache.claim(2, |_| vec![]), Claim::Plain(_)));
        assert_eq!(fetch(&cache, 1, &[]).len(), 1);
        assert_eq!(cache.lock().bytes, 100);
    }

    #[test]
    fn what_is_forgotten_is_fetched_again() {
        let cache = Cache::new(100);
        for (ticket, byte) in fetch(&cache, 1, &[2]).into_iter().zip(1..) {
            ticket.plain(Arc::new(vec![byte; 10]));
        }
        let busy = fetch(&cache, 3, &[]);
        cache.forget(|frame| frame != 2);
        assert!(matches!(cache.claim(2, |_| vec![]), Claim::Plain(_)));
        assert_eq!(fetch(&cache, 1, &[]).len(), 1);
        assert_eq!((cache.lock().bytes, busy.len()), (10, 1));
    }

    #[test]
    fn what_was_fetched_along_is_decoded_by_who_wants_it() {
        let cache = Cache::new(100);
        let mut tickets = fetch(&cache, 7, &[8, 9]);
        drop(tickets.pop());
        tickets.pop().unwrap().stored(vec![8; 10]);
        tickets.pop().unwrap().plain(Arc::new(vec![7; 20]));
        let Claim::Stored(bytes, ticket) = cache.claim(8, |_| vec![]) else {
            panic!("it is stored");
        };
        assert_eq!((bytes.len(), ticket.frame()), (10, 8));
        ticket.plain(Arc::new(vec![8; 30]));
        assert_eq!(cache.lock().bytes, 50);
        assert_eq!(fetch(&cache, 9, &[]).len(), 1);
    }

    #[test]
    fn who_would_wait_decodes_what_comes_next() {
        let cache = Cache::new(100);
        let mut tickets = fetch(&cache, 7, &[8, 9]);
        tickets.pop().unwrap().stored(vec![9; 10]);
        tickets.pop().unwrap().stored(vec![8; 10]);
        let Claim::Stored(_, ticket) = cache.claim(7, |_| vec![]) else {
            panic!("there is something to decode");
        };
        assert_eq!(ticket.frame(), 8);
        ticket.plain(Arc::new(vec![8; 30]));
        tickets.pop().unwrap().plain(Arc::new(vec![7; 30]));
        assert!(matches!(cache.claim(7, |_| vec![]), Claim::Plain(_)));
        assert!(matches!(cache.claim(8, |_| vec![]), Claim::Plain(_)));
        assert!(matches!(cache.claim(9, |_| vec![]), Claim::Stored(..)));
    }

    #[test]
    fn threads_wait_for_a_frame_and_take_over_when_it_does_not_come() {
        let cache = Cache::new(100);
        let first = fetch(&cache, 1, &[]);
        std::thread::scope(|scope| {
            let others: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| match cache.claim(1, |_| vec![]) {
                        Claim::Fetch(mut tickets) => {
                            tickets.pop().unwrap().plain(Arc::new(vec![1; 5]));
                            1
                        }
                        Claim::Plain(bytes) => {
                            assert_eq!(*bytes, [1; 5]);
                            0
                        }
                        Claim::Stored(..) => panic!("nobody stored it"),
                    })
                })
                .collect();
            drop(first);
            let fetched: i32 = others.into_iter().map(|thread| thread.join().unwrap()).sum();
            assert_eq!(fetched, 1);
        });
    }
}
