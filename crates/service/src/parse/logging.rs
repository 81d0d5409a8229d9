//! `[logging]`.

use super::*;

/// Limits of `logging.buffer_bytes`.
const BUFFER_BYTES: std::ops::RangeInclusive<i64> = 1024..=16 * 1024 * 1024;

pub(super) fn logging<'d>(root: &Table<'d>, tables: &mut Vec<Table<'d>>) -> Logging {
    let standard = Logging::default();
    let Some(table) = root.table("logging") else {
        return standard;
    };
    let bytes = table.integer("buffer_bytes", BUFFER_BYTES);
    let logging = Logging {
        buffer_bytes: bytes
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(standard.buffer_bytes),
        console: table.boolean("console").unwrap_or(standard.console),
    };
    tables.push(table);
    logging
}
