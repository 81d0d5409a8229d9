//! What a service may do: `[security]`.

use mos_toml::{Problem, Table, nearest};

use crate::Silent;

/// What a service may do beyond what its user may.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Security {
    /// The capabilities that it has, and no others; `None` for those that its user has.
    pub capabilities: Option<Vec<Capability>>,
    /// Programs that it executes gain nothing by set-user-ID or file capabilities (`PR_SET_NO_NEW_PRIVS`, prctl(2)).
    pub no_new_privileges: bool,
    /// It has a `/tmp` of its own.
    pub private_tmp: bool,
    /// It sees every file system but `/dev`, `/proc`, `/sys`, `/run`, `/tmp` and `/var` as read-only.
    pub read_only_root: bool,
}

impl Silent for Security {
    const SILENT: &'static Self = &Self {
        capabilities: None,
        no_new_privileges: false,
        private_tmp: false,
        read_only_root: false,
    };
}

impl Security {
    /// True when it takes a mount namespace of its own.
    pub fn has_own_mounts(&self) -> bool {
        self.private_tmp || self.read_only_root
    }
}

/// A capability's number (capabilities(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability(pub u8);

/// Names without `CAP_`, at the index of their number (linux/capability.h, Linux 5.9 and later).
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

impl Capability {
    /// Reads `net_bind_service`, `CAP_NET_BIND_SERVICE` or `net-bind-service`.
    fn parse(text: &str) -> Option<Self> {
        let plain = plain(text);
        let number = NAMES.iter().position(|name| *name == plain)?;
        u8::try_from(number).ok().map(Self)
    }
}

fn plain(text: &str) -> String {
    let lower = text.to_ascii_lowercase().replace('-', "_");
    lower.strip_prefix("cap_").map_or(lower.clone(), str::to_owned)
}

/// Reads `[security]`.
pub(crate) fn security<'d>(root: &Table<'d>, tables: &mut Vec<Table<'d>>) -> Security {
    let Some(table) = root.table("security") else {
        return Security::default();
    };
    let security = Security {
        capabilities: table.has("capabilities").then(|| capabilities(&table)),
        no_new_privileges: table.boolean("no_new_privileges").unwrap_or(false),
        private_tmp: table.boolean("private_tmp").unwrap_or(false),
        read_only_root: table.boolean("read_only_root").unwrap_or(false),
    };
    tables.push(table);
    security
}

fn capabilities(table: &Table<'_>) -> Vec<Capability> {
    let mut capabilities = Vec::new();
    for item in table.string_list("capabilities") {
        match Capability::parse(&item.value) {
            Some(capability) => capabilities.push(capability),
            None => {
                let problem = Problem::error(Some(item.position), format!("`{}` is not a capability", item.value));
                table.report(match nearest(&plain(&item.value), NAMES) {
                    Some(name) => problem.with_hint(format!("did you mean `{name}`?")),
                    None => problem.with_hint("capabilities(7) has their names, such as `net_bind_service`"),
                });
            }
        }
    }
    capabilities.sort_unstable();
    capabilities.dedup();
    capabilities
}
