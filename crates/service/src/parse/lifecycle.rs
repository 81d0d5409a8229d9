//! `[lifecycle]`.

use super::*;

pub(super) fn lifecycle<'d>(
    root: &Table<'d>,
    tables: &mut Vec<Table<'d>>,
    kind: Kind,
    class: Class,
    patient: bool,
) -> Lifecycle {
    let standard = Lifecycle {
        restart: if kind == Kind::Oneshot {
            Restart::Never
        } else {
            Restart::OnFailure
        },
        max_restarts: crate::backoff::default_max_restarts(class),
        start_timeout_ms: if patient {
            0
        } else {
            Lifecycle::default().start_timeout_ms
        },
        ..Lifecycle::default()
    };
    let Some(table) = root.table("lifecycle") else {
        return standard;
    };
    let choices = [
        ("always", Restart::Always),
        ("on-failure", Restart::OnFailure),
        ("never", Restart::Never),
    ];
    let restart = table.choice("restart", &choices).unwrap_or(standard.restart);
    if kind == Kind::Oneshot && restart == Restart::Always {
        table.complain(
            "restart",
            "a oneshot that ended well is done, so it cannot restart `always`",
        );
    }
    let lifecycle = Lifecycle {
        restart,
        restart_delay_ms: milliseconds(&table, "restart_delay_ms", 0, standard.restart_delay_ms),
        restart_delay_max_ms: milliseconds(&table, "restart_delay_max_ms", 0, standard.restart_delay_max_ms),
        restart_jitter_percent: jitter(&table, "restart_jitter_percent"),
        max_restarts: max_restarts(&table, class, standard.max_restarts),
        stability_period_ms: milliseconds(&table, "stability_period_ms", 0, standard.stability_period_ms),
        start_timeout_ms: milliseconds(&table, "start_timeout_ms", 0, standard.start_timeout_ms),
        stop_signal: stop_signal(&table),
        stop_timeout_ms: milliseconds(&table, "stop_timeout_ms", 0, standard.stop_timeout_ms),
    };
    tables.push(table);
    lifecycle
}

/// A limit of a service that is never given up on is a mistake, but none that should keep it from running.
fn max_restarts(table: &Table<'_>, class: Class, standard: u32) -> u32 {
    let limit = count(table, "max_restarts", 0, standard);
    if class == Class::User || limit == 0 {
        return limit;
    }
    let message = "a service of class `system` is never given up on, so this limit is not kept";
    table.report(Problem::warning(Some(table.position_of("max_restarts")), message));
    0
}

fn stop_signal(table: &Table<'_>) -> crate::Signal {
    let Some(word) = table.string_item("stop_signal") else {
        return crate::Signal::TERM;
    };
    word.value.parse().unwrap_or_else(|error: crate::SignalError| {
        table.report(Problem::error(Some(word.position), error.to_string()));
        crate::Signal::TERM
    })
}
