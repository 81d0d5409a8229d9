//! Device nodes: who may use them, and other names for them.
//!
//! devtmpfs makes every node, for root alone. What others may use, by usual groups, is one table here. Of the links that
//! udev makes, those are made that the kernel itself vouches for in its events: `/dev/disk/by-partlabel`, `by-partuuid` and
//! `by-diskseq`. Links by the content of a file system (`by-uuid`, `by-label`) would have PID 1 wait for disks, and are
//! left to who mounts.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;

use super::accounts::Accounts;
use super::glob;

/// Names below `/dev`, permission bits, group. A node whose group is not there stays root's.
const RULES: [(&str, u32, &str); 22] = [
    ("fuse", 0o666, "root"),
    ("net/tun", 0o666, "root"),
    ("tty", 0o666, "tty"),
    ("ptmx", 0o666, "tty"),
    ("tty[0-9]*", 0o620, "tty"),
    ("ttyS[0-9]*", 0o660, "dialout"),
    ("ttyAMA[0-9]*", 0o660, "dialout"),
    ("ttyUSB[0-9]*", 0o660, "dialout"),
    ("ttyACM[0-9]*", 0o660, "dialout"),
    ("kvm", 0o660, "kvm"),
    ("vhost-net", 0o660, "kvm"),
    ("vhost-vsock", 0o660, "kvm"),
    ("vsock", 0o666, "root"),
    ("dri/card[0-9]*", 0o660, "video"),
    ("dri/renderD[0-9]*", 0o660, "render"),
    ("video[0-9]*", 0o660, "video"),
    ("fb[0-9]*", 0o660, "video"),
    ("snd/*", 0o660, "audio"),
    ("input/*", 0o660, "input"),
    ("sr[0-9]*", 0o660, "cdrom"),
    ("loop-control", 0o660, "disk"),
    ("disk", 0o660, "disk"),
];
/// The rule for block devices without one of their own.
const BLOCK: usize = RULES.len() - 1;
/// Links that every program may count on (udev makes them too).
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];
/// How deep below `/dev` nodes are.
const DEPTH: usize = 3;

/// What an event of the kernel, or a `uevent` file of sysfs, says.
pub type Facts = BTreeMap<String, String>;

/// `KEY=value`, one per line or each ended by a zero byte.
pub fn facts(text: &str) -> Facts {
    let lines = text.split(['\n', '\0']).filter_map(|line| line.split_once('='));
    lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Sets every node below `devices` (`/dev`) right, for the block devices below `system` (`/sys/class/block`) with links.
pub fn settle(devices: &Path, system: &Path, accounts: &Accounts) {
    for (name, target) in LINKS {
        let _ = symlink(target, devices.join(name));
    }
    let mut block = Vec::new();
    for entry in fs::read_dir(system).into_iter().flatten().flatten() {
        let text = fs::read_to_string(entry.path().join("uevent")).unwrap_or_default();
        block.push(facts(&text));
    }
    walk(devices, "", DEPTH, &mut |name| permit(devices, name, false, accounts));
    for facts in block {
        appear(devices, &facts, true, accounts);
    }
}

fn walk(devices: &Path, below: &str, depth: usize, found: &mut impl FnMut(&str)) {
    for entry in fs::read_dir(devices.join(below)).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        let file = entry.file_name();
        let name = match below {
            "" => file.to_string_lossy().into_owned(),
            below => format!("{below}/{}", file.to_string_lossy()),
        };
        if kind.is_dir() && depth > 0 {
            walk(devices, &name, depth - 1, found);
        } else if !kind.is_symlink() && !kind.is_dir() {
            found(&name);
        }
    }
}

/// A device is there.
pub fn appear(devices: &Path, facts: &Facts, block: bool, accounts: &Accounts) {
    let Some(name) = node(facts) else { return };
    permit(devices, name, block, accounts);
    for link in links(facts).filter(|_| block) {
        let link = devices.join(link);
        let _ = link.parent().map(fs::create_dir_all);
        // Of two with one label the first keeps it.
        let _ = symlink(devices.join(name), &link);
    }
}

/// A device is gone.
pub fn vanish(devices: &Path, facts: &Facts) {
    let Some(name) = node(facts) else { return };
    for link in links(facts) {
        let link = devices.join(link);
        if fs::read_link(&link).is_ok_and(|target| target == devices.join(name)) {
            let _ = fs::remove_file(&link);
        }
    }
}

/// The name of the node below `/dev`.
fn node(facts: &Facts) -> Option<&str> {
    let name = facts.get("DEVNAME")?;
    let name = name.strip_prefix("/dev/").unwrap_or(name);
    let sound = !name.is_empty() && !name.starts_with('/') && !name.split('/').any(|part| part == "..");
    sound.then_some(name)
}

