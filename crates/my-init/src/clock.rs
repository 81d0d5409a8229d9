//! The one clock: milliseconds since the kernel started.

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds on `CLOCK_MONOTONIC`, which is also the clock of kernel messages and of epoll's timeouts. A node does
/// not suspend, so this is the time since its kernel started.
pub type Millis = u64;

/// The time now.
pub fn now() -> Millis {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000
}

/// A span as people read it: `1.5 s`, `30 s`.
pub fn seconds(span: Millis) -> String {
    match (span / 1000, span % 1000) {
        (whole, 0) => format!("{whole} s"),
        (whole, rest) => format!("{whole}.{} s", format!("{rest:03}").trim_end_matches('0')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short_and_exact() {
        assert_eq!(
            (seconds(30_000), seconds(1500), seconds(7)),
            ("30 s".into(), "1.5 s".into(), "0.007 s".into())
        );
    }

    #[test]
    fn time_goes_on() {
        let before = now();
        assert!(before > 0 && now() >= before);
    }
}
