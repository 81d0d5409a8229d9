//! TAP interfaces on a bridge of the host: made for one machine, removed with it.
//!
//! The kernel takes orders about interfaces from root only, so `ip` is called through `sudo` by others. The interface belongs
//! to the user, whose hypervisor may then open it. Its name holds the id of this process: what a killed one left behind is
//! removed by the next.

use crate::command::TapDevice;
use crate::error::VmError;
use crate::machine::Network;
use crate::tools;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// What the names of our interfaces begin with; then come the process id, `t`, and a number.
const PREFIX: &str = "mos";
/// The kernel's interfaces.
const INTERFACES: &str = "/sys/class/net";
/// The first half of hardware addresses that QEMU uses, locally administered.
const VENDOR: &str = "52:54:00";
const RANDOM: &str = "/proc/sys/kernel/random/uuid";

/// An interface that is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Tap {
    pub(crate) device: TapDevice,
}

impl Tap {
    /// The interface for a machine's network, if that needs one.
    pub(crate) fn of(network: &Network) -> Result<Option<Self>, VmError> {
        match network {
            Network::Bridge(bridge) => Self::on(bridge).map(Some),
            Network::None | Network::User => Ok(None),
        }
    }

    fn on(bridge: &str) -> Result<Self, VmError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !Path::new(INTERFACES).join(bridge).join("bridge").is_dir() {
            let bridge = bridge.to_owned();
            return Err(VmError::NoBridge { bridge });
        }
        sweep();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}t{number}", std::process::id());
        let random = fs::read_to_string(RANDOM).map_err(VmError::io(RANDOM))?;
        let tap = Self {
            device: TapDevice {
                mac: mac(&random),
                name,
            },
        };
        let (name, user) = (tap.device.name.as_str(), rustix::process::getuid().as_raw().to_string());
        let failed = |reason| VmError::Tap {
            bridge: bridge.to_owned(),
            reason,
        };
        ip(&["tuntap", "add", "dev", name, "mode", "tap", "user", &user])?.map_err(failed)?;
        ip(&["link", "set", "dev", name, "master", bridge, "up"])?.map_err(failed)?;
        Ok(tap)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        remove(&self.device.name);
    }
}

/// A failure leaves an interface that the next run removes.
fn remove(name: &str) {
    let _ = ip(&["link", "delete", "dev", name]);
}

/// Calls `ip`; what it says when it fails.
fn ip(arguments: &[&str]) -> Result<Result<(), String>, VmError> {
    let ip = tools::program(tools::IP)?;
    let mut command = match rustix::process::geteuid().is_root() {
        true => Command::new(&ip),
        false => {
            let mut sudo = Command::new(tools::program(tools::SUDO)?);
            sudo.arg(&ip);
            sudo
        }
    };
    let output = command.args(arguments).stdin(Stdio::inherit()).output();
    let output = output.map_err(VmError::io(ip))?;
    Ok(match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    })
}

/// A hardware address from random hexadecimal digits.
fn mac(random: &str) -> String {
    let digits: Vec<char> = random.chars().filter(char::is_ascii_hexdigit).collect();
    let pairs = digits
        .chunks_exact(2)
        .take(3)
        .map(|pair| pair.iter().collect::<String>());
    std::iter::once(VENDOR.to_owned())
        .chain(pairs)
        .collect::<Vec<_>>()
        .join(":")
}

/// Removes the interfaces of processes that are gone.
fn sweep() {
    for entry in fs::read_dir(INTERFACES).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if owner(&name).is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists()) {
            remove(&name);
        }
    }
}

/// The process that made an interface of ours.
fn owner(name: &str) -> Option<u32> {
    let (process, number) = name.strip_prefix(PREFIX)?.split_once('t')?;
    number.parse::<u32>().ok().and(process.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses() {
        assert_eq!(owner("mos4194304t12"), Some(4_194_304));
        // IFNAMSIZ, with its NUL.
        assert!("mos4194304t12".len() < 16);
        for other in ["mosbr", "most0", "mos1", "mos1tx", "eth0"] {
            assert_eq!(owner(other), None, "{other}");
        }
        assert_eq!(mac("0a1b2c3d-4e5f-\n"), "52:54:00:0a:1b:2c");
    }

    #[test]
    fn a_bridge_that_is_not_there_is_told_with_the_way_to_make_it() {
        let error = Tap::on("nobridge0").unwrap_err().to_string();
        assert!(
            error.contains("there is no bridge nobridge0") && error.contains("ip link add nobridge0"),
            "{error}"
        );
        assert!(matches!(Tap::on("lo"), Err(VmError::NoBridge { .. })));
    }

    #[test]
    fn an_interface_lives_as_long_as_its_machine() {
        let bridge = format!("mosb{}", std::process::id());
        if !matches!(ip(&["link", "add", &bridge, "type", "bridge"]), Ok(Ok(()))) {
            return eprintln!("SKIPPED: no bridge can be made here");
        }
        let there = |name: &str| Path::new(INTERFACES).join(name);
        let seen = Tap::on(&bridge).map(|tap| {
            let name = tap.device.name.clone();
            (there(&name).join("master").read_link().unwrap(), name)
        });
        remove(&bridge);
        let (master, name) = seen.unwrap();
        assert!(master.ends_with(&bridge), "{}", master.display());
        assert!(!there(&name).exists());
    }
}
