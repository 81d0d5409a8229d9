//! Several stores as one: shards, replicas and mirrors.
//!
//! Each store has a [`Route`]: the blobs that belong there. A read goes to one of the stores that may have the object,
//! the quickest of late first; when that one fails, or has no such object, to the next; and when it takes longer than
//! nineteen of its last twenty answers took, to the next as well, and the first good answer counts. Such second requests
//! are bounded to a tenth of all. A store that fails, or gives wrong bytes, is avoided for a while, and then probed by
//! one request. All of this is remembered in memory only.

mod health;
mod race;
mod writer;

pub use writer::RouterWriter;

use crate::{Read, Route, StoreError, retry};
use health::Health;
use race::{Ask, race, severity};
use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// A second request may be made for one in so many.
const HEDGE_ONE_IN: u32 = 10;
/// Second requests that may be saved up, in first requests.
const HEDGES_SAVED: u32 = 10 * HEDGE_ONE_IN;
/// Answers whose store is remembered, for [`Read::report_bad`]: more threads than that do not read at once.
const ANSWERS: usize = 256;
/// Objects of which wrong copies are remembered.
const WRONG: usize = 4096;

/// A store that several stores make together, for reading. Clones share what they learn.
#[derive(Clone)]
pub struct Router {
    shared: Arc<Shared>,
}

struct Shared {
    stores: Vec<Routed>,
    state: Mutex<State>,
}

struct Routed {
    route: Route,
    store: Arc<dyn Read>,
}

struct State {
    health: Vec<Health>,
    /// First requests whose tenth has not been spent on second ones.
    earned: u32,
    /// Which store gave which object to which thread; the newest at the back.
    answers: VecDeque<(ThreadId, String, usize)>,
    /// Objects whose copy in a store is wrong.
    wrong: VecDeque<(String, usize)>,
}

/// What is known of one of the stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorStatus {
    /// The store, without secrets.
    pub address: String,
    /// Moving average of the time until an answer, of the last minutes.
    pub latency: Option<Duration>,
    /// Failures since the last success.
    pub failures: u32,
    /// True while the store is avoided, because it failed.
    pub avoided: bool,
    /// Objects that came with wrong bytes.
    pub wrong_objects: u64,
}

impl Router {
    /// These stores, each with what it holds. [`crate::Routes`] checks that nothing is left out.
    pub fn new(stores: Vec<(Route, Arc<dyn Read>)>) -> Self {
        let stores: Vec<Routed> = stores
            .into_iter()
            .map(|(route, store)| Routed { route, store })
            .collect();
        let state = Mutex::new(State {
            health: vec![Health::default(); stores.len()],
            earned: HEDGES_SAVED,
            answers: VecDeque::new(),
            wrong: VecDeque::new(),
        });
        Self {
            shared: Arc::new(Shared { stores, state }),
        }
    }

    /// What is known of each store, in the order in which they were given.
    pub fn status(&self) -> Vec<MirrorStatus> {
        let now = Instant::now();
        let state = self.shared.state();
        let one = |(routed, health): (&Routed, &Health)| MirrorStatus {
            address: routed.store.address(),
            latency: health.latency(now),
            failures: health.failures(),
            avoided: health.is_avoided(now),
            wrong_objects: health.wrong(),
        };
        self.shared.stores.iter().zip(&state.health).map(one).collect()
    }

    /// The stores that may have an object.
    fn holders(&self, name: &str) -> Vec<usize> {
        let holds = |number: &usize| self.shared.stores[*number].route.holds(name);
        (0..self.shared.stores.len()).filter(holds).collect()
    }

    /// The stores that may have an object, the best first, which is asked next.
    fn order(&self, name: &str) -> Vec<usize> {
        let now = Instant::now();
        let mut order = self.holders(name);
        let mut state = self.shared.state();
        order.sort_by_key(|number| (state.is_wrong(name, *number), state.health[*number].rank(now)));
        if let [first, _, ..] = order[..] {
            state.health[first].asked(now);
        }
        order
    }

    /// Reads from the first store that answers well.
    fn read<T: Send + 'static>(
        &self,
        name: &str,
        read: impl Fn(&dyn Read, &str) -> Result<T, StoreError> + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        let order = self.order(name);
        let patience = order
            .first()
            .map_or(Duration::ZERO, |first| self.shared.state().health[*first].patience());
        let (shared, asked) = (Arc::clone(&self.shared), name.to_owned());
        let ask: Ask<T> = Arc::new(move |number| shared.timed(number, |store| read(store, &asked)));
        let hedge = || self.shared.state().spend_hedge();
        match race(&order, patience, hedge, &ask) {
            Ok((number, answer)) => {
                self.shared.state().answered(name, number);
                Ok(answer)
            }
            // No store holds it, or none that does has it.
            Err(None | Some(StoreError::NotFound { .. })) => Err(StoreError::not_found(self, name)),
            Err(Some(error)) => Err(error),
        }
    }
}

