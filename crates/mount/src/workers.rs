//! Reads that may wait for a network, off the threads that answer the kernel.
//!
//! Names and attributes come from memory and must be answered at once, also while a store is away. So a read that may
//! wait is handed to a thread of its own, of which there are more the more wait, up to a bound. Each read has a time by
//! which it is answered: when its content has not come by then, the answer is an error, and what the thread brings
//! later is only kept for the next one who asks.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mos_flist::Slice;

/// Threads at most: as many requests to a store at once.
const THREADS: usize = 16;

/// Takes the answer to a read: the bytes, or `None` for an error.
pub(crate) type Answer = Box<dyn FnOnce(Option<&[u8]>) + Send>;
/// An answer that is given once, by whoever comes first.
type Slot = Arc<Mutex<Option<Answer>>>;
/// Brings the bytes.
pub(crate) type Fetch = Box<dyn FnOnce() -> Option<Slice> + Send>;

/// The threads. Dropping this lets them end after what they are doing.
#[derive(Debug)]
pub(crate) struct Workers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    wait: Duration,
    state: Mutex<State>,
    work: Condvar,
    deadline: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(Fetch, Slot)>,
    /// Every read that is not known to be answered, the oldest first.
    waiting: VecDeque<(Instant, Slot)>,
    threads: usize,
    idle: usize,
    ending: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("queue", &self.queue.len())
            .field("waiting", &self.waiting.len())
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl Workers {
    /// Threads for reads that are answered within `wait`. None is started before it is needed.
    pub(crate) fn new(wait: Duration) -> Self {
        Self {
            shared: Arc::new(Shared {
                wait,
                state: Mutex::default(),
                work: Condvar::new(),
                deadline: Condvar::new(),
            }),
        }
    }

    /// Answers with what `fetch` brings, or with an error when the time is over.
    pub(crate) fn submit(&self, fetch: Fetch, answer: Answer) {
        let slot: Slot = Arc::new(Mutex::new(Some(answer)));
        let mut state = self.shared.lock();
        state.queue.push_back((fetch, slot.clone()));
        state.waiting.push_back((Instant::now() + self.shared.wait, slot));
        if state.threads == 0 {
            self.shared.start("mos-deadlines", Shared::watch);
        }
        if state.idle < state.queue.len() && state.threads < THREADS && self.shared.start("mos-read", Shared::work) {
            state.threads += 1;
        }
        drop(state);
        self.shared.work.notify_one();
        self.shared.deadline.notify_one();
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.lock().ending = true;
        self.shared.work.notify_all();
        self.shared.deadline.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False when the system has no thread for us: the read is then answered by another one, or by its deadline.
    fn start(self: &Arc<Self>, name: &str, run: fn(&Self)) -> bool {
        let shared = self.clone();
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(move || run(&shared)).is_ok()
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some((fetch, slot)) = state.queue.pop_front() {
                drop(state);
                // Nobody waits any more for what stood in the queue for too long.
                if is_open(&slot) {
                    answer(&slot, fetch().as_deref());
                }
                state = self.lock();
                continue;
            }
            if state.ending {
                return;
            }
            state.idle += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// Answers with an error whatever has waited too long.
    fn watch(&self) {
        let mut state = self.lock();
        loop {
            while state.waiting.front().is_some_and(|(_, slot)| !is_open(slot)) {
                state.waiting.pop_front();
            }
            let now = Instant::now();
            let next = state.waiting.front().map(|(due, _)| due.saturating_duration_since(now));
            state = match next {
                Some(Duration::ZERO) => {
                    if let Some((_, slot)) = state.waiting.pop_front() {
                        drop(state);
                        answer(&slot, None);
                        state = self.lock();
                    }
                    state
                }
                Some(left) => {
                    let waited = self.deadline.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None if state.ending => return,
                None => self.deadline.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

fn is_open(slot: &Slot) -> bool {
    slot.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

fn answer(slot: &Slot, bytes: Option<&[u8]>) {
    let answer = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(answer) = answer {
        answer(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn submit(workers: &Workers, sleep: u64) -> mpsc::Receiver<Option<usize>> {
        let (sender, receiver) = mpsc::channel();
        let fetch = move || {
            std::thread::sleep(Duration::from_millis(sleep));
            Some(vec![0; sleep as usize].into())
        };
        let answer = move |bytes: Option<&[u8]>| sender.send(bytes.map(<[u8]>::len)).unwrap();
        workers.submit(Box::new(fetch), Box::new(answer));
        receiver
    }

    #[test]
    fn each_read_is_answered_in_time_however_long_its_content_takes() {
        let workers = Workers::new(Duration::from_millis(200));
        let start = Instant::now();
        let slow: Vec<_> = (0..THREADS + 4).map(|_| submit(&workers, 1000)).collect();
        for receiver in slow {
            assert_eq!(receiver.recv().unwrap(), None);
        }
        let took = start.elapsed().as_millis();
        assert!((190..900).contains(&took), "{took} ms");
        // The threads are free again after their second.
        std::thread::sleep(Duration::from_millis(1000));
        assert_eq!(submit(&workers, 5).recv().unwrap(), Some(5));
    }

    #[test]
    fn reads_run_side_by_side_and_threads_end() {
        let workers = Workers::new(Duration::from_secs(5));
        let start = Instant::now();
        let all: Vec<_> = (0..8).map(|_| submit(&workers, 100)).collect();
        for receiver in all {
            assert_eq!(receiver.recv().unwrap(), Some(100));
        }
        assert!(start.elapsed() < Duration::from_millis(600));
        let shared = Arc::downgrade(&workers.shared);
        drop(workers);
        while shared.upgrade().is_some() {
            assert!(start.elapsed() < Duration::from_secs(5), "a thread did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
