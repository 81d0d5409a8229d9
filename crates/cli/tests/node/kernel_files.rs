//! Modules and firmware that a node's image does not have: `examples/kernel-files`, on a kernel for real hardware.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mos_serve::Server;

use crate::support::run;
use crate::system::{Script, System, console, dead_port, wait_all};

/// Debian's kernel for real machines: the one for virtual machines has no driver that wants firmware.
const KERNEL: &str = "linux-image-6.12-amd64";
/// What `e100` asks for when a card of this kind is switched on, and takes when it has this length (`UCODE_SIZE` words
/// and three bytes, in the kernel's `drivers/net/ethernet/intel/e100.c`). QEMU's card ignores what is in it.
const FIRMWARE: &str = "e100/d102e_ucode.bin";
const FIRMWARE_LENGTH: usize = 134 * 4 + 3;
/// The card that wants it.
const CARD: &str = "i82551,romfile=";

/// Looks at what the mounts bring. `cfg80211` asks for `regulatory.db` when it is loaded; the kernel's messages about
/// firmware are those that `firmware_class.dyndbg=+p` switches on.
const PROBE: Script = Script {
    name: "probe",
    script: r#"#!/bin/sh
say() { echo "PROBE $*" >/dev/console; }
loaded() { grep -q "^$1 " /proc/modules; }
again() { until "$@" 2>/dev/null; do sleep 0.2; done; }
say started

find_card() {
    for link in /sys/class/net/*; do
        case $(readlink "$link/device/driver") in */e100) card=${link##*/} ;; esac
    done
    [ -n "${card:-}" ]
}
again find_card
say "the card that was there before has a driver"
ip link set "$card" up && say "the card is up"

ip link add lazy0 type dummy && loaded dummy && say "the kernel itself asked for a module"
modprobe cfg80211 && loaded cfg80211 && say "modprobe found a module"
again sh -c 'dmesg | grep -q "Loaded FW: regulatory.db.p7s"'
dmesg | grep -E "firmware from|Loaded FW" >/dev/console

kill -9 $(pidof myfs)
again modprobe ifb && loaded ifb && say "mounted again"
say done
exec sleep 100000
"#,
    service: "[service]\nname = \"probe\"\nexec = \"/var/cache/bin/probe\"\n[dependencies]\nafter = [\"kernel-files\"]\n",
};

/// The example as a user has it, with firmware, in a system whose store is where nobody answers yet.
fn system(port: u16) -> System {
    let system = System::new(&[PROBE]);
    system.write(
        "mos.toml",
        &format!("[project]\nname = \"test\"\n[kernel]\npackage = \"{KERNEL}\"\n"),
    );
    firmware(&system);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/kernel-files");
    let text = |path: &str| fs::read_to_string(example.join(path)).unwrap();
    let changed = |path: &str, from: &str, to: &str| {
        let text = text(path);
        assert!(text.contains(from), "{text}");
        system.write(path, &text.replace(from, to));
    };
    changed("components/kernel-files.toml", "# firmware =", "firmware =");
    changed(
        "services/kernel-files.service.toml",
        "# [service.env]\n# FLIST_STORE = \"http://store.example.org\"",
        &format!("[service.env]\nFLIST_STORE = \"http://10.0.2.2:{port}\""),
    );
    let environment = fs::read_to_string(system.repository().join("environments/dev.toml")).unwrap();
    system.write(
        "environments/dev.toml",
        &format!("{environment}[components.kernel-files]\n"),
    );
    system
}

/// What the card wants, and what `cfg80211` wants.
fn firmware(system: &System) {
    system.write(&format!("firmware/{FIRMWARE}"), &"\u{1}".repeat(FIRMWARE_LENGTH));
    for name in ["regulatory.db", "regulatory.db.p7s"] {
        fs::copy(
            Path::new("/lib/firmware").join(name),
            system.repository().join("firmware").join(name),
        )
        .unwrap();
    }
}

/// The release names the locked kernel, and a second build does nothing.
fn check_release(system: &System) {
    let mut show = system.command(&["release", "show", "--env", "dev", "--json", "--from"]);
    let shown = String::from_utf8(run(show.arg(system.channel())).stdout).unwrap();
    let lock = fs::read_to_string(system.repository().join("mos.lock")).unwrap();
    let package = lock
        .lines()
        .find(|line| line.starts_with("name = \"linux-image-"))
        .unwrap();
    let kernel = package.split('"').nth(1).unwrap().strip_prefix("linux-image-").unwrap();
    assert!(shown.contains(&format!("+{kernel}+")), "{kernel}: {shown}");
    let again = system.command(&["runtime", "build", "--env", "dev"]).output().unwrap();
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(again.status.success() && !said.contains("packing"), "{said}");
}

/// Bytes of all files below a folder.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let size = |entry: fs::DirEntry| match entry.file_type().unwrap().is_dir() {
        true => size(&entry.path()),
        false => entry.metadata().unwrap().len(),
    };
    entries.map(size).sum()
}

/// As the kernel prints it of firmware that it took.
fn sha256(file: &Path) -> String {
    let said = String::from_utf8(run(Command::new("sha256sum").arg(file)).stdout).unwrap();
    said.split(' ').next().unwrap().to_owned()
}

#[test]
fn modules_and_firmware_come_on_demand_once_the_store_answers() {
    if !Path::new("/lib/firmware/regulatory.db").exists() {
        return eprintln!("SKIPPED: wireless-regdb is not installed");
    }
    let port = dead_port();
    let system = system(port);
    system.publish();
    check_release(&system);
    let channel = system.serve();
    let vm = system.boot_with(channel.address().port(), "firmware_class.dyndbg=+p", |machine| {
        machine.devices.push(CARD.to_owned());
    });
    // A store that is away holds up nothing.
    wait_all(
        &vm,
        &[
            "modules: those of the image: ",
            "firmware: those of the image: ",
            "PROBE started",
            "] ready",
        ],
    );
    assert!(!console(&vm).contains("PROBE the"), "{}", console(&vm));

    let served = Arc::new(AtomicU64::new(0));
    let count = served.clone();
    let _store = Server::bind(
        SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        &system.channel(),
        Arc::new(move |entry| {
            count.fetch_add(entry.bytes, Ordering::Relaxed);
        }),
    )
    .unwrap();
    wait_all(
        &vm,
        &[
            "PROBE the card that was there before has a driver",
            "PROBE the card is up",
            "PROBE the kernel itself asked for a module",
            "PROBE modprobe found a module",
            "PROBE mounted again",
            "PROBE done",
        ],
    );
    let said = console(&vm);
    for name in [FIRMWARE, "regulatory.db", "regulatory.db.p7s"] {
        let file = system.repository().join("firmware").join(name);
        for line in [
            format!("firmware from /lib/firmware/{name}"),
            format!("Loaded FW: {name}, sha256: {}", sha256(&file)),
        ] {
            assert!(said.contains(&line), "no `{line}`:\n{said}");
        }
    }
    let (served, whole) = (served.load(Ordering::Relaxed), size(&system.channel().join("blobs")));
    println!("{served} of {whole} bytes were fetched");
    assert!(served < whole / 10, "{served} of {whole}\n{said}");
}
