//! The daemon: finds a link, gets or sets its address, keeps the lease, and tells about every change.
//!
//! One thread and one `poll` over the kernel's link changes and one DHCP socket per link. Every link that may carry the
//! network runs its own DHCP client; the first that is granted a lease wins and the others stop. When that lease or
//! link is lost, all begin again. Nothing that fails ends the daemon: it is told, and tried again after 1 to 30 s.

use crate::configuration::Configuration;
use crate::dhcp::{Client, Lease, Output, Phase};
use crate::error::NetError;
use crate::event::Event;
use crate::link::{self, Link, Mac};
use crate::notify;
use crate::rtnetlink::{LinkMonitor, Rtnetlink};
use crate::settings::Settings;
use crate::status::Status;
use crate::transport::DhcpSocket;
use crate::waiting::Waiting;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::convert::Infallible;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The waits after something failed: doubled each time, up to the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// A poll never sleeps longer, whatever the timers say.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);
/// Resolvers of all users read `/etc/resolv.conf`.
const RESOLV_CONF_MODE: u32 = 0o644;

/// Brings the network up and keeps it up. Once it is up, tells the supervisor (`$NOTIFY_SOCKET`).
///
/// A process that starts again takes over what an earlier one left: an address that is granted again is not touched.
///
/// # Errors
/// Only when the kernel has no rtnetlink at all; it never returns otherwise.
pub fn run(settings: &Settings, report: &mut dyn FnMut(Event)) -> Result<Infallible, NetError> {
    let now = clock();
    let mut daemon = Daemon {
        settings,
        report,
        kernel: Rtnetlink::open()?,
        monitor: LinkMonitor::open()?,
        links: Vec::new(),
        attempts: Vec::new(),
        network: None,
        waiting: Waiting::new(now),
        refresh: Some(now),
        failures: 0,
        notified: false,
    };
    loop {
        daemon.step();
    }
}

/// DHCP on one link.
#[derive(Debug)]
struct Attempt {
    link: Link,
    client: Client,
    socket: DhcpSocket,
}

/// The link that carries the network.
#[derive(Debug)]
struct Network {
    link: Link,
    configuration: Configuration,
}

struct Daemon<'d> {
    settings: &'d Settings,
    report: &'d mut dyn FnMut(Event),
    kernel: Rtnetlink,
    monitor: LinkMonitor,
    /// The links that may carry the network, as last seen.
    links: Vec<Link>,
    attempts: Vec<Attempt>,
    network: Option<Network>,
    waiting: Waiting,
    /// When to look at the links again without being told of a change.
    refresh: Option<Duration>,
    /// Failures in a row.
    failures: u32,
    notified: bool,
}

