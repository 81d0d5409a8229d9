//! `[timer]`.

use crate::timer::parse_span;
use crate::{Calendar, Schedule};

use super::*;

pub(super) fn schedule<'d>(root: &Table<'d>, tables: &mut Vec<Table<'d>>, kind: Kind) -> Option<Box<Schedule>> {
    let table = root.table("timer")?;
    if kind != Kind::Oneshot {
        table.complain("timer", "[timer] is for what does its work and ends: `oneshot = true`");
    }
    let schedule = Schedule {
        every_ms: span(&table, "every"),
        after_boot_ms: span(&table, "after_boot"),
        calendar: calendar(&table),
        jitter_ms: span(&table, "jitter").unwrap_or(0),
    };
    if !["every", "after_boot", "calendar"].iter().any(|key| table.has(key)) {
        table.complain("timer", "[timer] has `every`, `after_boot` or `calendar`");
    }
    tables.push(table);
    Some(Box::new(schedule))
}

fn span(table: &Table<'_>, key: &'static str) -> Option<u64> {
    let text = table.string_item(key)?;
    let span = parse_span(&text.value);
    if span.is_none() {
        let problem = Problem::error(Some(text.position), format!("`{}` is no span of time", text.value));
        table.report(problem.with_hint("write it like 90 s, 15 min, 6 h, 1 d; there are ms, s, m, min, h, d"));
    }
    span
}

fn calendar(table: &Table<'_>) -> Option<Calendar> {
    let text = table.string_item("calendar")?;
    let calendar = Calendar::parse(&text.value);
    if calendar.is_none() {
        let problem = Problem::error(
            Some(text.position),
            format!("`{}` is no time of a calendar", text.value),
        );
        table.report(problem.with_hint(
            "write hourly, hourly :15, daily 03:00, mon-fri 08:30, mon,thu 12:00 or monthly 1 04:00 (day 1 to 28); in UTC",
        ));
    }
    calendar
}
