//! `[proxy]`: listens for a service that cannot be handed its sockets.

use crate::{Capability, Listen, Proxy, Security};

use super::*;

/// Ends the process that is `my_init` itself, in its own program.
const PROGRAM: &str = "/proc/self/exe --proxy";

pub(super) fn read_proxy<'d>(
    origin: &Origin<'_>,
    root: &Table<'d>,
    table: Table<'d>,
    tables: &mut Vec<Table<'d>>,
) -> Option<Service> {
    let backend = table.required_string("backend").and_then(|text| {
        let backend = Listen::parse(&text.value).filter(|backend| !matches!(backend, Listen::Udp(_)));
        if backend.is_none() {
            let problem = Problem::error(
                Some(text.position),
                format!("`{}` is no address to connect to", text.value),
            );
            table.report(problem.with_hint("write 127.0.0.1:80, [::1]:80 or /run/web.sock"));
        }
        backend
    });
    let service = table.required_string("service").map(|item| item.value);
    let sockets = socket::sockets(root, tables, Kind::Process);
    match &sockets {
        None => table.complain("proxy", "a [proxy] listens where [socket] says, and there is none"),
        Some(sockets) if sockets.listen.iter().any(|listen| matches!(listen, Listen::Udp(_))) => {
            root.complain("socket", "a [proxy] copies streams, not datagrams");
        }
        Some(sockets) if !sockets.on_demand => root.complain("socket", "a [proxy] starts with the first connection"),
        Some(_) => {}
    }
    let connect = milliseconds(&table, "connect_timeout_ms", 1, 30_000);
    let idle = milliseconds(&table, "idle_timeout_ms", 0, 0);
    let single = table.boolean("single_connection").unwrap_or(false);
    let name = name(origin, &table);
    let status = status(&table);
    let user = Account::read(&table, "user");
    tables.push(table);
    let (backend, service) = backend.zip(service)?;
    let line = format!("{PROGRAM} {backend} {connect} {idle} {single}");
    Some(Service {
        name,
        command: Command::parse(&line, Some(false)).ok(),
        proxy: Some(Box::new(Proxy { service, backend })),
        sockets,
        status,
        user,
        security: Security {
            capabilities: Some(Vec::<Capability>::new()),
            no_new_privileges: true,
            ..Security::default()
        }
        .into(),
        dependencies: dependencies::dependencies(root, tables, Kind::Process).into(),
        lifecycle: lifecycle::lifecycle(root, tables, Kind::Process, Class::User, false),
        ..blank(origin.file)
    })
}
