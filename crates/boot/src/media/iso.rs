//! An ISO 9660 image that firmware boots from a disc (El Torito 1.0, UEFI specification 2.10, section 13.3.2.1) and,
//! written to a USB stick as it is, from a disk with a GUID partition table.
//!
//! ```text
//! sector (2048 bytes)   0 GPT | 16 descriptors | 19 path tables | 21 root directory | 22 boot catalogue | 32 ESP | GPT
//! ```
//!
//! Both ways lead to the same FAT volume, which is also a file of the disc.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

use super::disk::volume_id;
use super::fat::{self, Kind, Volume};
use super::gpt::{self, Partition, SECTOR, TAIL};
use super::{Bootable, MediaError, Sparse, uuid};

/// Bytes of a disc's sector.
const BLOCK: u64 = 2048;
/// Disk sectors of a disc's.
const SECTORS: u64 = BLOCK / SECTOR;
const DESCRIPTOR: u64 = 16;
const BOOT_RECORD: u64 = 17;
const TERMINATOR: u64 = 18;
const PATHS_LITTLE: u64 = 19;
const PATHS_BIG: u64 = 20;
const ROOT: u64 = 21;
const CATALOGUE: u64 = 22;
/// 64 KiB: a multiple of every stick's own blocks.
const ESP: u64 = 32;
const VOLUME_NAME: &str = "MOS";
/// The root's record in the path tables.
const PATHS_LENGTH: u64 = 10;

/// Plans a disc with the image. The EFI file is borrowed, not copied.
///
/// # Errors
/// See [`MediaError`].
pub fn iso(image: Bootable<'_>, built: i64) -> Result<Sparse<'_>, MediaError> {
    let efi = image.efi;
    let time = Timestamp::from_second(built).map_err(|_| MediaError::Time(built))?;
    let time = TimeZone::UTC.to_datetime(time);
    let hash = Sha256::digest(efi);
    let volume = Volume {
        kind: Kind::Fat16,
        bytes: fat::least(Kind::Fat16, efi.len() as u64).next_multiple_of(BLOCK),
        hidden: ESP * SECTORS,
        id: volume_id(&hash),
        label: VOLUME_NAME,
        time: built,
        path: &image.path(),
    };
    let volume_bytes = u32::try_from(volume.bytes).map_err(|_| MediaError::TooLarge {
        what: "a file on an ISO 9660 disc",
        bytes: volume.bytes,
    })?;
    let blocks = ESP + volume.bytes / BLOCK + TAIL.div_ceil(SECTORS);
    let mut disc = Sparse::new(blocks * BLOCK);
    let esp = Partition {
        kind: gpt::EFI_SYSTEM,
        id: uuid(&hash, "esp"),
        name: "esp",
        first: ESP * SECTORS,
        sectors: volume.bytes / SECTOR,
    };
    gpt::put(&mut disc, uuid(&hash, "disc"), &[esp]);
    let records = Records { time, volume_bytes };
    disc.put(DESCRIPTOR * BLOCK, records.descriptor(blocks as u32));
    disc.put(BOOT_RECORD * BLOCK, boot_record());
    disc.put(TERMINATOR * BLOCK, b"\xffCD001\x01".as_slice());
    disc.put(
        PATHS_LITTLE * BLOCK,
        path_table((ROOT as u32).to_le_bytes(), 1_u16.to_le_bytes()),
    );
    disc.put(
        PATHS_BIG * BLOCK,
        path_table((ROOT as u32).to_be_bytes(), 1_u16.to_be_bytes()),
    );
    disc.put(ROOT * BLOCK, records.root());
    disc.put(CATALOGUE * BLOCK, catalogue(volume.bytes));
    disc.place(ESP * BLOCK, fat::volume(&volume, efi)?);
    Ok(disc)
}

/// What descriptors and directories say of times and sizes.
struct Records {
    time: DateTime,
    volume_bytes: u32,
}

impl Records {
    /// The primary volume descriptor (ECMA-119, 8.4).
    fn descriptor(&self, blocks: u32) -> Vec<u8> {
        let mut sector = vec![0; BLOCK as usize];
        let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"\x01CD001\x01");
        // System, volume, volume set, publisher, preparer, application, and three names of files.
        for (at, length, text) in [
            (8, 32, ""),
            (40, 32, VOLUME_NAME),
            (190, 128, ""),
            (318, 128, ""),
            (446, 128, ""),
            (574, 128, "MOS"),
            (702, 37, ""),
            (739, 37, ""),
            (776, 37, ""),
        ] {
            put(at, format!("{text:length$}").as_bytes());
        }
        put(80, &both_32(blocks));
        put(120, &both_16(1));
        put(124, &both_16(1));
        put(128, &both_16(BLOCK as u16));
        put(132, &both_32(PATHS_LENGTH as u32));
        put(140, &(PATHS_LITTLE as u32).to_le_bytes());
        put(148, &(PATHS_BIG as u32).to_be_bytes());
        put(156, &self.record(b"\0", ROOT, BLOCK as u32, true));
        let never = *b"0000000000000000\0";
        for (at, time) in [
            (813, self.long_time()),
            (830, self.long_time()),
            (847, never),
            (864, never),
        ] {
            put(at, &time);
        }
        put(881, &[1]);
        sector
    }

    /// The root directory: itself twice, then its files in the order of their names (9.3).
    fn root(&self) -> Vec<u8> {
        let records = [
            self.record(b"\0", ROOT, BLOCK as u32, true),
            self.record(b"\x01", ROOT, BLOCK as u32, true),
            self.record(b"BOOT.CAT;1", CATALOGUE, BLOCK as u32, false),
            self.record(b"EFI.IMG;1", ESP, self.volume_bytes, false),
        ];
        records.concat()
    }

    /// A directory record (9.1).
    fn record(&self, name: &[u8], block: u64, bytes: u32, directory: bool) -> Vec<u8> {
        let mut record = vec![0; 2];
        record.extend(both_32(block as u32));
        record.extend(both_32(bytes));
        let time = self.time;
        let parts = [time.month(), time.day(), time.hour(), time.minute(), time.second()];
        record.push((time.year() - 1900) as u8);
        record.extend(parts.map(i8::unsigned_abs));
        record.extend([0, if directory { 2 } else { 0 }, 0, 0]); // UTC; flags; not interleaved
        record.extend(both_16(1));
        record.push(name.len() as u8);
        record.extend(name);
        record.resize(record.len().next_multiple_of(2), 0);
        record[0] = record.len() as u8;
        record
    }

    /// A time in digits (8.4.26.1).
    fn long_time(&self) -> [u8; 17] {
        let digits = self.time.strftime("%Y%m%d%H%M%S00").to_string();
        let mut time = [0; 17];
        time[..16].copy_from_slice(digits.as_bytes());
        time
    }
}

