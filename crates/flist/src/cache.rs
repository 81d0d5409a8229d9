//! Decoded frames that are kept for a while, each fetched and decoded once however many threads want it.
//!
//! A frame that was fetched along with another is kept as it came and decoded by whoever wants it first, or by a thread
//! that would otherwise wait for another frame: one request brings work for every thread. Of a frame that was read at one
//! place only its beginning may be decoded; the rest is, when somebody wants it. What was used longest ago goes first
//! when there is too much.

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
    /// Its beginning is decoded, and the rest is still here as it came; when it was last used.
    Begun(u64, Arc<Vec<u8>>, Arc<Vec<u8>>),
    /// Decoded; when it was last used.
    Plain(u64, Arc<Vec<u8>>),
}

impl Slot {
    /// Bytes that it holds.
    fn len(&self) -> usize {
        match self {
            Self::Busy => 0,
            Self::Stored(_, bytes) | Self::Plain(_, bytes) => bytes.len(),
            Self::Begun(_, stored, plain) => stored.len() + plain.len(),
        }
    }

    /// When it was last used.
    fn used(&mut self) -> Option<&mut u64> {
        match self {
            Self::Busy => None,
            Self::Stored(used, _) | Self::Plain(used, _) | Self::Begun(used, ..) => Some(used),
        }
    }
}

/// What to do about a frame.
pub(crate) enum Claim {
    /// Use it; it has as many bytes as were asked for.
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

    /// Asks for the first `need` plain bytes of a frame; decodes frames behind it or waits while another thread brings it. `along` says which frames to fetch with it, given a test for those that are
    /// here or on their way.
    pub(crate) fn claim(
        self: &Arc<Self>,
        frame: u32,
        need: usize,
        along: impl FnOnce(&dyn Fn(u32) -> bool) -> Vec<u32>,
    ) -> Claim {
        let mut state = self.lock();
        loop {
            match state.slots.get(&frame) {
                Some(Slot::Busy) => {
                    let next = state.stored.range(frame..).next().copied();
                    if let Some((next, stored)) = next.and_then(|next| Some((next, state.take_stored(next)?))) {
                        return Claim::Stored(stored, self.ticket(&mut state, next));
                    }
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Some(Slot::Plain(_, plain)) => {
                    let plain = plain.clone();
                    state.touch(frame);
                    return Claim::Plain(plain);
                }
                Some(Slot::Begun(_, _, plain)) if plain.len() >= need => {
                    let plain = plain.clone();
                    state.touch(frame);
                    return Claim::Plain(plain);
                }
                Some(_) => {
                    if let Some(stored) = state.take_stored(frame) {
                        return Claim::Stored(stored, self.ticket(&mut state, frame));
                    }
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
        here.into_iter().for_each(|frame| drop(state.remove(frame)));
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
        self.fulfil(|now| Slot::Plain(now, bytes));
    }

    /// Hands in the bytes as they came, to be decoded by who wants them.
    pub(crate) fn stored(self, bytes: Vec<u8>) {
        self.fulfil(|now| Slot::Stored(now, Arc::new(bytes)));
    }

    /// Hands in the beginning of the plain bytes, and all as they came, to be decoded by who wants more.
    pub(crate) fn begun(self, stored: Vec<u8>, plain: Arc<Vec<u8>>) {
        self.fulfil(|now| Slot::Begun(now, Arc::new(stored), plain));
    }

    fn fulfil(mut self, slot: impl FnOnce(u64) -> Slot) {
        self.done = true;
        let mut state = self.cache.lock();
        let now = state.tick(self.frame);
        let slot = slot(now);
        state.bytes += slot.len();
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

    /// Notes that a frame is used now.
    fn touch(&mut self, frame: u32) {
        let Some(before) = self.slots.get_mut(&frame).and_then(Slot::used).map(|used| *used) else {
            return;
        };
        self.uses.remove(&before);
        let now = self.tick(frame);
        if let Some(used) = self.slots.get_mut(&frame).and_then(Slot::used) {
            *used = now;
        }
    }

    /// Takes a frame out as it came; none when it is not here, or not in this form any more.
    fn take_stored(&mut self, frame: u32) -> Option<Arc<Vec<u8>>> {
        match self.remove(frame)? {
            Slot::Stored(_, stored) | Slot::Begun(_, stored, _) => Some(stored),
            Slot::Plain(..) | Slot::Busy => None,
        }
    }

    fn remove(&mut self, frame: u32) -> Option<Slot> {
        let mut slot = self.slots.remove(&frame)?;
        if let Some(used) = slot.used() {
            self.uses.remove(used);
        }
        self.stored.remove(&frame);
        self.bytes -= slot.len();
        Some(slot)
    }

    fn shrink(&mut self, limit: usize) {
        while self.bytes > limit && self.uses.len() > 1 {
            let Some(oldest) = self.uses.values().next().copied() else {
                return;
            };
            self.remove(oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch(cache: &Arc<Cache>, frame: u32, more: &[u32]) -> Vec<Ticket> {
        match cache.claim(frame, 1, |_| more.to_vec()) {
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
            assert!(matches!(cache.claim(0, 1, |_| vec![]), Claim::Plain(_)));
        }
        assert!(matches!(cache.claim(2, 1, |_| vec![]), Claim::Plain(_)));
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
        assert!(matches!(cache.claim(2, 1, |_| vec![]), Claim::Plain(_)));
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
        let Claim::Stored(bytes, ticket) = cache.claim(8, 1, |_| vec![]) else {
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
        let Claim::Stored(_, ticket) = cache.claim(7, 1, |_| vec![]) else {
            panic!("there is something to decode");
        };
        assert_eq!(ticket.frame(), 8);
        ticket.plain(Arc::new(vec![8; 30]));
        tickets.pop().unwrap().plain(Arc::new(vec![7; 30]));
        assert!(matches!(cache.claim(7, 1, |_| vec![]), Claim::Plain(_)));
        assert!(matches!(cache.claim(8, 1, |_| vec![]), Claim::Plain(_)));
        assert!(matches!(cache.claim(9, 1, |_| vec![]), Claim::Stored(..)));
    }

    #[test]
    fn what_is_begun_serves_who_wants_no_more_and_is_decoded_for_who_does() {
        let cache = Cache::new(100);
        let ticket = fetch(&cache, 1, &[]).pop().unwrap();
        ticket.begun(vec![9; 10], Arc::new(vec![1; 20]));
        assert_eq!(cache.lock().bytes, 30);
        assert!(matches!(cache.claim(1, 20, |_| vec![]), Claim::Plain(plain) if plain.len() == 20));
        let Claim::Stored(stored, ticket) = cache.claim(1, 21, |_| vec![]) else {
            panic!("there is more to decode");
        };
        assert_eq!((stored.len(), cache.lock().bytes), (10, 0));
        ticket.plain(Arc::new(vec![1; 60]));
        assert!(matches!(cache.claim(1, 21, |_| vec![]), Claim::Plain(plain) if plain.len() == 60));
    }

    #[test]
    fn threads_wait_for_a_frame_and_take_over_when_it_does_not_come() {
        let cache = Cache::new(100);
        let first = fetch(&cache, 1, &[]);
        std::thread::scope(|scope| {
            let others: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| match cache.claim(1, 1, |_| vec![]) {
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
