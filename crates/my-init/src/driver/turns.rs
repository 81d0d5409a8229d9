//! Whose requests are answered when, and what all clients together may cost. Anybody may connect and ask, so one who asks
//! much, or for much, keeps nobody else waiting and takes no more than a bounded amount of memory.

use super::Driver;
use crate::clock::{self, Millis};
use crate::protocol::Refusal;
use crate::protocol::codes::VALIDATION;

/// So long requests are answered in one turn of the loop, in milliseconds; at least one is.
const TURN: Millis = 50;
/// What may wait to be read by all clients together, in bytes. An answer of 10,000 services is smaller.
const OWED_MAX: usize = 16 * 1024 * 1024;
/// So many subscriptions a connection may have: what happens, or a log.
const SUBSCRIPTIONS_MAX: usize = 4;
/// So many names one of them may have.
const NAMES_MAX: usize = 1000;

/// The present turn.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// When it is over.
    ends: Millis,
    /// Something was answered in it.
    used: bool,
    /// Whose requests were answered last that had waited.
    last: usize,
}

impl Turn {
    /// True when the next request has to wait for another turn. Every turn has time for one.
    pub(super) fn is_over(&mut self) -> bool {
        let over = self.used && clock::now() >= self.ends;
        self.used = true;
        over
    }
}

impl Driver {
    /// Begins the next turn with those whose requests have waited: first who may change something, for that is how the
    /// node is looked after; each time another one begins.
    pub(super) fn begin_turn(&mut self) {
        self.control.turn.ends = clock::now().saturating_add(TURN);
        self.control.turn.used = false;
        let last = self.control.turn.last;
        let mut waiting: Vec<(bool, bool, usize)> = self
            .control
            .waiting()
            .map(|(index, may_write)| (!may_write, index <= last, index))
            .collect();
        waiting.sort_unstable();
        for (_, _, index) in waiting {
            if self.control.turn.used && clock::now() >= self.control.turn.ends {
                return;
            }
            self.control.turn.last = index;
            self.answer_lines(index);
            self.rewatch(index);
        }
    }

    /// Hangs up on whoever lets most of its answers wait, as long as all clients together let too much wait: first on those
    /// who may only read.
    pub(super) fn bound_debts(&mut self) {
        while self.control.debts().map(|(_, _, owed)| owed).sum::<usize>() > OWED_MAX {
            let mut debtors: Vec<(bool, usize, usize)> = self
                .control
                .debts()
                .filter(|(_, _, owed)| *owed > 0)
                .map(|(index, may_write, owed)| (!may_write, owed, index))
                .collect();
            debtors.sort_unstable();
            match &*debtors {
                [_, .., (_, _, index)] => self.hang_up(*index),
                // One alone may have an answer of any length.
                _ => return,
            }
        }
    }

    /// May this connection have one more subscription, with so many names?
    pub(super) fn check_subscription(&self, connection: usize, names: usize) -> Result<(), Refusal> {
        let own = self.streams.iter().filter(|one| one.connection == connection);
        if own.count() >= SUBSCRIPTIONS_MAX {
            let message = format!("a connection may have {SUBSCRIPTIONS_MAX} subscriptions: open another one");
            return Err(Refusal::new(VALIDATION, message));
        }
        if names > NAMES_MAX {
            let message = format!("{names} names are more than {NAMES_MAX}: name none for all services");
            return Err(Refusal::new(VALIDATION, message));
        }
        Ok(())
    }
}
