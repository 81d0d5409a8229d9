//! When and by what the state of a service was last verified: a state that was not looked at for long is only a memory.

use mos_service::Kind;

use super::state::{Reason, State, Unit};
use crate::clock::Millis;

impl Unit {
    /// How long ago it was last verified that the service is in its state, in milliseconds, and by what.
    pub(super) fn verified(&self, now: Millis) -> (Millis, String) {
        let ago = |then: Millis| now.saturating_sub(then);
        match (&self.state, self.pid) {
            _ if self.service.kind == Kind::Group => (0, "the states of its members".to_owned()),
            (State::Starting | State::Running | State::Degraded, Some(_)) => {
                let (then, by) = self.last_sign(now);
                (ago(then), by)
            }
            // It is looked at whenever one of them changes.
            (State::Running | State::Blocked, None) => (0, "the states of what it waits for".to_owned()),
            (State::Stopping, Some(_)) => (0, ALIVE.to_owned()),
            (State::Failed(reason), _) if reason.is_dependency() => (0, "the states of what it waits for".to_owned()),
            (State::Failed(Reason::Spawn(_)), _) => (ago(self.since), "the attempt to start it".to_owned()),
            (State::Failed(Reason::Cycle(_)), _) => (ago(self.since), "the service files".to_owned()),
            (State::Exited | State::Failed(_), _) => (ago(self.since), "its end".to_owned()),
            (State::Restarting, _) => (ago(self.since), "what its last start came to".to_owned()),
            (State::Listening, _) => (0, "its sockets, which are open".to_owned()),
            (State::Skipped(_), _) => (ago(self.since), "its conditions".to_owned()),
            _ => (ago(self.since), "what was last done to it".to_owned()),
        }
    }

    /// The last sign of a living process, the strongest that its file asks for.
    fn last_sign(&self, now: Millis) -> (Millis, String) {
        match (&self.service.health, self.probed_at, self.ready) {
            (Some(health), Some(then), _) => (then, health.probe.to_string()),
            (None, _, Some(then)) if self.service.tells_readiness() => (then, self.service.readiness_sign()),
            _ => (now, ALIVE.to_owned()),
        }
    }
}

/// The kernel tells of every end, so nothing needs to be asked for this.
const ALIVE: &str = "the kernel, for which its process has not ended";
