//! How much of a processor a service uses: it takes two looks, and who asks has only one. So what the last one saw is kept.

use std::fs;
use std::path::Path;

use crate::clock::Millis;

/// A look that is younger than this is not compared with: who asks together with somebody else is told the same.
const SPAN_MS: Millis = 500;
/// A tick of `/proc/PID/stat` in microseconds (`USER_HZ` is 100 on both architectures).
const TICK_US: u64 = 10_000;

/// What the last one who asked was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    at: Millis,
    used_us: u64,
    percent: u64,
}

impl Look {
    /// A look now, after `before`. Without one, or when the service has been started since, it is `own_us` that has been
    /// used since it was started at `started`.
    pub(super) fn after(before: Option<Self>, started: Millis, now: Millis, used_us: u64, own_us: u64) -> Self {
        let (percent, at, used_us) = match before.filter(|before| before.at >= started) {
            Some(before) if now.saturating_sub(before.at) < SPAN_MS => (before.percent, before.at, before.used_us),
            Some(before) => {
                let used = used_us.saturating_sub(before.used_us);
                (percent(used, now.saturating_sub(before.at)), now, used_us)
            }
            None => (percent(own_us, now.saturating_sub(started)), now, used_us),
        };
        Self { at, used_us, percent }
    }

    /// Percent of one processor; more than 100 with several.
    pub(super) fn percent(&self) -> u64 {
        self.percent
    }
}

fn percent(used_us: u64, span: Millis) -> u64 {
    used_us.saturating_mul(100) / span.saturating_mul(1000).max(1)
}

/// What all processes that were ever in a control group have used of processors, in microseconds.
pub(super) fn of_group(leaf: &Path) -> Option<u64> {
    let text = fs::read_to_string(leaf.join("cpu.stat")).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok())
}

/// What a process has used, and those of its children whose end it has taken notice of, in microseconds: fields 14 to 17
/// of `/proc/PID/stat` (proc(5)).
pub(super) fn of_process(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, rest)) = stat.rsplit_once(") ") else {
        return 0;
    };
    let ticks = rest.split(' ').skip(14 - 3).take(4);
    ticks.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() * TICK_US
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_look_is_since_the_start_and_the_next_since_the_one_before() {
        let first = Look::after(None, 1_000, 3_000, 9_000_000, 500_000);
        assert_eq!(first.percent(), 25);
        // Asked again at once: the same.
        let same = Look::after(Some(first), 1_000, 3_499, 9_400_000, 900_000);
        assert_eq!(same, first);
        let second = Look::after(Some(same), 1_000, 4_000, 10_500_000, 2_000_000);
        assert_eq!(second.percent(), 150);
        let idle = Look::after(Some(second), 1_000, 5_000, 10_500_000, 2_000_000);
        assert_eq!(idle.percent(), 0);
        // It was started anew in between.
        assert_eq!(Look::after(Some(idle), 6_000, 7_000, 10_700_000, 200_000).percent(), 20);
        assert_eq!(Look::after(None, 1_000, 1_000, 0, 0).percent(), 0);
    }

    #[test]
    fn what_is_used_is_read_as_the_kernel_writes_it() {
        let leaf = tempfile::tempdir().unwrap();
        assert_eq!(of_group(leaf.path()), None);
        fs::write(
            leaf.path().join("cpu.stat"),
            "usage_usec 1234567\nuser_usec 1000000\nsystem_usec 234567\n",
        )
        .unwrap();
        assert_eq!(of_group(leaf.path()), Some(1_234_567));
        let begin = std::time::Instant::now();
        while of_process(std::process::id()) < 5 * TICK_US {
            assert!(begin.elapsed() < std::time::Duration::from_secs(60));
        }
        assert_eq!(of_process(u32::MAX), 0);
    }
}
