//! The machine's id (machine-id(5)): 32 hexadecimal digits in `/etc/machine-id`.
//!
//! One that is there stays. Otherwise it is, in this order: `systemd.machine_id=` of the kernel command line, the UUID
//! that the firmware of a virtual machine has, or random. Where `/etc` cannot be written to it is kept in `/run`, and
//! mounted over the file in `/etc` when there is one.

use std::fs;
use std::io;
use std::path::Path;

/// The length in digits.
const DIGITS: usize = 32;
/// So much of `/proc/cpuinfo` holds the first processor's flags, in bytes.
const PROCESSOR: usize = 8 * 1024;

/// Has the machine an id, below `root`? Gives it one otherwise.
///
/// # Errors
/// When it can be kept nowhere.
pub fn ensure(root: &Path, asked: Option<&str>) -> io::Result<()> {
    let place = root.join("etc/machine-id");
    let text = fs::read_to_string(&place).unwrap_or_default();
    if understood(&text).is_some() {
        return Ok(());
    }
    let id = match asked.and_then(understood).or_else(|| firmware(root)) {
        Some(id) => id,
        None => random()?,
    };
    let line = format!("{id}\n");
    if mos_sys::durable::write(&place, line.as_bytes(), 0o444).is_ok() {
        return Ok(());
    }
    let run = root.join("run/machine-id");
    mos_sys::durable::write(&run, line.as_bytes(), 0o444)?;
    match place.exists() {
        true => Ok(rustix::mount::mount_bind(&run, &place)?),
        false => Ok(()),
    }
}

/// An id, in digits, from its text with or without dashes. All zeros and all ones are nobody's.
fn understood(text: &str) -> Option<String> {
    let digits: String = text.trim().chars().filter(|character| *character != '-').collect();
    let digits = digits.to_ascii_lowercase();
    let sound = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let nobody = ["0", "f"].iter().any(|digit| digits == digit.repeat(DIGITS));
    (sound && !nobody).then_some(digits)
}

/// That of a virtual machine's firmware. Real firmware often has the same for all machines of a kind.
fn firmware(root: &Path) -> Option<String> {
    is_virtual(root)
        .then(|| fs::read_to_string(root.join("sys/class/dmi/id/product_uuid")).ok())?
        .as_deref()
        .and_then(understood)
}

/// The processor says so (x86), or the firmware's maker does.
fn is_virtual(root: &Path) -> bool {
    use std::io::Read as _;
    let mut flags = Vec::new();
    let processor = fs::File::open(root.join("proc/cpuinfo"));
    let read = processor.and_then(|file| file.take(PROCESSOR as u64).read_to_end(&mut flags));
    let hypervisor = read.is_ok()
        && String::from_utf8_lossy(&flags)
            .split_whitespace()
            .any(|flag| flag == "hypervisor");
    hypervisor || fs::read_to_string(root.join("sys/class/dmi/id/sys_vendor")).is_ok_and(|maker| maker.trim() == "QEMU")
}

/// A random one, marked as such (RFC 9562, section 5.4).
fn random() -> io::Result<String> {
    let mut bytes = [0; DIGITS / 2];
    // Not waited for: an id has to be unlike others, not secret.
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::INSECURE)?;
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files.iter().chain(&[("etc/hostname", "node"), ("run/x", "")]) {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn made(files: &[(&str, &str)], asked: Option<&str>) -> String {
        let root = root(files);
        ensure(root.path(), asked).unwrap();
        fs::read_to_string(root.path().join("etc/machine-id")).unwrap()
    }

    #[test]
    fn the_first_that_says_something_counts() {
        let uuid = "89ABCDEF-4567-0123-89ab-cdef01234567\n";
        let firmware = [
            ("proc/cpuinfo", "flags : fpu hypervisor lahf_lm\n"),
            ("sys/class/dmi/id/product_uuid", uuid),
        ];
        let with = |text| [&firmware[..], &[("etc/machine-id", text)]].concat();
        assert_eq!(
            made(&with("11111111111111111111111111111111\n"), Some(ID)),
            "11111111111111111111111111111111\n"
        );
        assert_eq!(made(&with("uninitialized\n"), Some(ID)), format!("{ID}\n"));
        assert_eq!(made(&with(""), None), "89abcdef4567012389abcdef01234567\n");
    }

    #[test]
    fn it_is_random_where_nobody_says_anything_and_firmware_is_real() {
        let real = [("proc/cpuinfo", "flags : fpu\n"), ("sys/class/dmi/id/product_uuid", ID)];
        let ids = [
            made(&real, None),
            made(&real, Some("firmware")),
            made(&[], Some(&"0".repeat(32))),
        ];
        for id in &ids {
            assert!(id.len() == 33 && id.as_bytes()[12] == b'4' && id.trim() != ID, "{id}");
        }
        assert!(ids[0] != ids[1] && ids[1] != ids[2]);
    }
}
