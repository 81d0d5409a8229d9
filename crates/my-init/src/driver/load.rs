//! Service files, as they are now.

use super::Driver;

impl Driver {
    /// The services that the files describe, with the identity of the files each would run, and what else there is to
    /// know of the files; `requested` are instances of templates that no file names.
    pub(super) fn load_services(
        &mut self,
        requested: &[String],
    ) -> (mos_service::Loaded, Vec<(mos_service::Service, u64)>) {
        self.loaded = true;
        let mut loaded = self.load_files(requested);
        self.say_all(&loaded.problems);
        self.templates = std::mem::take(&mut loaded.templates);
        let services = self.stamped(std::mem::take(&mut loaded.services));
        (loaded, services)
    }

    /// What the service files say, with instances of the templates among them.
    pub(super) fn load_files(&self, requested: &[String]) -> mos_service::Loaded {
        let mut loaded = crate::services::load(&self.setup.services);
        for name in requested {
            loaded.instantiate(name);
        }
        let said = self.setup.line.target.apply(loaded.services.iter_mut());
        loaded.problems.extend(said.map(crate::services::warning));
        loaded
    }

    pub(super) fn stamped(&self, services: Vec<mos_service::Service>) -> Vec<(mos_service::Service, u64)> {
        let path = self.environment.path();
        let stamped = services.into_iter().map(|service| {
            let unit = self
                .supervisor
                .find(&service.name)
                .and_then(|id| self.supervisor.unit(id));
            let stamp = match unit.filter(|unit| unit.is_unread() && service.command.is_none()) {
                // What it runs is not known; it is what it was.
                Some(unit) => unit.stamp(),
                None => crate::services::stamp(&service, path),
            };
            (service, stamp)
        });
        stamped.collect()
    }
}
