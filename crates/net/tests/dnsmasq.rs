//! The daemon against a real DHCP server: dnsmasq in a network namespace, the daemon in another, a veth pair between.
//!
//! Needs root, `ip` (iproute2) and `dnsmasq` (dnsmasq-base); says so and passes where they are missing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

use mos_net::{Event, Settings, Status};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Far more than any step here takes on an idle machine.
const PATIENCE: Duration = Duration::from_secs(40);

fn missing() -> Option<&'static str> {
    let runs = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    if !rustix::process::geteuid().is_root() {
        return Some("not root");
    }
    if Command::new("ip").arg("-V").output().is_err() {
        return Some("no ip: install iproute2");
    }
    (!runs("dnsmasq")).then_some("no dnsmasq: install dnsmasq-base")
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {text}");
}

/// Two namespaces joined by a cable: `server` with 10.77.0.1/24 on `cable`, `node` with nothing yet on `nic0`.
struct Lab {
    server: String,
    node: String,
    directory: tempfile::TempDir,
    dnsmasq: Option<Child>,
}

impl Lab {
    fn new(name: &str) -> Self {
        let id = std::process::id();
        let (server, node) = (format!("mos-{id}-{name}-s"), format!("mos-{id}-{name}-n"));
        ip(&format!("netns add {server}"));
        ip(&format!("netns add {node}"));
        ip(&format!(
            "link add cable netns {server} type veth peer name nic0 netns {node}"
        ));
        ip(&format!("-n {server} address add 10.77.0.1/24 dev cable"));
        ip(&format!("-n {server} link set cable up"));
        Self {
            server,
            node,
            directory: tempfile::tempdir().unwrap(),
            dnsmasq: None,
        }
    }

