//! Oneshots that are started at certain times.
//!
//! A time that has come is noted together with what follows from it, in the note of the one service: no time is missed
//! and none counts twice, whoever is killed. Intervals are on the kernel's clock. Calendars are on the wall clock, of
//! which we know how far it is ahead of the kernel's; when that changes the clock was set.

use serde_json::{Value, json};

use super::state::Unit;
use super::timers::Timer;
use super::{Id, Supervisor};
use crate::clock::Millis;
use crate::note::Note;

/// Two looks at two clocks differ by less, in milliseconds: no time is told to that.
const TOLERANCE: u64 = 100;
/// By how much a clock is set forward or back without making a run superfluous or a second one necessary: more than that
/// and it was simply wrong before. In milliseconds.
const DAY: u64 = 24 * 60 * 60 * 1000;

/// What is known of a service's times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Timing {
    /// When it is due next.
    due: Option<Millis>,
    /// The same without jitter, or for intervals the time from which the next one counts.
    base: Millis,
    /// What the calendar says, if it was the calendar, in milliseconds since 1970.
    due_wall: Option<u64>,
    /// The last time that the calendar said.
    last_wall: Option<u64>,
    /// When it was started last, in milliseconds since 1970.
    last_run: Option<u64>,
    /// How often it was due while it still ran.
    skipped: u64,
    /// What `after_boot` is for is done.
    booted: bool,
}

impl Supervisor {
    /// The wall clock says `wall` (milliseconds since 1970) at this time.
    pub fn set_clock(&mut self, wall: u64, now: Millis) {
        let ahead = wall.cast_signed().saturating_sub(now.cast_signed());
        let before = self.clock_ahead.get_or_insert(ahead);
        if before.abs_diff(ahead) <= TOLERANCE {
            return;
        }
        *before = ahead;
        let ids: Vec<Id> = self
            .units()
            .filter(|(_, unit)| unit.timing.is_some())
            .map(|(id, _)| id)
            .collect();
        for id in ids {
            self.clock_was_set(id, wall, now);
        }
    }

    fn wall(&self, now: Millis) -> u64 {
        now.saturating_add_signed(self.clock_ahead.unwrap_or(0))
    }

    /// What the clock jumped over is due now, if it is not long ago.
    fn clock_was_set(&mut self, id: Id, wall: u64, now: Millis) {
        let Some(timing) = self.unit_mut(id).and_then(|unit| unit.timing.as_mut()) else {
            return;
        };
        match timing.due_wall {
            None => return,
            Some(due) if due <= wall && wall - due <= DAY => timing.due = Some(now),
            Some(_) => timing.due = None,
        }
        self.arm_schedule(id, now);
    }

    /// Sets the time at which a service is due, if it is started at times.
    pub(super) fn arm_schedule(&mut self, id: Id, now: Millis) {
        let Some(unit) = self.unit(id) else { return };
        if unit.service.schedule.is_none() || unit.gone || unit.service.status != mos_service::Status::Start {
            self.timers.cancel(Timer::Due(id));
            return;
        }
        let known = unit.timing.as_ref().and_then(|timing| timing.due);
        if known.is_none() {
            let timing = self.next_time(unit, now);
            if let Some(unit) = self.unit_mut(id) {
                unit.timing = Some(Box::new(timing));
            }
        }
        let due = self.unit(id).and_then(|unit| unit.timing.as_ref()?.due);
        match due {
            Some(due) => self.timers.arm(Timer::Due(id), due),
            None => self.timers.cancel(Timer::Due(id)),
        }
    }

    /// The file says other times than before.
    pub(super) fn schedule_anew(&mut self, id: Id, now: Millis) {
        if let Some(unit) = self.unit_mut(id) {
            match (&unit.service.schedule, &mut unit.timing) {
                (Some(_), Some(timing)) => (timing.due, timing.base) = (None, now),
                _ => unit.timing = None,
            }
        }
        self.arm_schedule(id, now);
    }

