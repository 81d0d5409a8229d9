//! In what two descriptions of one service differ.

use crate::Service;

impl Service {
    /// True when a process that was started by the one need not be started anew for the other: what else is different is
    /// looked at when it is needed.
    pub fn runs_alike(&self, other: &Self) -> bool {
        let like = Self {
            dependencies: other.dependencies.clone(),
            lifecycle: other.lifecycle.clone(),
            class: other.class,
            critical: other.critical,
            // Whether it is to run is decided from its status itself.
            status: other.status,
            ..self.clone()
        };
        like.same(other)
    }

    /// What is different, in words of the service file.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let accounts = |one: &Self| (one.user.clone(), one.group.clone(), one.groups.clone());
        let process = |one: &Self| (one.umask, one.nice, one.oom_score_adjust, one.tty.clone());
        let readiness = |one: &Self| (one.kind, one.notify, one.ready_fd);
        let marks = |one: &Self| (one.class, one.critical, one.on_failure);
        let all = [
            ("exec", self.command != other.command),
            ("dir", self.directory != other.directory),
            ("env", self.environment != other.environment),
            ("user and groups", accounts(self) != accounts(other)),
            ("umask, nice, oom_score_adjust or tty", process(self) != process(other)),
            ("kind or readiness", readiness(self) != readiness(other)),
            ("status", self.status != other.status),
            ("class, critical or on_failure", marks(self) != marks(other)),
            ("[dependencies]", self.dependencies != other.dependencies),
            ("conditions", self.conditions != other.conditions),
            ("[lifecycle]", self.lifecycle != other.lifecycle),
            ("[health]", self.health != other.health),
            ("[security]", self.security != other.security),
            ("[limits]", self.limits != other.limits),
            ("[resources]", self.resources != other.resources),
            ("[logging]", self.logging != other.logging),
            ("ports, process_filters or kill_others", self.guards != other.guards),
            ("[socket]", self.sockets != other.sockets),
            ("[proxy]", self.proxy != other.proxy),
            ("[timer]", self.schedule != other.schedule),
        ];
        let mut named: Vec<&str> = all
            .iter()
            .filter(|(_, differs)| *differs)
            .map(|(name, _)| *name)
            .collect();
        if named.is_empty() && !self.same(other) {
            named.push("other keys");
        }
        named
    }
}

#[cfg(test)]
mod tests {
    use crate::Service;

    fn service(text: &str) -> Service {
        crate::parse("a.toml", text).service.unwrap()
    }

    #[test]
    fn only_what_a_process_is_started_with_needs_another_process() {
        let one = service("[service]\nexec = \"x\"\n");
        for (text, alike, names) in [
            ("[service]\nexec = \"x\"\n", true, vec![]),
            (
                "[service]\nexec = \"y\"\nenv = { A = \"1\" }\n",
                false,
                vec!["exec", "env"],
            ),
            (
                "[service]\nexec = \"x\"\n[lifecycle]\nmax_restarts = 3\n",
                true,
                vec!["[lifecycle]"],
            ),
            (
                "[service]\nexec = \"x\"\n[dependencies]\nafter = [\"b\"]\n",
                true,
                vec!["[dependencies]"],
            ),
            (
                "[service]\nexec = \"x\"\n[limits]\nprocesses = 3\n",
                false,
                vec!["[limits]"],
            ),
            (
                "[service]\nexec = \"x\"\nnice = 3\nstatus = \"stop\"\n",
                false,
                vec!["umask, nice, oom_score_adjust or tty", "status"],
            ),
        ] {
            let other = service(text);
            assert_eq!(
                (one.runs_alike(&other), one.differences(&other)),
                (alike, names),
                "{text}"
            );
        }
    }
}
