//! Asking stores one after the other, or a second one when the first takes long: the first good answer wins.

use crate::StoreError;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// What is done with the store of this number.
pub(super) type Ask<T> = Arc<dyn Fn(usize) -> Result<T, StoreError> + Send + Sync>;

/// Asks the stores in this order until one answers: the next one when one fails, and once, when `hedge` says so, while
/// one is still expected. Returns the number of the store that answered.
///
/// A request that lost goes on in its thread until it ends by itself; the store's own time-outs bound it. `patience` is
/// how long the first one has; `hedge` is asked once, when that time is over.
pub(super) fn race<T: Send + 'static>(
    order: &[usize],
    patience: Duration,
    hedge: impl FnOnce() -> bool,
    ask: &Ask<T>,
) -> Result<(usize, T), Option<StoreError>> {
    if let [only] = order {
        return ask(*only).map(|answer| (*only, answer)).map_err(Some);
    }
    let (send, answers) = channel();
    let mut waiting = order.iter();
    let mut race = Race {
        under_way: 0,
        worst: None,
        send,
    };
    race.start(waiting.next(), ask);
    let mut hedge = Some(hedge);
    while race.under_way > 0 {
        let more = !waiting.as_slice().is_empty();
        let (number, answer) = match next(&answers, patience, hedge.is_some() && more) {
            Some(answer) => answer,
            None => {
                if hedge.take().is_some_and(|hedge| hedge()) {
                    race.start(waiting.next(), ask);
                }
                continue;
            }
        };
        race.under_way -= 1;
        match answer {
            Ok(Ok(answer)) => return Ok((number, answer)),
            Ok(Err(error)) => race.note(error),
            Err(panic) => resume_unwind(panic),
        }
        race.start(waiting.next(), ask);
    }
    Err(race.worst)
}

struct Race<T> {
    under_way: usize,
    worst: Option<StoreError>,
    send: Sender<(usize, thread::Result<Result<T, StoreError>>)>,
}

impl<T: Send + 'static> Race<T> {
    fn start(&mut self, number: Option<&usize>, ask: &Ask<T>) {
        let Some(number) = number.copied() else { return };
        self.under_way += 1;
        let (send, ask) = (self.send.clone(), Arc::clone(ask));
        // Nobody listens any more when another store was quicker. A panic belongs to whoever asked.
        let work = move || drop(send.send((number, catch_unwind(AssertUnwindSafe(|| ask(number))))));
        // Without a thread it is done here, just not at the same time.
        if let Err(error) = thread::Builder::new().name("mos-store".into()).spawn(work.clone()) {
            drop(error);
            work();
        }
    }

    fn note(&mut self, error: StoreError) {
        if self
            .worst
            .as_ref()
            .is_none_or(|worst| severity(&error) > severity(worst))
        {
            self.worst = Some(error);
        }
    }
}

/// The next answer; `None` when patience is over. [`Race`] keeps a sender, so the channel does not end.
fn next<T>(answers: &Receiver<T>, patience: Duration, may_hedge: bool) -> Option<T> {
    match may_hedge {
        true => answers.recv_timeout(patience).ok(),
        false => answers.recv().ok(),
    }
}

/// Which error to report of several stores': what may pass before what will not, and absence last, because whether the
/// object is absent cannot be said while a store that may have it is silent.
pub(super) fn severity(error: &StoreError) -> u8 {
    match error {
        StoreError::NotFound { .. } => 0,
        StoreError::Unreachable { .. } => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;
    use std::time::Instant;

    const MS: Duration = Duration::from_millis(1);

    fn fails(reason: &str) -> Result<u32, StoreError> {
        Err(StoreError::unreachable(&Memory::new(), reason))
    }

    fn asked(times: &'static [(u64, bool)]) -> Ask<u32> {
        Arc::new(move |number| {
            let (ms, good) = times[number];
            thread::sleep(Duration::from_millis(ms));
            if good { Ok(number as u32) } else { fails("bad") }
        })
    }

    #[test]
    fn a_slow_first_store_does_not_cost_its_time() {
        let begun = Instant::now();
        let ask = asked(&[(2000, true), (5, true)]);
        assert_eq!(race(&[0, 1], 20 * MS, || true, &ask).unwrap(), (1, 1));
        assert!(begun.elapsed() < 1000 * MS);
        assert_eq!(race(&[1, 0], 1000 * MS, || panic!("in time"), &ask).unwrap(), (1, 1));
    }

    #[test]
    fn without_leave_to_hedge_the_first_is_waited_for() {
        let ask = asked(&[(100, true), (0, true)]);
        assert_eq!(race(&[0, 1], MS, || false, &ask).unwrap().0, 0);
    }

    #[test]
    fn every_store_is_tried_before_giving_up() {
        let ask = asked(&[(0, false), (0, false), (0, true)]);
        assert_eq!(race(&[0, 1, 2], 500 * MS, || true, &ask).unwrap().0, 2);
        let error = race(&[0, 1], 500 * MS, || true, &ask).unwrap_err().unwrap();
        assert!(matches!(error, StoreError::Unreachable { .. }));
        assert!(race::<u32>(&[], MS, || true, &ask).unwrap_err().is_none());
    }

    #[test]
    fn absence_is_reported_only_when_nothing_else_happened() {
        let absent: Ask<u32> = Arc::new(|number| match number {
            0 => Err(StoreError::not_found(&Memory::new(), "x")),
            _ => fails("down"),
        });
        let report = |order: &[usize]| race(order, MS, || false, &absent).unwrap_err().unwrap();
        assert!(matches!(report(&[0, 1]), StoreError::Unreachable { .. }));
        assert!(matches!(report(&[0, 0]), StoreError::NotFound { .. }));
    }
}