    fn next_time(&self, unit: &Unit, now: Millis) -> Timing {
        let fresh = Timing {
            base: now,
            ..Timing::default()
        };
        let old = unit.timing.as_deref().cloned().unwrap_or(fresh);
        let Some(schedule) = &unit.service.schedule else {
            return old;
        };
        let boot = schedule.after_boot_ms.filter(|_| !old.booted);
        let boot = boot.map(|span| self.settings.started.saturating_add(span));
        // The first interval begins when the other one is over.
        let every = schedule
            .every_ms
            .filter(|_| boot.is_none())
            .map(|span| following(old.base, span, now));
        let wall = self.wall(now);
        // After the clock was set back a little, what has been done is not done again.
        let from = old
            .last_wall
            .filter(|last| *last > wall && *last - wall <= DAY)
            .unwrap_or(wall);
        let calendar = schedule.calendar.map(|calendar| calendar.next_after(from));
        let on_calendar = calendar.map(|time| now.saturating_add(time.saturating_sub(wall)));
        let base = [boot, every, on_calendar].into_iter().flatten().min();
        let jitter = |base| match schedule.jitter_ms {
            0 => 0,
            jitter => self.entropy(&unit.service.name, base) % jitter.saturating_add(1),
        };
        Timing {
            due: base.map(|base| base.saturating_add(jitter(base))),
            base: base.unwrap_or(old.base),
            due_wall: calendar.filter(|_| base == on_calendar),
            ..old
        }
    }

    /// A service is due. One that still runs is left alone.
    pub(super) fn due(&mut self, id: Id, now: Millis) {
        let wall = self.wall(now);
        let (down, started) = (self.shutdown.is_some(), self.settings.started);
        let Some(unit) = self.unit_mut(id).filter(|unit| !down && !unit.gone) else {
            return;
        };
        let runs = !unit.state.is_at_rest() || unit.pid.is_some();
        let boots = unit
            .service
            .schedule
            .as_ref()
            .and_then(|schedule| schedule.after_boot_ms);
        let Some(timing) = &mut unit.timing else { return };
        timing.due = None;
        timing.booted |= boots.is_some_and(|span| started.saturating_add(span) <= now);
        timing.last_wall = timing.due_wall.take().or(timing.last_wall);
        if runs {
            timing.skipped += 1;
        } else {
            timing.last_run = Some(wall);
            (unit.wanted, unit.attempts) = (true, 0);
        }
        self.arm_schedule(id, now);
        if !runs {
            self.retry(id, now);
        }
    }

    /// Of a service that is started at times: the next one, the last one, how often it still ran.
    pub(super) fn timing_status(&self, unit: &Unit, now: Millis) -> Option<Value> {
        let timing = unit.timing.as_ref()?;
        let next = timing.due.map(|due| due.saturating_sub(now));
        let mut status = json!({ "skipped": timing.skipped });
        if let Some(last) = timing.last_run {
            status["last_ms"] = json!(last);
        }
        if let Some(next) = next {
            status["next_ms"] = json!(self.wall(now).saturating_add(next));
            status["next_in_ms"] = json!(next);
        }
        Some(status)
    }

    /// Everybody who is started at times, the next one first.
    pub fn timetable(&self, now: Millis) -> Value {
        let timed = self.units().filter_map(|(_, unit)| {
            let mut row = self.timing_status(unit, now)?;
            row["name"] = json!(unit.service.name);
            row["state"] = json!(unit.state.word());
            Some((unit.timing.as_ref()?.due.unwrap_or(Millis::MAX), row))
        });
        let mut rows: Vec<(Millis, Value)> = timed.collect();
        rows.sort_by_key(|(due, row)| (*due, row["name"].to_string()));
        rows.into_iter().map(|(_, row)| row).collect()
    }
}

/// The first of `base + span`, `base + 2 span`, … that is still to come.
fn following(base: Millis, span: u64, now: Millis) -> Millis {
    let passed = now.saturating_sub(base) / span;
    base.saturating_add(span.saturating_mul(passed + 1))
}

impl Timing {
    pub(super) fn remember(&self) -> Note {
        let mut note = Note::default();
        let times = [self.due, Some(self.base), self.due_wall, self.last_wall, self.last_run];
        for (key, time) in (1..).zip(times) {
            note.add(key, time);
        }
        note.add_count(6, self.skipped);
        note.add_flag(7, self.booted);
        note
    }

    pub(super) fn recall(memory: &Note) -> Self {
        Self {
            due: memory.number(1),
            base: memory.count(2),
            due_wall: memory.number(3),
            last_wall: memory.number(4),
            last_run: memory.number(5),
            skipped: memory.count(6),
            booted: memory.flag(7),
        }
    }
}
