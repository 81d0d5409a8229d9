//! Guards: keys of `[service]`.

use crate::Guards;

use super::*;

/// `ports`, `process_filters` and `kill_others`.
pub(super) fn guards(table: &Table<'_>) -> Guards {
    let ports = table.integer_list("ports", 1..=i64::from(u16::MAX)).into_iter();
    let mut process_filters = Vec::new();
    for name in table.string_list("process_filters") {
        if name.value.is_empty() || name.value.contains(['/', '\0']) {
            let message = format!("`{}` is not the name of a program", name.value);
            let problem = Problem::error(Some(name.position), message);
            table.report(problem.with_hint("the whole name of its file, without directories"));
        } else {
            process_filters.push(name.value);
        }
    }
    Guards {
        ports: ports.filter_map(|port| u16::try_from(port).ok()).collect(),
        process_filters,
        kill_others: table.boolean("kill_others").unwrap_or(false),
    }
}
