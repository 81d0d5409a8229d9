//! Instances of templates that were asked for by name, beside those that service files name.

use mos_service::Service;

use super::Supervisor;
use crate::clock::Millis;

impl Supervisor {
    /// Takes in services that no file names, of which `requested` is the one that was asked for. They stay until a reload
    /// finds that one stopped.
    pub fn introduce(&mut self, services: Vec<(Service, u64)>, requested: &str, now: Millis) {
        for (service, stamp) in services {
            let named = service.name == requested;
            let id = self.add(service, stamp, now);
            if let Some(unit) = self.unit_mut(id) {
                unit.requested = named;
                // Whoever asked says what is to become of it.
                unit.wanted &= !named;
            }
        }
        self.link(now);
        self.evaluate_all(now);
        self.settle(now);
    }

    /// Names of instances that exist because somebody asked, and that are to go on existing.
    pub fn requested(&self) -> Vec<String> {
        let requested = self.units().map(|(_, unit)| unit);
        let requested = requested.filter(|unit| unit.requested && !unit.gone && (unit.wanted || unit.pid.is_some()));
        requested.map(|unit| unit.service.name.clone()).collect()
    }
}
