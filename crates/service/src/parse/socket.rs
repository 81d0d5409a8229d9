//! `[socket]`.

use crate::{Listen, Sockets};

use super::*;

/// So many descriptors are handed over at most.
const SOCKETS_MAX: usize = 64;
/// The first descriptor that is handed over (sd_listen_fds(3)).
pub(super) const FIRST: i32 = 3;

pub(super) fn sockets<'d>(root: &Table<'d>, tables: &mut Vec<Table<'d>>, kind: Kind) -> Option<Box<Sockets>> {
    let table = root.table("socket")?;
    if kind != Kind::Process {
        table.complain(
            "socket",
            "a oneshot ends, so nobody would take what comes through its [socket]",
        );
    }
    let choices = [("connection", true), ("boot", false)];
    let sockets = Sockets {
        listen: listen(&table),
        names: names(&table),
        mode: mode(&table),
        user: Account::read(&table, "user"),
        group: Account::read(&table, "group"),
        backlog: small(&table, "backlog", 1..=65535).unwrap_or(4096),
        on_demand: table.choice("start", &choices).unwrap_or(true),
    };
    if !sockets.names.is_empty() && sockets.names.len() != sockets.listen.len() {
        table.complain("names", "`names` has not as many names as `listen` has sockets");
    }
    tables.push(table);
    Some(Box::new(sockets))
}

fn listen(table: &Table<'_>) -> Vec<Listen> {
    let items = table.string_list("listen");
    if items.is_empty() || items.len() > SOCKETS_MAX {
        table.complain("listen", format!("[socket] has `listen`, 1 to {SOCKETS_MAX} addresses"));
    }
    let mut list = Vec::new();
    for item in items {
        let listen = Listen::parse(&item.value);
        let message = match &listen {
            None => format!("`{}` is no address to listen on", item.value),
            Some(one) if list.contains(one) => format!("`{}` is named twice", item.value),
            Some(_) => String::new(),
        };
        if !message.is_empty() {
            let problem = Problem::error(Some(item.position), message);
            table.report(problem.with_hint("write 127.0.0.1:80, [::]:80, udp:0.0.0.0:53 or /run/web.sock"));
        }
        list.extend(listen);
    }
    list
}

/// Joined by colons on their way to the service (sd_listen_fds_with_names(3)).
fn names(table: &Table<'_>) -> Vec<String> {
    let items = table.string_list("names");
    for item in &items {
        let plain = item.value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
        if item.value.is_empty() || item.value.len() > 255 || !plain {
            let message = format!(
                "`{}` is no name of a socket: 1 to 255 characters, no space, no `:`",
                item.value
            );
            table.report(Problem::error(Some(item.position.clone()), message));
        }
    }
    items.into_iter().map(|item| item.value).collect()
}

fn mode(table: &Table<'_>) -> u32 {
    let Some(text) = table.string_item("mode") else {
        return 0o666;
    };
    let mode = u32::from_str_radix(&text.value, 8).ok().filter(|mode| *mode <= 0o777);
    mode.unwrap_or_else(|| {
        let problem = Problem::error(Some(text.position), format!("`{}` is no mode of a file", text.value));
        table.report(problem.with_hint("three octal digits, such as \"660\""));
        0o600
    })
}
