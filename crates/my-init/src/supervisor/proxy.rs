//! Services behind a proxy: started with it, stopped with it.
//!
//! Everything here follows from where the two stand, whenever one of them changes, so also for the successor of a
//! supervisor that was killed in between.

use super::state::{AfterStop, Reason, State};
use super::{Id, Supervisor};
use crate::clock::Millis;

impl Supervisor {
    /// Something has changed in a service: it may be a proxy, or be behind one.
    pub(super) fn look_at_proxies(&mut self, id: Id, now: Millis) {
        if self.shutdown.is_some() {
            return;
        }
        if let Some(behind) = self.behind(id) {
            self.keep_behind(id, behind, now);
            self.call_off(id, behind, now);
        }
        let proxies = self.unit(id).map_or_else(Vec::new, |unit| unit.proxies.clone());
        for proxy in proxies {
            self.call_off(proxy, id, now);
        }
    }

    /// Tells everybody behind a proxy which one that is.
    pub(super) fn link_proxies(&mut self, ids: &[Id]) {
        for &id in ids {
            if let Some(unit) = self.units.get_mut(id).and_then(Option::as_mut) {
                unit.proxies.clear();
            }
        }
        for &id in ids {
            if let Some(behind) = self
                .behind(id)
                .and_then(|behind| self.units.get_mut(behind))
                .and_then(Option::as_mut)
            {
                behind.proxies.push(id);
            }
        }
    }

    fn behind(&self, id: Id) -> Option<Id> {
        self.find(&self.service(id)?.proxy.as_ref()?.service)
            .filter(|behind| *behind != id)
    }

    /// With the proxy's process the service behind it is there; without, it is not, unless somebody else wants it.
    fn keep_behind(&mut self, proxy: Id, behind: Id, now: Millis) {
        let Some((unit, service)) = self.unit(proxy).zip(self.unit(behind)) else {
            return;
        };
        let works = matches!(unit.state, State::Starting) && (unit.triggered || unit.pid.is_some());
        let rests = matches!(unit.state, State::Listening | State::Inactive | State::Failed(_));
        if works && service.state.is_at_rest() && !matches!(service.state, State::Failed(Reason::Cycle(_))) {
            if let Some(service) = self.unit_mut(behind) {
                (service.wanted, service.pulled, service.triggered, service.attempts) = (true, true, true, 0);
            }
            self.begin_stop(behind, AfterStop::Again, now);
        } else if rests && service.pulled {
            let why = format!("nobody is connected to {}, its proxy", unit.service.name);
            if let Some(service) = self.unit_mut(behind) {
                service.put_down(why);
                service.pulled = false;
            }
            if !self.unit(behind).is_some_and(|service| service.state.is_at_rest()) {
                self.begin_stop(behind, AfterStop::Rest, now);
            }
        }
    }

    /// The service behind a proxy has ended: so does the proxy, whose connections lead nowhere, and waits for the next.
    fn call_off(&mut self, proxy: Id, behind: Id, now: Millis) {
        let Some((unit, service)) = self.unit(proxy).zip(self.unit(behind)) else {
            return;
        };
        if unit.pid.is_none() || unit.state != State::Running || !service.state.is_at_rest() {
            return;
        }
        let after = match &service.state {
            State::Failed(_) => AfterStop::Fail(Reason::DependencyFailed(service.service.name.clone())),
            _ => AfterStop::Again,
        };
        self.begin_stop(proxy, after, now);
    }
}