impl Shared {
    // No code panics while it holds the lock, and each field is whole at any time, so poison carries no news.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks one store, and notes how that went. That it has no such object is an answer.
    fn timed<T>(&self, number: usize, read: impl FnOnce(&dyn Read) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let begun = Instant::now();
        let answer = read(&*self.stores[number].store);
        let now = Instant::now();
        let mut state = self.state();
        match &answer {
            Ok(_) | Err(StoreError::NotFound { .. } | StoreError::TooLarge { .. } | StoreError::BadName(_)) => {
                state.health[number].succeeded(now - begun, now);
            }
            Err(_) => state.health[number].failed(now, retry::random_fraction()),
        }
        answer
    }
}

impl State {
    /// Whether a second request may be made, and if so, counts it.
    fn spend_hedge(&mut self) -> bool {
        let may = self.earned >= HEDGE_ONE_IN;
        self.earned -= if may { HEDGE_ONE_IN } else { 0 };
        may
    }

    fn answered(&mut self, name: &str, number: usize) {
        self.earned = (self.earned + 1).min(HEDGES_SAVED);
        let thread = thread::current().id();
        self.answers.retain(|(id, ..)| *id != thread);
        if self.answers.len() == ANSWERS {
            self.answers.pop_front();
        }
        self.answers.push_back((thread, name.to_owned(), number));
    }

    /// Which store gave this object: to this thread, or else to whichever was last. When another thread has reported a
    /// store since, that is the one: the bytes may have come before.
    fn gave(&self, name: &str) -> Option<usize> {
        let thread = thread::current().id();
        let mut given = self.answers.iter().rev().filter(|(_, given, _)| given == name);
        let own = given.clone().find(|(id, ..)| *id == thread);
        let reported = || {
            self.wrong
                .iter()
                .rev()
                .find(|(wrong, _)| wrong == name)
                .map(|(_, store)| *store)
        };
        own.map(|(.., number)| *number)
            .or_else(reported)
            .or_else(|| given.next().map(|(.., number)| *number))
    }

    fn is_wrong(&self, name: &str, number: usize) -> bool {
        self.wrong
            .iter()
            .any(|(wrong, store)| *store == number && wrong == name)
    }

    fn note_wrong(&mut self, name: &str, number: usize) {
        self.health[number].was_wrong(Instant::now(), retry::random_fraction());
        if self.is_wrong(name, number) {
            return;
        }
        if self.wrong.len() == WRONG {
            self.wrong.pop_front();
        }
        self.wrong.push_back((name.to_owned(), number));
    }
}

impl Read for Router {
    fn get(&self, name: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        self.read(name, move |store, name| store.get(name, limit))
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.read(name, move |store, name| store.get_range(name, range.clone()))
    }

    /// The length in the first store that has the object.
    fn length(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let found = self.read(name, |store, name| {
            store.length(name)?.ok_or_else(|| StoreError::not_found(store, name))
        });
        match found {
            Err(StoreError::NotFound { .. }) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Asks each store for the names that no store before it had.
    fn lengths(&self, names: &[String]) -> Result<Vec<Option<u64>>, StoreError> {
        let mut found = vec![None; names.len()];
        let mut failed: Vec<(usize, StoreError)> = Vec::new();
        let mut stores: Vec<usize> = (0..self.shared.stores.len()).collect();
        let now = Instant::now();
        stores.sort_by_key(|number| self.shared.state().health[*number].rank(now));
        for number in stores {
            let route = &self.shared.stores[number].route;
            let open: Vec<usize> = (0..names.len())
                .filter(|at| found[*at].is_none() && route.holds(&names[*at]))
                .collect();
            let asked: Vec<String> = open.iter().map(|at| names[*at].clone()).collect();
            if asked.is_empty() {
                continue;
            }
            match self.shared.stores[number].store.lengths(&asked) {
                Ok(lengths) => open.iter().zip(lengths).for_each(|(at, length)| found[*at] = length),
                Err(error) => failed.push((number, error)),
            }
        }
        // A silent store matters when it may have what the others do not.
        let matters = |number: usize| {
            let route = &self.shared.stores[number].route;
            names
                .iter()
                .zip(&found)
                .any(|(name, found)| found.is_none() && route.holds(name))
        };
        let failed = failed.into_iter().filter(|(number, _)| matters(*number));
        match failed.map(|(_, error)| error).max_by_key(severity) {
            Some(error) => Err(error),
            None => Ok(found),
        }
    }

    fn report_bad(&self, name: &str) -> bool {
        let Some(number) = self.shared.state().gave(name) else {
            return false;
        };
        // A cache of that store may have been the culprit.
        if self.shared.stores[number].store.report_bad(name) {
            return true;
        }
        let mut state = self.shared.state();
        state.note_wrong(name, number);
        self.holders(name).iter().any(|other| !state.is_wrong(name, *other))
    }

    fn address(&self) -> String {
        let routes = self.shared.stores.iter().map(|routed| {
            let Route { first, last, .. } = routed.route;
            match (first, last) {
                (0, u8::MAX) => routed.store.address(),
                _ => format!("{first:02x}-{last:02x}={}", routed.store.address()),
            }
        });
        routes.collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Router").field(&self.address()).finish()
    }
}