fn links(facts: &Facts) -> impl Iterator<Item = String> + '_ {
    let kinds = [
        ("PARTNAME", "by-partlabel"),
        ("PARTUUID", "by-partuuid"),
        ("DISKSEQ", "by-diskseq"),
    ];
    let whole = |key: &str| key != "DISKSEQ" || facts.get("DEVTYPE").is_some_and(|kind| kind == "disk");
    kinds
        .into_iter()
        .filter(move |(key, _)| whole(key))
        .filter_map(|(key, kind)| {
            let value = facts.get(key).filter(|value| !value.is_empty())?;
            Some(format!("disk/{kind}/{}", encoded(value)))
        })
}

/// What may stand in the name of a link, as udev writes it.
fn encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"#+-.:=@_".contains(&byte) || byte >= 0x80;
    let mut bytes = Vec::new();
    for byte in value.bytes() {
        match plain(byte) && value != "." && value != ".." {
            true => bytes.push(byte),
            false => bytes.extend(format!("\\x{byte:02x}").bytes()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Lets the group of its rule use a node. What somebody else has changed already is left as it is.
fn permit(devices: &Path, name: &str, block: bool, accounts: &Accounts) {
    let own = RULES[..BLOCK]
        .iter()
        .find(|(pattern, _, _)| glob::matches(pattern, name));
    let Some((_, mode, group)) = own.or(block.then_some(&RULES[BLOCK])) else {
        return;
    };
    let path = devices.join(name);
    let untouched =
        fs::symlink_metadata(&path).is_ok_and(|node| node.uid() == 0 && node.gid() == 0 && !node.is_symlink());
    if let Some(group) = accounts.group(group).filter(|_| untouched) {
        // The group first, so that nobody else's group has the permissions in between.
        let _ = chown(&path, None, Some(group))
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(*mode)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_get_their_groups_and_links_come_and_go() {
        let root = tempfile::tempdir().unwrap();
        let devices = root.path().join("dev");
        for name in [
            "etc/group",
            "dev/kvm",
            "dev/net/tun",
            "dev/sda1",
            "dev/vda",
            "dev/secret",
        ] {
            fs::create_dir_all(root.path().join(name).parent().unwrap()).unwrap();
            fs::write(root.path().join(name), "kvm:x:106:\ndisk:x:6:\n").unwrap();
            fs::set_permissions(root.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let one = "MAJOR=8\nDEVNAME=sda1\nDEVTYPE=partition\nPARTNAME=mos data/1\nDISKSEQ=3\n";
        let other = "DEVNAME=vda\nDEVTYPE=disk\nDISKSEQ=4\n";
        for (name, text) in [("sda1", one), ("vda", other)] {
            fs::create_dir_all(root.path().join("sys").join(name)).unwrap();
            fs::write(root.path().join("sys").join(name).join("uevent"), text).unwrap();
        }
        if fs::metadata(&devices).unwrap().uid() != 0 {
            println!("SKIPPED: needs root");
            return;
        }
        for _ in 0..2 {
            settle(&devices, &root.path().join("sys"), &Accounts::read(root.path()));
            let shown = |name: &str| {
                let node = fs::metadata(devices.join(name)).unwrap();
                (node.permissions().mode() & 0o777, node.gid())
            };
            assert_eq!(
                ["kvm", "net/tun", "sda1", "secret"].map(shown),
                [(0o660, 106), (0o666, 0), (0o660, 6), (0o600, 0)]
            );
            let link = devices.join("disk/by-partlabel/mos\\x20data\\x2f1");
            assert_eq!(fs::read_link(&link).unwrap(), devices.join("sda1"));
            assert_eq!(
                fs::read_link(devices.join("disk/by-diskseq/4")).unwrap(),
                devices.join("vda")
            );
            assert!(fs::symlink_metadata(devices.join("disk/by-diskseq/3")).is_err());
            assert!(fs::symlink_metadata(devices.join("fd")).is_ok());
        }
        vanish(&devices, &facts(&one.replace("sda1", "sdb1")));
        assert!(fs::symlink_metadata(devices.join("disk/by-partlabel/mos\\x20data\\x2f1")).is_ok());
        vanish(&devices, &facts(one));
        assert!(fs::symlink_metadata(devices.join("disk/by-partlabel/mos\\x20data\\x2f1")).is_err());
    }

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        for name in ["../etc/shadow", "/etc/shadow", ""] {
            assert_eq!(node(&facts(&format!("DEVNAME={name}"))), None, "{name}");
        }
        assert_eq!(encoded(".."), "\\x2e\\x2e");
    }
}