/// Points to the boot catalogue (El Torito, figure 7).
fn boot_record() -> Vec<u8> {
    let mut sector = b"\0CD001\x01EL TORITO SPECIFICATION".to_vec();
    sector.resize(71, 0);
    sector.extend((CATALOGUE as u32).to_le_bytes());
    sector
}

/// One directory, the root, which is its own parent (9.4).
fn path_table(block: [u8; 4], parent: [u8; 2]) -> Vec<u8> {
    [&[1, 0], &block[..], &parent, &[0, 0]].concat()
}

/// One entry for UEFI, without emulation (El Torito, figures 2 and 3).
fn catalogue(volume_bytes: u64) -> Vec<u8> {
    const UEFI: u8 = 0xef;
    let mut catalogue = vec![0; 64];
    catalogue[..2].copy_from_slice(&[1, UEFI]);
    catalogue[30..32].copy_from_slice(&[0x55, 0xaa]);
    let words = catalogue[..32]
        .chunks_exact(2)
        .map(|word| u16::from_le_bytes([word[0], word[1]]));
    let checksum = words.fold(0_u16, u16::wrapping_sub);
    catalogue[28..30].copy_from_slice(&checksum.to_le_bytes());
    catalogue[32] = 0x88; // bootable
    // The field is too small for large volumes. Zero means all that follows on the disc (UEFI specification).
    let sectors = u16::try_from(volume_bytes / SECTOR).unwrap_or(0);
    catalogue[38..40].copy_from_slice(&sectors.to_le_bytes());
    catalogue[40..44].copy_from_slice(&(ESP as u32).to_le_bytes());
    catalogue
}

/// A number in both byte orders (7.2.3, 7.3.3).
fn both_16(number: u16) -> [u8; 4] {
    let [a, b] = number.to_le_bytes();
    [a, b, b, a]
}

fn both_32(number: u32) -> [u8; 8] {
    let [a, b, c, d] = number.to_le_bytes();
    [a, b, c, d, d, c, b, a]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::tests::{TIME, image, tool, written};

    #[test]
    fn xorriso_isoinfo_and_sgdisk_agree_about_the_disc() {
        let directory = tempfile::tempdir().unwrap();
        // Both sides of what the boot catalogue can count.
        for bytes in [3 << 20, 40 << 20] {
            let efi = image(bytes);
            let path = written(
                &directory,
                "disc.iso",
                &iso(Bootable::uki(&efi).unwrap(), TIME).unwrap(),
            );
            if let Some(said) = tool(
                "xorriso",
                &["-indev", &path, "-report_el_torito", "plain", "-find", "/"],
            ) {
                for expected in [
                    "Volume id    : 'MOS'",
                    "El Torito boot img :   1  UEFI  y",
                    "'/EFI.IMG'",
                    "'/BOOT.CAT'",
                ] {
                    assert!(said.contains(expected), "`{expected}`: {said}");
                }
            }
            if let Some(said) = tool("isoinfo", &["-d", "-i", &path]) {
                assert!(
                    said.contains("El Torito VD version 1 found") && said.contains("Arch 239"),
                    "{said}"
                );
                let listed = tool("isoinfo", &["-l", "-i", &path]).unwrap();
                assert!(
                    listed.contains("Nov 21 2025") && listed.contains("EFI.IMG;1"),
                    "{listed}"
                );
            }
            if let Some(said) = tool("sgdisk", &["-v", "-p", &path]) {
                assert!(said.contains("No problems found") && said.contains("EF00"), "{said}");
            }
            let (copy, volume) = (directory.path().join("copy"), format!("{path}@@64k"));
            let arguments = [
                "-n",
                "-o",
                "-i",
                &volume,
                "::EFI/BOOT/BOOTX64.EFI",
                copy.to_str().unwrap(),
            ];
            if tool("mcopy", &arguments).is_some() {
                assert!(std::fs::read(copy).unwrap() == efi);
            }
        }
    }

    #[test]
    fn a_disc_is_little_more_than_its_image() {
        let efi = image(16 << 20);
        let disc = iso(Bootable::uki(&efi).unwrap(), TIME).unwrap();
        let room = disc.length() - efi.len() as u64;
        assert!(room < 800 << 10, "{room} bytes more");
        assert_eq!(disc, iso(Bootable::uki(&efi).unwrap(), TIME).unwrap());
    }
}
