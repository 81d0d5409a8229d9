//! The wall clock: being told when somebody sets it, without looking.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, EventFlags};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};

use super::{Driver, Token, data};

/// In 2255. A timer has to be set for being cancelled, and to a time that does not come: the kernel lets its clock be set
/// up to 2232 (`TIME_SETTOD_SEC_MAX`, linux/time64.h), and one whose battery is empty may show any year.
const FAR: i64 = 9_000_000_000;

impl Driver {
    /// Begins to watch the clock, once somebody's times are those of a calendar.
    pub(super) fn watch_clock(&mut self) {
        let calendar = |unit: &crate::supervisor::Unit| unit.service().schedule.as_ref()?.calendar;
        if self.clock.is_some() || !self.supervisor.units().any(|(_, unit)| calendar(unit).is_some()) {
            return;
        }
        match watch().and_then(|clock| {
            epoll::add(&self.epoll, &clock, data(Token::Clock), EventFlags::IN)?;
            Ok(clock)
        }) {
            Ok(clock) => self.clock = Some(clock),
            Err(error) => self.say(&format!("whoever sets the clock is not noticed: {error}")),
        }
    }

    /// Somebody has set the clock.
    pub(super) fn clock_was_set(&mut self) {
        if let Some(clock) = &self.clock {
            let _ = rustix::io::read(clock, &mut [0; 8]);
            let _ = arm(clock);
        }
        self.tell_clock();
    }

    pub(super) fn tell_clock(&mut self) {
        let wall = clock_gettime(ClockId::Realtime);
        let seconds = u64::try_from(wall.tv_sec).unwrap_or(0);
        let wall = seconds * 1000 + u64::try_from(wall.tv_nsec).unwrap_or(0) / 1_000_000;
        self.supervisor.set_clock(wall, self.now());
    }
}

fn watch() -> io::Result<OwnedFd> {
    let clock = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    arm(&clock)?;
    Ok(clock)
}

fn arm(clock: &OwnedFd) -> io::Result<()> {
    let never = Timespec { tv_sec: 0, tv_nsec: 0 };
    let far = Timespec {
        tv_sec: FAR,
        tv_nsec: 0,
    };
    let time = Itimerspec {
        it_interval: never,
        it_value: far,
    };
    timerfd_settime(
        clock,
        TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET,
        &time,
    )?;
    Ok(())
}
