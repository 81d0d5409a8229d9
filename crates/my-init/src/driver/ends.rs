//! Processes that have ended, and what follows.

use rustix::process::{Pid, Signal, kill_process_group};

use super::{Driver, Id, Owner};
use crate::children;
use crate::clock;
use crate::exits::{End, Exits, SIGNAL};
use crate::supervisor::Exit;

/// So many records of ends are taken at once.
const RECORDS: usize = 1024;

impl Driver {
    /// Learns who has ended, one after the other: what follows from an end is noted together with how far we have read, and
    /// in the same order. So many at a time that a flood of them leaves time for others.
    pub(super) fn take_exits(&mut self) {
        for _ in 0..RECORDS {
            let Some((end, next)) = self.next_exit() else {
                self.note_changes();
                return self.end_strays();
            };
            self.take_exit(end, next);
        }
        self.note_changes();
        // There may be more, for which it has rung before we fell silent.
        let _ = self.exits.ring();
        self.end_strays();
    }

    /// The bell falls silent when there is nothing more; what is written in between has rung in vain, so we look again.
    pub(super) fn next_exit(&self) -> Option<(End, u64)> {
        self.exits.read(self.place).or_else(|| {
            self.exits.hear();
            self.exits.read(self.place)
        })
    }

    pub(super) fn take_exit(&mut self, end: End, next: u64) {
        let owner = self.whose_end(end);
        let End { pid, exit, .. } = end;
        if let Some(Owner::Service(id)) = owner {
            self.hear_last_words(id);
        }
        // What happened before is noted before: of notes that are written together the last ones are lost when their writer
        // is killed between two pages, and this end would count as read in the note of somebody else.
        self.add_changes();
        self.place = next;
        match (owner, exit) {
            (Some(Owner::Service(id)), _) => self.service_ended(id, pid, exit),
            (Some(Owner::Probe(id)), _) => self.probe_command_ended(id, exit),
            (Some(Owner::Operator), _) => self.operator_left(pid),
            (Some(Owner::Plug), _) => self.plug_ended(),
            (Some(Owner::LogWriter), _) => self.writer_ended(),
            (None, Exit::Signal(number)) if pid == SIGNAL => self.take_signal(number),
            (None, _) => self.strays.ended(pid),
        }
        self.note_much();
        if Exits::ends_piece(next) {
            self.note_changes();
            self.exits.forget_before(next);
        }
    }

    /// What a service said right before it ended may still wait to be read. It is noted while its end still counts as unread.
    pub(super) fn hear_last_words(&mut self, id: Id) {
        self.read_log(id);
        self.read_notify(id);
        self.read_ready(id);
    }

    pub(super) fn service_ended(&mut self, id: Id, pid: u32, exit: Exit) {
        let stays = self
            .supervisor
            .unit(id)
            .is_some_and(|unit| unit.service().kind == mos_service::Kind::Process);
        let limit = self.limit_hit(id, pid, exit);
        if let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw).filter(|_| stays) {
            // What it left behind would run beside its successor.
            // When the id is another's by now, nobody was left: while somebody is in a group, nobody gets its number.
            if !children::is_alive(pid) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            self.kill_cgroup(id);
            self.look_for_strays(id);
        }
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.process_ended(&self.epoll);
        }
        self.supervisor.exited_at(id, exit, limit, clock::now());
    }
}
