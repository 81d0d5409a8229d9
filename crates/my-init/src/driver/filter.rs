//! Lines of a log in the ancestor's form: `TIME [stdout] TEXT`, times in milliseconds since 1970.

use serde_json::{Value, json};

use super::Driver;
use crate::logs::{date, lines, marks};
use crate::protocol::codes::INVALID_PARAMS;
use crate::protocol::{Params, Refusal};

impl Driver {
    /// The lines that came at a time or later, and have a text in them.
    ///
    /// # Errors
    /// When no service is named, or none of that name is known.
    pub(super) fn filter_log(&self, params: &Params) -> Result<Value, Refusal> {
        let name = params.given("name").or_else(|| params.given("service"));
        let missing = || Refusal::new(INVALID_PARAMS, "logs.filter needs the parameter `name`, a string");
        let name = name.ok_or_else(missing)?;
        let id = self.log_of(name).map_or_else(|| self.named(name), Ok)?;
        let Some(log) = self.slots.get(&id).map(|slot| &slot.log) else {
            return Ok(json!([]));
        };
        let since = params
            .number("since")
            .map(|time| time.saturating_sub(date::since_1970(0)));
        let (marks, text) = (log.marks(), params.text("contains"));
        let start = since.and_then(|time| marks::place_before(&marks, time));
        let start = start.map_or(log.dropped(), |place| lines::start_of_line(log, place));
        let bytes = log.last_bytes(usize::try_from(log.end() - start).unwrap_or(usize::MAX));
        let (mut found, _) = lines::split(&bytes, start, &marks, true);
        found.retain(|line| since.is_none_or(|since| line.time >= since) && line.text.contains(text));
        let count = params.number("lines").and_then(|count| usize::try_from(count).ok());
        let surplus = found.len().saturating_sub(count.unwrap_or(usize::MAX));
        let shown = found.iter().skip(surplus);
        Ok(shown
            .map(|line| json!(format!("{} [stdout] {}", date::since_1970(line.time), line.text)))
            .collect())
    }
}