    fn serve(&mut self, range: &str) {
        let leases = self.directory.path().join("leases");
        let child = Command::new("ip")
            .args([
                "netns",
                "exec",
                &self.server,
                "dnsmasq",
                "--keep-in-foreground",
                "--conf-file=/dev/null",
            ])
            .args([
                "--port=0",
                "--user=root",
                "--pid-file=",
                "--interface=cable",
                "--bind-interfaces",
                "--no-ping",
            ])
            .args([
                "--dhcp-authoritative",
                "--dhcp-option=option:T1,3",
                "--dhcp-option=option:T2,5",
            ])
            .args(["--dhcp-option=option:dns-server,10.77.0.53", "--domain=lab.example"])
            .arg(format!("--dhcp-range={range}"))
            .arg(format!("--dhcp-leasefile={}", leases.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        self.dnsmasq = Some(child);
    }

    fn stop_serving(&mut self) {
        if let Some(mut child) = self.dnsmasq.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn settings(&self, command_line: &str) -> Settings {
        let mut settings = Settings::from_command_line(command_line).unwrap();
        settings.link = Some("nic0".to_owned());
        settings.resolv_conf = self.directory.path().join("resolv.conf");
        settings.status = self.directory.path().join("run/network.json");
        settings
    }

    /// Runs the daemon in the node's namespace, on a thread that ends with this process.
    fn start(&self, settings: Settings) -> Receiver<Event> {
        let namespace = File::open(Path::new("/run/netns").join(&self.node)).unwrap();
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            let error = mos_net::daemon::run(&settings, &mut |event| {
                eprintln!("{event}");
                // The test is over when nobody listens.
                let _ = sender.send(event);
            });
            eprintln!("the daemon ended: {error:?}");
        });
        receiver
    }

    fn shown(&self, arguments: &str) -> String {
        let output = Command::new("ip")
            .args(["-n", &self.node])
            .args(arguments.split(' '))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop_serving();
        for name in [&self.server, &self.node] {
            // The daemon's thread keeps the namespace itself alive until the process ends.
            let _ = Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
}

/// The first event that is wanted; earlier ones are passed over.
fn wait_for(events: &Receiver<Event>, wanted: impl Fn(&Event) -> bool) -> Event {
    let end = Instant::now() + PATIENCE;
    loop {
        match events.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(event) if wanted(&event) => return event,
            Ok(_) => {}
            Err(error) => panic!("the event did not come: {error}"),
        }
    }
}

fn is_up(event: &Event) -> bool {
    matches!(event, Event::Up { .. })
}

#[test]
fn lease_is_got_applied_renewed_and_lost() {
    if let Some(reason) = missing() {
        return eprintln!("SKIPPED: {reason}");
    }
    let mut lab = Lab::new("dhcp");
    lab.serve("10.77.0.100,10.77.0.100,2m");
    let events = lab.start(lab.settings(""));

    assert_eq!(
        wait_for(&events, is_up).to_string(),
        "network up: nic0 10.77.0.100/24 via 10.77.0.1"
    );
    assert!(
        lab.shown("-4 address show nic0")
            .contains("inet 10.77.0.100/24 brd 10.77.0.255")
    );
    let routes = lab.shown("route");
    assert!(
        routes.contains("default via 10.77.0.1 dev nic0 proto dhcp src 10.77.0.100"),
        "{routes}"
    );
    let resolv_conf = std::fs::read_to_string(lab.directory.path().join("resolv.conf")).unwrap();
    assert!(
        resolv_conf.ends_with("search lab.example\nnameserver 10.77.0.53\n"),
        "{resolv_conf}"
    );

    // A renewal moves the end of the lease and tells nothing.
    let path = lab.settings("").status;
    let first = Status::read(&path).unwrap().unwrap().lease_expires.unwrap();
    assert_eq!(
        events.recv_timeout(Duration::from_secs(5)),
        Err(RecvTimeoutError::Timeout)
    );
    let second = Status::read(&path).unwrap().unwrap().lease_expires.unwrap();
    assert!(second >= first + 2, "renewed after 3 s: {first} -> {second}");

    // The server forgets us and gives out another range: it refuses, the node asks again and gets a new address.
    lab.stop_serving();
    std::fs::remove_file(lab.directory.path().join("leases")).unwrap();
    lab.serve("10.77.0.200,10.77.0.200,2m");
    wait_for(&events, |event| matches!(event, Event::LeaseLost { .. }));
    assert_eq!(
        wait_for(&events, is_up).to_string(),
        "network up: nic0 10.77.0.200/24 via 10.77.0.1"
    );
    assert!(!lab.shown("-4 address show nic0").contains("10.77.0.100"));
}

#[test]
fn a_link_and_a_server_that_come_late_are_waited_for_visibly() {
    if let Some(reason) = missing() {
        return eprintln!("SKIPPED: {reason}");
    }
    let mut lab = Lab::new("late");
    ip(&format!("-n {} link set cable down", lab.server));
    ip(&format!("-n {} link set nic0 name later0", lab.node));
    let events = lab.start(lab.settings(""));
    wait_for(
        &events,
        |event| matches!(event, Event::WaitingForLink { wanted: Some(name), .. } if name == "nic0"),
    );
    ip(&format!("-n {} link set later0 name nic0", lab.node));
    wait_for(&events, |event| matches!(event, Event::WaitingForCarrier { .. }));
    ip(&format!("-n {} link set cable up", lab.server));
    wait_for(&events, |event| {
        matches!(event, Event::WaitingForAnswer { tries: 1.., .. })
    });
    lab.serve("10.77.0.100,10.77.0.150,2m");
    wait_for(&events, is_up);

    // The cable out and in again: the lease is confirmed and stands.
    ip(&format!("-n {} link set cable down", lab.server));
    wait_for(&events, |event| matches!(event, Event::CarrierLost { .. }));
    ip(&format!("-n {} link set cable up", lab.server));
    wait_for(&events, |event| matches!(event, Event::CarrierBack { .. }));

    ip(&format!("-n {} link delete nic0", lab.node));
    wait_for(&events, |event| matches!(event, Event::LinkGone { .. }));
    assert_eq!(Status::read(&lab.settings("").status).unwrap(), None);
}

#[test]
fn fixed_address_needs_no_server() {
    if let Some(reason) = missing() {
        return eprintln!("SKIPPED: {reason}");
    }
    let lab = Lab::new("fixed");
    let events = lab.start(lab.settings("mosip4=10.77.0.9/24,10.77.0.1 mosdns=10.77.0.53"));
    assert_eq!(
        wait_for(&events, is_up).to_string(),
        "network up: nic0 10.77.0.9/24 via 10.77.0.1"
    );
    assert!(lab.shown("route").contains("default via 10.77.0.1 dev nic0"));
    assert!(lab.shown("address show lo").contains("inet 127.0.0.1/8"));
    let status = Status::read(&lab.settings("").status).unwrap().unwrap();
    assert_eq!((status.server, status.lease_expires), (None, None));
}
