//! `[health]`.

use crate::{Address, Unhealthy};

use super::*;

pub(super) fn health<'d>(root: &Table<'d>, tables: &mut Vec<Table<'d>>) -> Option<Health> {
    let table = root.table("health")?;
    let health = probe(&table).map(|probe| Health {
        probe,
        interval_ms: milliseconds(&table, "interval_ms", 100, 10_000),
        timeout_ms: milliseconds(&table, "timeout_ms", 1, 5000),
        jitter_percent: jitter(&table, "jitter_percent"),
        retries: count(&table, "retries", 1, 3),
        successes: count(&table, "successes", 1, 1),
        action: action(&table),
        start_period_ms: milliseconds(&table, "start_period_ms", 0, 0),
    });
    tables.push(table);
    health
}

fn action(table: &Table<'_>) -> Unhealthy {
    let choices = [
        ("restart", Unhealthy::Restart),
        ("mark", Unhealthy::Mark),
        ("none", Unhealthy::Nothing),
    ];
    table.choice("action", &choices).unwrap_or(Unhealthy::Restart)
}

#[derive(Clone, Copy)]
enum ProbeKind {
    Tcp,
    Http,
    Exec,
}

fn probe(table: &Table<'_>) -> Option<Probe> {
    table.required_string("type")?;
    let choices = [
        ("tcp", ProbeKind::Tcp),
        ("http", ProbeKind::Http),
        ("exec", ProbeKind::Exec),
    ];
    let kind = table.choice("type", &choices)?;
    let target = table.required_string("target")?;
    let expected = table.integer("expect_status", 100..=599);
    let status = expected.and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
    if expected.is_some() && !matches!(kind, ProbeKind::Http) {
        table.complain("expect_status", "`expect_status` is for type = \"http\"");
    }
    let probe = match kind {
        ProbeKind::Tcp => Address::parse(&target.value).map(Probe::Tcp),
        ProbeKind::Http => {
            Address::parse_http(&target.value).map(|(address, path)| Probe::Http { address, path, status })
        }
        ProbeKind::Exec => return command(table, &target, None).map(Probe::Exec),
    };
    if probe.is_none() {
        let problem = Problem::error(Some(target.position), format!("`{}` is not an address", target.value));
        let examples = match kind {
            ProbeKind::Tcp => "give an IP address and a port, as `127.0.0.1:8080`, or a socket, as `unix:/run/a.sock`",
            _ => {
                "give an IP address and a port, as `127.0.0.1:8080/health`, or a socket, as `unix:/run/a.sock:/health`"
            }
        };
        table.report(problem.with_hint(examples));
    }
    probe
}
