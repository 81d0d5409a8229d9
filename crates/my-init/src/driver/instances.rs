//! Instances of templates that somebody asks for.

use super::Driver;
use crate::services::stamp;

impl Driver {
    /// Takes in an instance that is not there yet, when a template describes it; otherwise nothing happens, and whoever
    /// asked is told that there is no such service.
    pub(super) fn introduce(&mut self, name: &str) {
        let known = |name: &str| self.supervisor.find(name).is_some();
        if known(name) || mos_service::split_instance(name).is_none() {
            return;
        }
        let mut loaded = mos_service::Loaded {
            templates: std::mem::take(&mut self.templates),
            ..mos_service::Loaded::default()
        };
        let made = loaded.instantiate(name);
        self.templates = std::mem::take(&mut loaded.templates);
        for problem in &loaded.problems {
            self.say(&problem.to_string().replace('\n', ";"));
        }
        if made {
            let path = self.environment.path();
            let services = loaded.services.into_iter();
            let stamped = services.filter(|service| self.supervisor.find(&service.name).is_none());
            let stamped = stamped.map(|service| {
                let stamp = stamp(&service, path);
                (service, stamp)
            });
            let stamped = stamped.collect();
            self.supervisor.introduce(stamped, name, self.now());
            self.watch_clock();
        }
    }
}
