//! Who our processes are. Ids of processes come round, sooner than one thinks where there are few of them: the end of a
//! process that had an id before another one got it may still wait to be read when that one is started. So each is known
//! with the number of its start, and each end says to which of them it belongs (`SharedPid`).

use std::collections::HashMap;

use mos_sys::shared_pid::birth;

use super::{Driver, Owner};
use crate::exits::End;

/// Our processes, by id.
#[derive(Debug, Default)]
pub(super) struct Family(HashMap<u32, Child>);

#[derive(Debug, Clone, Copy)]
struct Child {
    owner: Owner,
    /// The number of its start.
    start: u64,
}

impl Family {
    /// A process that was started with this number; 0 when that is not known.
    pub(super) fn insert(&mut self, pid: u32, owner: Owner, start: u64) {
        self.0.insert(pid, Child { owner, start });
    }

    pub(super) fn remove(&mut self, pid: u32) {
        self.0.remove(&pid);
    }

    /// Whom the process with this id belongs to.
    pub(super) fn owner(&self, pid: u32) -> Option<Owner> {
        self.0.get(&pid).map(|child| child.owner)
    }

    /// How many of them are services'.
    pub(super) fn services(&self) -> usize {
        let owners = self.0.values().map(|child| child.owner);
        owners.filter(|owner| matches!(owner, Owner::Service(_))).count()
    }

    /// Whose end that is; `None` for a stranger's. It is ours no more.
    fn take(&mut self, end: End) -> Option<Owner> {
        self.is_end_of(end, end.pid)
            .then(|| self.0.remove(&end.pid))?
            .map(|child| child.owner)
    }

    /// True when that is the end of the process that we know by this id.
    fn is_end_of(&self, end: End, pid: u32) -> bool {
        let child = self.0.get(&pid).filter(|_| end.pid == pid);
        // A process of which nobody knows when it was started was there before we looked.
        child.is_some_and(|child| child.start == 0 || end.mark >= birth(child.start))
    }
}

impl Driver {
    /// A process of ours was started. Whoever had its id before has ended, and that can be read.
    pub(super) fn own(&mut self, pid: u32, owner: Owner, start: u64) {
        while self.family.owner(pid).is_some()
            && let Some((end, next)) = self.next_exit()
        {
            self.take_exit(end, next);
        }
        self.family.insert(pid, owner, start);
    }

    pub(super) fn whose_end(&mut self, end: End) -> Option<Owner> {
        self.family.take(end)
    }

    /// True when a process of ours has ended and that was not read yet: its id may be another's.
    pub(super) fn is_gone(&self, pid: u32) -> bool {
        let mut place = self.place;
        while let Some((end, next)) = self.exits.read(place) {
            if self.family.is_end_of(end, pid) {
                return true;
            }
            place = next;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::Exit;

    fn end(pid: u32, mark: u64) -> End {
        let exit = Exit::Code(0);
        End { pid, exit, mark }
    }

    #[test]
    fn the_end_of_whoever_had_the_id_before_is_nobodys() {
        let mut family = Family::default();
        family.insert(7, Owner::Service(1), 5);
        family.insert(8, Owner::Service(2), 0);
        for other in [end(7, 10), end(7, 0), end(9, 99)] {
            assert!(family.take(other).is_none());
        }
        assert!(matches!(family.take(end(7, 11)), Some(Owner::Service(1))));
        assert!(family.take(end(7, 12)).is_none());
        assert!(matches!(family.take(end(8, 0)), Some(Owner::Service(2))));
        assert_eq!(family.services(), 0);
    }
}
