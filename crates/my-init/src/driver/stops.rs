//! Stops and restarts that somebody asks for, and what goes with them.

use serde_json::{Value, json};

use super::Driver;
use super::answers::refusal;
use crate::protocol::{Params, Refusal};

impl Driver {
    /// Stops a service, or starts it anew (`again`), and says who goes with it and who does not; with `dry_run` only that.
    pub(super) fn end_by_hand(&mut self, params: &Params, again: bool) -> Result<Value, Refusal> {
        let (name, tree, now) = (params.text("name"), params.truth("tree"), self.now());
        if again {
            self.introduce(name);
        }
        let company = self.supervisor.company(name, again, tree);
        let company = company.map_err(|error| refusal(&error))?;
        let dry_run = params.truth("dry_run");
        let done = match again {
            _ if dry_run => Ok(()),
            true => self.supervisor.restart_with(name, tree, now),
            false => self.supervisor.stop_with(name, tree, now),
        };
        done.map_err(|error| refusal(&error))?;
        let unit = self.supervisor.find(name).and_then(|id| self.supervisor.unit(id));
        Ok(json!({
            "ok": true,
            "name": name,
            "state": unit.map(|unit| unit.state().word()),
            "stops": company.stops,
            "restarts": company.restarts,
            "keeps": company.keeps,
            "dry_run": dry_run,
        }))
    }
}
