//! The power button (input event codes, linux/input-event-codes.h).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use rustix::fs::{OFlags, inotify};

/// Where input devices appear.
const DEVICES: &str = "/dev/input";
/// `EV_KEY`.
const EV_KEY: u16 = 1;
/// `KEY_POWER`.
const KEY_POWER: u16 = 116;
/// The size of `struct input_event` on 64 bits: a time of 16 bytes, type and code of 2, value of 4.
const EVENT: usize = 24;
/// What is read at a time, in events.
const EVENTS: usize = 32;

/// Every input device with a power key, and a watch for new ones.
#[derive(Debug)]
pub struct PowerButtons {
    watch: OwnedFd,
    buttons: BTreeMap<usize, File>,
}

impl PowerButtons {
    /// Finds the buttons that are there and begins to watch for others, which appear as drivers settle.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn watch() -> io::Result<Self> {
        // The directory comes with the first device; it has to be there to be watched.
        fs::create_dir_all(DEVICES)?;
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        inotify::add_watch(
            &watch,
            DEVICES,
            inotify::WatchFlags::CREATE | inotify::WatchFlags::ATTRIB,
        )?;
        let mut buttons = Self {
            watch,
            buttons: BTreeMap::new(),
        };
        buttons.scan();
        Ok(buttons)
    }

    /// The descriptor that becomes readable when devices come.
    pub fn watcher(&self) -> impl AsFd {
        &self.watch
    }

    /// The buttons with their numbers.
    pub fn buttons(&self) -> impl Iterator<Item = (usize, &File)> {
        self.buttons.iter().map(|(index, file)| (*index, file))
    }

    /// A button by number.
    pub fn button(&self, index: usize) -> Option<&File> {
        self.buttons.get(&index)
    }

    /// Takes in news of the watch; returns the numbers of new buttons.
    pub fn refresh(&mut self) -> Vec<usize> {
        let mut buffer = [0; 4096];
        // What came is not of interest: the directory is looked at anew.
        while rustix::io::read(&self.watch, &mut buffer).is_ok_and(|count| count > 0) {}
        self.scan()
    }

    fn scan(&mut self) -> Vec<usize> {
        let Ok(entries) = fs::read_dir(DEVICES) else {
            return Vec::new();
        };
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let indices = names.filter_map(|name| name.strip_prefix("event")?.parse::<usize>().ok());
        let new: Vec<usize> = indices.filter(|index| !self.buttons.contains_key(index)).collect();
        new.into_iter().filter(|index| self.open(*index)).collect()
    }

    fn open(&mut self, index: usize) -> bool {
        let keys = fs::read_to_string(format!("/sys/class/input/event{index}/device/capabilities/key"));
        if !keys.is_ok_and(|keys| has_key(&keys, KEY_POWER)) {
            return false;
        }
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(format!("{DEVICES}/event{index}"));
        file.is_ok_and(|file| self.buttons.insert(index, file).is_none())
    }

    /// Reads a button; true when it was pressed. One that is gone is dropped.
    pub fn pressed(&mut self, index: usize) -> bool {
        let Some(file) = self.buttons.get_mut(&index) else {
            return false;
        };
        let mut buffer = [0; EVENT * EVENTS];
        match file.read(&mut buffer) {
            Ok(count) if count > 0 => power_pressed(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            _ => {
                self.buttons.remove(&index);
                false
            }
        }
    }
}

/// Looks a key up in the text of `capabilities/key`: words of 64 bits in hex, the highest first.
fn has_key(text: &str, key: u16) -> bool {
    let word = text.split_ascii_whitespace().rev().nth(usize::from(key / 64));
    let bits = word.and_then(|word| u64::from_str_radix(word, 16).ok());
    bits.is_some_and(|bits| bits >> (key % 64) & 1 == 1)
}

fn power_pressed(bytes: &[u8]) -> bool {
    bytes.chunks_exact(EVENT).any(|event| {
        let kind = u16::from_ne_bytes([event[16], event[17]]);
        let code = u16::from_ne_bytes([event[18], event[19]]);
        let value = i32::from_ne_bytes([event[20], event[21], event[22], event[23]]);
        (kind, code, value) == (EV_KEY, KEY_POWER, 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_power_key_is_found_in_capabilities() {
        // As the kernel shows the ACPI power button, and a keyboard without the key.
        assert!(has_key("10000000000000 0\n", KEY_POWER));
        assert!(!has_key(
            "402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe\n",
            255
        ));
        assert!(!has_key("fffffffffffffffe\n", KEY_POWER));
        assert!(!has_key("zz 0\n", KEY_POWER));
    }

    #[test]
    fn only_a_press_of_the_power_key_counts() {
        let event = |kind: u16, code: u16, value: i32| {
            let mut bytes = vec![0; 16];
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(code.to_ne_bytes());
            bytes.extend(value.to_ne_bytes());
            bytes
        };
        let press = event(EV_KEY, KEY_POWER, 1);
        assert!(power_pressed(&[event(0, 0, 0), press.clone()].concat()));
        assert!(!power_pressed(
            &[event(EV_KEY, KEY_POWER, 0), event(EV_KEY, 30, 1)].concat()
        ));
        assert!(!power_pressed(&press[..EVENT - 1]));
    }
}
