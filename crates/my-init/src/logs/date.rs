//! Times as people write them, in UTC: a node has no other zone.

use rustix::time::{ClockId, clock_gettime};

use crate::clock::Millis;

const DAY: u64 = 86_400_000;
const HOUR: u64 = 3_600_000;
const MINUTE: u64 = 60_000;
const SECOND: u64 = 1000;

/// The time since 1970 of a time since the kernel started, as the clock is set now.
pub fn since_1970(time: Millis) -> Millis {
    const MILLISECOND: u64 = 1_000_000;
    let nanoseconds = |clock| {
        let now = clock_gettime(clock);
        u64::try_from(now.tv_sec).unwrap_or(0) * 1000 * MILLISECOND + u64::try_from(now.tv_nsec).unwrap_or(0)
    };
    let started = nanoseconds(ClockId::Realtime).saturating_sub(nanoseconds(ClockId::Monotonic));
    time + (started + MILLISECOND / 2) / MILLISECOND
}

/// `2026-11-22T02:15:29.123Z` (RFC 3339), of milliseconds since 1970.
pub fn text(time: Millis) -> String {
    let (year, month, day) = civil(time / DAY);
    let of_day = time % DAY;
    let (hour, minute) = (of_day / HOUR, of_day / MINUTE % 60);
    let (second, rest) = (of_day / SECOND % 60, of_day % SECOND);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{rest:03}Z")
}

/// Reads `5m` (ago; `ms`, `s`, `m`, `h`, `d`), `02:15`, `02:15:29` (today), `2026-11-22`, or both with `T` or a blank
/// between them and `Z` behind them or not. `now` and the result are in milliseconds since 1970.
///
/// # Errors
/// When it is none of them.
pub fn read(text: &str, now: Millis) -> Result<Millis, String> {
    let trimmed = text.trim().trim_end_matches('Z');
    let understood = match trimmed.split_once(['T', ' ']) {
        Some((day, time)) => day_start(day).zip(of_day(time)).map(|(day, time)| day + time),
        None => span(trimmed)
            .map(|span| now.saturating_sub(span))
            .or_else(|| day_start(trimmed))
            .or_else(|| Some(now / DAY * DAY + of_day(trimmed)?)),
    };
    understood.ok_or_else(|| format!("`{text}` is no time; expected 5m, 02:15, 2026-11-22 or 2026-11-22T02:15:29"))
}

fn span(text: &str) -> Option<Millis> {
    let digits = text.find(|one: char| !one.is_ascii_digit())?;
    let unit = match &text[digits..] {
        "ms" => 1,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(unit)
}

fn day_start(text: &str) -> Option<Millis> {
    let [year, month, day] = numbers(text, '-')?[..] else {
        return None;
    };
    let valid = (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    let days = valid.then(|| days(year, month, day))?;
    // A day that its month has not.
    (civil(days) == (year, month, day)).then_some(days * DAY)
}

fn of_day(text: &str) -> Option<Millis> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let (hour, minute, second) = match numbers(whole, ':')?[..] {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    let millis = match rest.len() {
        0 => 0,
        3 => rest.parse::<u64>().ok()?,
        _ => return None,
    };
    (hour < 24 && minute < 60 && second < 60).then_some(hour * HOUR + minute * MINUTE + second * SECOND + millis)
}

fn numbers(text: &str, separator: char) -> Option<Vec<u64>> {
    let number = |part: &str| {
        part.parse()
            .ok()
            .filter(|_| part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    text.split(separator).map(number).collect()
}

/// Year, month and day of a number of days since 1970, in the Gregorian calendar: a year is taken to begin in March, so
/// that the day that is not always there is its last.
fn civil(days: u64) -> (u64, u64, u64) {
    const ERA: u64 = 146_097;
    // From 0000-03-01.
    let days = days + 719_468;
    let (era, of_era) = (days / ERA, days % ERA);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / (ERA - 1)) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let after = u64::from(month <= 2);
    (era * 400 + year + after, month, of_year - (153 * march + 2) / 5 + 1)
}

/// The other way round.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let march = (month + 9) % 12;
    let of_year = (153 * march + 2) / 5 + day - 1;
    let (era, of_era) = (year / 400, year % 400);
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_days() {
        // By date(1).
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000Z"),
            (1_795_313_729, "2026-11-22T02:15:29.000Z"),
        ] {
            assert_eq!(text(seconds * 1000), expected);
            assert_eq!(read(expected, 0), Ok(seconds * 1000));
        }
    }

    #[test]
    fn what_people_write_is_understood_or_refused_in_a_sentence() {
        let now = read("2026-11-22T02:15:29.123", 0).expect("a time");
        for (written, expected) in [
            ("5m", now - 300_000),
            ("1d", now - DAY),
            ("10ms", now - 10),
            ("01:02", now / DAY * DAY + HOUR + 2 * MINUTE),
            ("2026-11-21 23:00:01", now / DAY * DAY - HOUR + SECOND),
            ("2026-11-22", now / DAY * DAY),
        ] {
            assert_eq!(read(written, now), Ok(expected), "{written}");
        }
        for nonsense in [
            "",
            "5",
            "m",
            "5w",
            "24:00",
            "2026-02-29",
            "2026-13-01",
            "1960-01-01",
            "+1:00",
            "soon",
            "1:2:3:4",
        ] {
            assert!(
                read(nonsense, now).is_err_and(|error| error.contains("is no time")),
                "{nonsense}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(time in 0..253_402_300_800_000_u64, junk in "\\PC{0,30}") {
            prop_assert_eq!(read(&text(time), 0), Ok(time));
            let _ = read(&junk, time);
        }
    }
}
