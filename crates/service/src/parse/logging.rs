//! `[logging]`.

use super::*;

/// Limits of `logging.buffer_bytes`.
const BUFFER_BYTES: std::ops::RangeInclusive<i64> = 1024..=16 * 1024 * 1024;

/// Limits of `logging.file_bytes`.
const FILE_BYTES: std::ops::RangeInclusive<i64> = 4096..=1 << 30;
/// Limits of `logging.file_count`.
const FILE_COUNT: std::ops::RangeInclusive<i64> = 1..=100;
/// The longest path of a file, in bytes; the kernel's limit (limits.h) less what is added to it.
const PATH_MAX: usize = 4000;

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
        file: file(&table).map(Box::new),
    };
    tables.push(table);
    logging
}

fn file(table: &Table<'_>) -> Option<LogFile> {
    const BYTES: u64 = 4 << 20;
    const COUNT: u32 = 4;
    let bytes = table.integer("file_bytes", FILE_BYTES);
    let count = table.integer("file_count", FILE_COUNT);
    let path = table.string_item("file")?;
    let parts = || path.value.split('/').skip(1);
    let plain = path.value.len() <= PATH_MAX && !path.value.contains('\0');
    if !plain || !path.value.starts_with('/') || parts().any(|part| matches!(part, "" | "." | "..")) {
        table.complain(
            "file",
            format!("`file` is `{}`, expected the absolute path of a file", path.value),
        );
        return None;
    }
    Some(LogFile {
        path: path.value.clone(),
        bytes: bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(BYTES),
        count: count.and_then(|count| u32::try_from(count).ok()).unwrap_or(COUNT),
    })
}
