//! When a oneshot is started by itself.

/// Milliseconds in a day.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const HOUR_MS: u64 = 60 * 60 * 1000;
/// The longest wait for a day of a month that has it, in days.
const SEARCH_DAYS: u64 = 62;

/// When a oneshot is started by itself; at least one of the first three is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// So long after the last time, in milliseconds.
    pub every_ms: Option<u64>,
    /// Once, so long after the kernel started, in milliseconds.
    pub after_boot_ms: Option<u64>,
    /// At these times of the wall clock.
    pub calendar: Option<Calendar>,
    /// Each time up to so much later, in milliseconds.
    pub jitter_ms: u64,
}

/// Times of the wall clock, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calendar {
    /// Bit 0 is Monday.
    weekdays: u8,
    /// 1 to 28.
    day: Option<u8>,
    /// `None` is every hour.
    hour: Option<u8>,
    minute: u8,
}

const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const EVERY_DAY: u8 = 0x7f;

impl Calendar {
    /// Reads `hourly`, `hourly :15`, `daily 03:00`, `mon-fri 08:30`, `mon,thu 12:00`, `monthly 1 04:00`.
    pub fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let every = Self {
            weekdays: EVERY_DAY,
            day: None,
            hour: None,
            minute: 0,
        };
        match *words {
            ["hourly"] => Some(every),
            ["hourly", minute] => Some(Self {
                minute: number(minute.strip_prefix(':')?, 0, 59)?,
                ..every
            }),
            ["daily", time] => every.at(time),
            ["monthly", day, time] => {
                let day = number(day, 1, 28)?;
                Self {
                    day: Some(day),
                    ..every
                }
                .at(time)
            }
            [days, time] => Self {
                weekdays: weekdays(days)?,
                ..every
            }
            .at(time),
            _ => None,
        }
    }

    fn at(self, time: &str) -> Option<Self> {
        let (hour, minute) = time.split_once(':')?;
        Some(Self {
            hour: Some(number(hour, 0, 23)?),
            minute: number(minute, 0, 59)?,
            ..self
        })
    }

    /// The first time after `moment`, both in milliseconds since 1970.
    pub fn next_after(&self, moment: u64) -> u64 {
        let minute = u64::from(self.minute) * 60 * 1000;
        let Some(hour) = self.hour else {
            let this_hour = moment / HOUR_MS * HOUR_MS + minute;
            return if this_hour > moment {
                this_hour
            } else {
                this_hour + HOUR_MS
            };
        };
        let time = u64::from(hour) * HOUR_MS + minute;
        let today = moment / DAY_MS;
        let days = (today..=today + SEARCH_DAYS).filter(|day| self.has(*day));
        let mut times = days.map(|day| day * DAY_MS + time);
        // Every month has the days that can be asked for, and every week all of its days.
        times.find(|time| *time > moment).unwrap_or(u64::MAX)
    }

    fn has(&self, day: u64) -> bool {
        // 1970-01-01 was a Thursday.
        let weekday = (day + 3) % 7;
        let asked = self.day.is_none_or(|asked| u64::from(asked) == day_of_month(day));
        self.weekdays >> weekday & 1 == 1 && asked
    }
}

/// The day of the month, from 1, of a day counted from 1970-01-01 (Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", civil_from_days).
fn day_of_month(day: u64) -> u64 {
    let day_of_era = (day + 719_468) % 146_097;
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    day_of_year - (153 * month + 2) / 5 + 1
}

fn number(text: &str, low: u8, high: u8) -> Option<u8> {
    let plain = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| plain)?;
    (low..=high).contains(&number).then_some(number)
}

fn weekdays(text: &str) -> Option<u8> {
    let day = |name: &str| WEEKDAYS.iter().position(|day| *day == name);
    text.split(',').try_fold(0, |bits, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        // `sat-mon` goes over the end of the week.
        let length = (last + 7 - first) % 7;
        Some((0..=length).fold(bits, |bits, step| bits | 1 << ((first + step) % 7)))
    })
}

/// Reads `500 ms`, `90 s`, `15m`, `15 min`, `6h`, `1 d`, in milliseconds; not zero, at most a year.
pub(crate) fn parse_span(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60 * 1000,
        "h" => HOUR_MS,
        "d" => DAY_MS,
        _ => return None,
    };
    let span = number.parse::<u64>().ok()?.checked_mul(unit)?;
    (1..=366 * DAY_MS).contains(&span).then_some(span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-11-22, a Sunday, 02:00 UTC.
    const SUNDAY: u64 = 1_795_312_800_000;

    fn next(text: &str) -> u64 {
        let calendar = Calendar::parse(text).unwrap_or_else(|| panic!("{text}"));
        (calendar.next_after(SUNDAY) - SUNDAY) / 60_000
    }

    #[test]
    fn the_next_time_is_found() {
        let day = 24 * 60;
        assert_eq!((next("hourly"), next("hourly :15"), next("daily 03:00")), (60, 15, 60));
        assert_eq!((next("daily 02:00"), next("daily 01:59")), (day, day - 1));
        assert_eq!((next("mon-fri 03:00"), next("sat-mon 03:00")), (day + 60, 60));
        assert_eq!((next("tue,thu 02:00"), next("sat 02:00")), (2 * day, 6 * day));
        // November has 30 days.
        assert_eq!(
            (next("monthly 1 02:00"), next("monthly 22 01:00")),
            (9 * day, 30 * day - 60)
        );
        for text in [
            "",
            "daily",
            "daily 24:00",
            "daily 3",
            "monthly 29 03:00",
            "foo 03:00",
            "mon- 03:00",
            "hourly 15",
            "daily 03:00 x",
            "daily +3:00",
        ] {
            assert_eq!(Calendar::parse(text), None, "{text}");
        }
    }

    #[test]
    fn spans_have_units() {
        for (text, span) in [
            ("500 ms", 500),
            ("90 s", 90_000),
            ("15m", 900_000),
            ("15 min", 900_000),
            ("6h", 21_600_000),
            ("1 d", DAY_MS),
        ] {
            assert_eq!(parse_span(text), Some(span));
        }
        for text in [
            "",
            "15",
            "0 s",
            "-1 s",
            "1 w",
            "400 d",
            "99999999999999999999 d",
            "1.5 h",
        ] {
            assert_eq!(parse_span(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_next_time_is_later_and_one_of_them(
            moment in 0..4_000_000_000_000_u64,
            day in 1..=28_u8,
            hour in 0..24_u8,
            minute in 0..60_u8,
        ) {
            let calendar = Calendar::parse(&format!("monthly {day} {hour:02}:{minute:02}")).expect("good");
            let next = calendar.next_after(moment);
            prop_assert!(next > moment && next <= moment + 32 * DAY_MS);
            prop_assert_eq!(day_of_month(next / DAY_MS), u64::from(day));
            prop_assert_eq!(next % DAY_MS, u64::from(hour) * HOUR_MS + u64::from(minute) * 60_000);
            prop_assert_eq!(calendar.next_after(next - 1), next);
        }
    }
}