impl Daemon<'_> {
    /// One turn: does what is due, then sleeps until something is.
    fn step(&mut self) {
        let now = clock();
        if self.refresh.is_some_and(|at| now >= at) {
            self.refresh = None;
            self.refresh_links(now);
        }
        for index in (0..self.attempts.len()).rev() {
            // Acting on one attempt may remove it and others behind it.
            if let Some(attempt) = self.attempts.get_mut(index) {
                let outputs = attempt.client.tick(now);
                self.act(index, outputs, now);
            }
        }
        if self.network.is_none() && self.waiting.tell(now) {
            self.tell_waiting(now);
        }
        self.sleep(now);
    }

    fn sleep(&mut self, now: Duration) {
        let report = self.network.is_none().then(|| self.waiting.due());
        let timers = self.attempts.iter().map(|attempt| attempt.client.deadline());
        let wake = timers.chain(self.refresh).chain(report).min();
        let timeout = wake.map_or(LONGEST_SLEEP, |wake| wake.saturating_sub(now).min(LONGEST_SLEEP));
        let mut polled = vec![PollFd::from_borrowed_fd(self.monitor.as_fd(), PollFlags::IN)];
        let sockets = self.attempts.iter().map(|attempt| attempt.socket.as_fd());
        polled.extend(sockets.map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN)));
        // An interrupted poll is a short one.
        let _ = rustix::event::poll(&mut polled, Some(&timespec(timeout)));
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        self.read(&ready);
    }

    /// Reads what came: `ready` is the monitor, then one for each attempt.
    fn read(&mut self, ready: &[bool]) {
        let now = clock();
        if ready[0] {
            self.monitor.clear();
            self.refresh = Some(now);
        }
        for index in (0..ready.len() - 1).rev() {
            if !ready[index + 1] {
                continue;
            }
            let messages = self.attempts.get(index).map(|attempt| attempt.socket.receive());
            for message in messages.unwrap_or_default() {
                if let Some(attempt) = self.attempts.get_mut(index) {
                    let outputs = attempt.client.receive(now, &message);
                    self.act(index, outputs, now);
                }
            }
        }
    }

    /// Looks at the links: sets new ones up, notices lost ones, and begins where there is a carrier.
    fn refresh_links(&mut self, now: Duration) {
        let links = match self.kernel.links() {
            Ok(links) => links,
            Err(error) => return self.trouble(&error, now),
        };
        self.links = link::candidates(&links, self.settings.link.as_deref())
            .into_iter()
            .cloned()
            .collect();
        self.set_up(&links, now);
        self.notice_network(now);
        let links = &self.links;
        let chosen = self.network.as_ref().map(|network| network.link.index);
        self.attempts.retain(|attempt| {
            let has_carrier = |link: &Link| link.carrier || chosen == Some(link.index);
            links
                .iter()
                .any(|link| link.index == attempt.link.index && has_carrier(link))
        });
        if self.network.is_none() {
            self.begin(now);
        }
    }

    /// Sets up what is down: the loopback link always, the others while there is no network.
    fn set_up(&mut self, links: &[Link], now: Duration) {
        let loopback = links.iter().filter(|link| link.loopback);
        let others = self.links.iter().filter(|_| self.network.is_none());
        let down: Vec<Link> = loopback.chain(others).filter(|link| !link.up).cloned().collect();
        for link in down {
            if let Err(error) = self.kernel.set_up(&link) {
                self.trouble(&error, now);
            }
        }
    }

    /// Notices what became of the link that carries the network.
    fn notice_network(&mut self, now: Duration) {
        let Some(network) = &mut self.network else { return };
        let name = network.link.name.clone();
        let Some(seen) = self.links.iter().find(|link| link.index == network.link.index) else {
            self.down(Event::LinkGone { link: name }, now);
            return;
        };
        let had = std::mem::replace(&mut network.link.carrier, seen.carrier);
        match (had, seen.carrier) {
            (true, false) => (self.report)(Event::CarrierLost { link: name }),
            (false, true) => {
                (self.report)(Event::CarrierBack { link: name });
                self.attempts.iter_mut().for_each(|attempt| attempt.client.confirm(now));
            }
            _ => {}
        }
    }

    /// Begins on every link with a carrier where nothing has begun: the fixed address on the first, else DHCP on each.
    fn begin(&mut self, now: Duration) {
        let connected: Vec<Link> = self.links.iter().filter(|link| link.carrier).cloned().collect();
        if let (Some(configuration), Some(link)) = (self.settings.fixed_configuration(), connected.first()) {
            return self.up(link.clone(), configuration, None, now);
        }
        for link in connected {
            if self.attempts.iter().any(|attempt| attempt.link.index == link.index) {
                continue;
            }
            match (DhcpSocket::open(&link.name), link.mac) {
                (Ok(socket), Some(mac)) => {
                    let client = Client::new(mac, seed(mac), now);
                    self.attempts.push(Attempt { link, client, socket });
                }
                (Err(error), _) => self.trouble(&error, now),
                // Candidates have a hardware address.
                (Ok(_), None) => {}
            }
        }
    }

    /// Carries out what a client wants.
    fn act(&mut self, index: usize, outputs: Vec<Output>, now: Duration) {
        for output in outputs {
            let Some(attempt) = self.attempts.get(index) else {
                return;
            };
            match output {
                Output::Send(message, to) => {
                    if let Err(error) = attempt.socket.send(&message, to) {
                        // The client repeats by itself; no more than to tell is needed.
                        (self.report)(Event::Trouble {
                            message: error.to_string(),
                        });
                    }
                }
                Output::Configure(lease) => {
                    let winner = self.attempts.swap_remove(index);
                    self.attempts = vec![winner];
                    return self.granted(&lease, now);
                }
                Output::Withdraw(loss) => self.withdraw(index, loss, now),
            }
        }
    }

    /// Uses the lease of the only attempt that is left.
    fn granted(&mut self, lease: &Lease, now: Duration) {
        let Some(link) = self.attempts.first().map(|attempt| attempt.link.clone()) else {
            return;
        };
        let mut configuration = lease.configuration.clone();
        if !self.settings.dns.is_empty() {
            configuration.dns.clone_from(&self.settings.dns);
        }
        if let (true, Some(name)) = (self.settings.take_host_name, &lease.host_name)
            && let Err(error) = rustix::system::sethostname(name.as_bytes())
        {
            let message = format!("cannot take the host name `{name}`: {error}");
            (self.report)(Event::Trouble { message });
        }
        self.up(link, configuration, Some(lease), now);
    }

    /// Applies a configuration and tells about it, unless it is the one that stands.
    fn up(&mut self, link: Link, configuration: Configuration, lease: Option<&Lease>, now: Duration) {
        if let Err(error) = self.kernel.configure(&link, &configuration) {
            // What the kernel refused is asked for again from the start, after a pause.
            self.attempts.clear();
            return self.trouble(&error, now);
        }
        self.failures = 0;
        let unchanged = self
            .network
            .as_ref()
            .is_some_and(|network| network.link.index == link.index && network.configuration == configuration);
        if let Err(error) = self.write_files(&link, &configuration, lease) {
            (self.report)(Event::Trouble {
                message: error.to_string(),
            });
        }
        if !unchanged {
            (self.report)(Event::Up {
                link: link.name.clone(),
                configuration: configuration.clone(),
            });
        }
        self.network = Some(Network { link, configuration });
        self.notify();
    }

    fn write_files(&self, link: &Link, configuration: &Configuration, lease: Option<&Lease>) -> Result<(), NetError> {
        let resolv_conf = &self.settings.resolv_conf;
        mos_sys::durable::write(resolv_conf, configuration.resolv_conf().as_bytes(), RESOLV_CONF_MODE)
            .map_err(NetError::io(resolv_conf))?;
        let mut status = Status::new(&link.name, link.mac.unwrap_or_default(), configuration);
        status.server = lease.map(|lease| lease.server);
        status.lease_expires = lease.and_then(|lease| lease.duration).map(|duration| {
            let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            (today + duration).as_secs()
        });
        status.write(&self.settings.status)
    }

    /// Tells the supervisor, once.
    fn notify(&mut self) {
        if std::mem::replace(&mut self.notified, true) {
            return;
        }
        let Some(socket) = std::env::var_os(notify::VARIABLE) else {
            return;
        };
        if let Err(error) = notify::ready(&socket) {
            let message = format!("cannot tell the supervisor at {}: {error}", socket.display());
            (self.report)(Event::Trouble { message });
        }
    }

    /// Takes the address of a lost lease away.
    fn withdraw(&mut self, index: usize, loss: crate::dhcp::client::Loss, now: Duration) {
        let Some(network) = &self.network else { return };
        let event = Event::LeaseLost {
            link: self.attempts[index].link.name.clone(),
            address: network.configuration.address.address(),
            loss,
        };
        if let Err(error) = self.kernel.flush(&network.link) {
            self.trouble(&error, now);
        }
        self.down(event, now);
    }

    /// The network is no more; everything begins again.
    fn down(&mut self, event: Event, now: Duration) {
        self.network = None;
        self.waiting = Waiting::new(now);
        self.refresh = Some(now);
        (self.report)(event);
        if let Err(error) = Status::remove(&self.settings.status) {
            (self.report)(Event::Trouble {
                message: error.to_string(),
            });
        }
    }

    /// Tells what failed and looks again after a pause.
    fn trouble(&mut self, error: &NetError, now: Duration) {
        let pause = FIRST_RETRY.saturating_mul(1 << self.failures.min(5)).min(LONGEST_RETRY);
        self.failures += 1;
        self.refresh = Some(now + pause);
        (self.report)(Event::Trouble {
            message: error.to_string(),
        });
    }

    fn tell_waiting(&mut self, now: Duration) {
        let waited = self.waiting.waited(now);
        if self.links.is_empty() {
            (self.report)(Event::WaitingForLink {
                wanted: self.settings.link.clone(),
                waited,
            });
        } else if self.attempts.is_empty() {
            let links = self.links.iter().map(|link| link.name.clone()).collect();
            (self.report)(Event::WaitingForCarrier { links, waited });
        }
        for attempt in &self.attempts {
            if !matches!(attempt.client.phase(), Phase::Bound(_)) {
                let (link, tries) = (attempt.link.name.clone(), attempt.client.tries());
                (self.report)(Event::WaitingForAnswer { link, tries, waited });
            }
        }
    }
}

/// Time since the machine started, suspension included: leases run on while a machine sleeps.
fn clock() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// Chance from the kernel; a machine so young that it has none yet still differs by its hardware address.
fn seed(mac: Mac) -> u64 {
    let mut bytes = [0; 8];
    bytes[..6].copy_from_slice(&mac);
    let fixed = u64::from_ne_bytes(bytes);
    let mut random = [0; 8];
    match rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::NONBLOCK) {
        Ok(_) => fixed ^ u64::from_ne_bytes(random),
        Err(_) => fixed ^ clock().as_nanos() as u64,
    }
}
