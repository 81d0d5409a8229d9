//! What has to be free before a service is started.

use crate::Silent;

/// Ports and program names that a service wants to itself, and what is done to whoever has them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Guards {
    /// TCP ports that it is going to listen on.
    pub ports: Vec<u16>,
    /// Names of programs, one of which is usually its own, that are not to run beside it.
    pub process_filters: Vec<String>,
    /// Whoever has one of them is killed; otherwise the service does not start.
    pub kill_others: bool,
}

impl Silent for Guards {
    const SILENT: &'static Self = &Self {
        ports: Vec::new(),
        process_filters: Vec::new(),
        kill_others: false,
    };
}

impl Guards {
    /// True when there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty() && self.process_filters.is_empty()
    }
}
