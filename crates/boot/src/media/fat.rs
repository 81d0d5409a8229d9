//! A FAT volume with one file (Microsoft "FAT: General Overview of On-Disk Format", version 1.03).
//!
//! ```text
//! boot sector, FSInfo, their copies | FAT | FAT again | root directory (FAT16) | clusters ...
//! ```
//!
//! The file stands in one run of clusters at the end of what is used, so it is borrowed as it is.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::gpt::SECTOR;
use super::{MediaError, Sparse};

/// Cluster counts that tell the two kinds apart ("FAT type determination").
const FAT16_CLUSTERS: std::ops::RangeInclusive<u64> = 4085..=65_524;
const FAT32_CLUSTERS: std::ops::RangeInclusive<u64> = 65_525..=0x0fff_fff4;
/// Larger clusters are beyond what every firmware reads.
const CLUSTER_SECTORS_MAX: u64 = 64;
/// Sectors before the first table, as other tools have it.
const RESERVED_16: u64 = 1;
const RESERVED_32: u64 = 32;
/// Entries of a FAT16's root directory, and their sectors.
const ROOT_ENTRIES: u64 = 512;
const ROOT_SECTORS: u64 = ROOT_ENTRIES * DIRECTORY_ENTRY / SECTOR;
const DIRECTORY_ENTRY: u64 = 32;
const DIRECTORY: u8 = 0x10;
const VOLUME_LABEL: u8 = 0x08;
const ARCHIVE: u8 = 0x20;
/// A hard disk.
const MEDIA: u8 = 0xf8;
/// The first cluster's number.
const FIRST_CLUSTER: u64 = 2;
/// FSInfo, and the copies of both (FAT32).
const INFO_SECTOR: u64 = 1;
const BACKUP_SECTOR: u64 = 6;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// For removable media: small.
    Fat16,
    /// For disks, as the UEFI specification wants it there (section 13.3).
    Fat32,
}

/// A volume to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Volume<'a> {
    pub(super) kind: Kind,
    /// Bytes, a multiple of the sector's.
    pub(super) bytes: u64,
    /// Sectors before it on its disk.
    pub(super) hidden: u64,
    /// Its serial number.
    pub(super) id: u32,
    /// Eleven characters at most, upper case.
    pub(super) label: &'static str,
    /// Of every file and directory, in seconds since 1970.
    pub(super) time: i64,
    /// Directories and the file, upper case, eight characters and three.
    pub(super) path: &'a [&'static str],
}

/// Where everything is, in sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Geometry {
    kind: Kind,
    sectors: u64,
    reserved: u64,
    fat: u64,
    root: u64,
    cluster: u64,
    clusters: u64,
}

/// The least bytes of a volume that holds a file of this length in a directory or two.
pub(super) fn least(kind: Kind, file: u64) -> u64 {
    let (clusters, overhead) = match kind {
        Kind::Fat16 => (*FAT16_CLUSTERS.start(), RESERVED_16 + ROOT_SECTORS),
        Kind::Fat32 => (*FAT32_CLUSTERS.start(), RESERVED_32),
    };
    // Of a thousand sectors eight at most are needed for the tables, with the smallest clusters.
    let data = (file.div_ceil(SECTOR) + 4 * CLUSTER_SECTORS_MAX).max(clusters);
    (data + 2 * (data / 64 + 2) + overhead) * SECTOR
}

/// Makes the volume.
///
/// # Errors
/// [`MediaError::NoRoom`], [`MediaError::TooLarge`], [`MediaError::Time`].
pub(super) fn volume<'a>(volume: &Volume<'_>, file: &'a [u8]) -> Result<Sparse<'a>, MediaError> {
    let stamp = stamp(volume.time)?;
    let geometry = Geometry::new(volume)?;
    let length = u32::try_from(file.len()).map_err(|_| MediaError::TooLarge {
        what: "a file on a FAT volume",
        bytes: file.len() as u64,
    })?;
    // The root directory of FAT16 is in no cluster.
    let in_clusters = volume.path.len() as u64 - u64::from(volume.kind == Kind::Fat16);
    let file_clusters = (u64::from(length)).div_ceil(geometry.cluster * SECTOR);
    let used = in_clusters + file_clusters;
    if used > geometry.clusters {
        return Err(MediaError::NoRoom {
            what: "the EFI system partition",
            needed: least(volume.kind, u64::from(length)),
            room: volume.bytes,
            setting: "esp_size",
        });
    }
    let mut image = Sparse::new(volume.bytes);
    put_boot_sectors(&mut image, volume, &geometry, used);
    let table = table(volume.kind, in_clusters, file_clusters);
    image.put((geometry.reserved + geometry.fat) * SECTOR, table.clone());
    image.put(geometry.reserved * SECTOR, table);
    put_directories(&mut image, volume, &geometry, &stamp, length);
    image.put(geometry.offset(FIRST_CLUSTER + in_clusters), file);
    Ok(image)
}

impl Geometry {
    /// The smallest clusters with which their count makes the volume the kind that is wanted.
    fn new(volume: &Volume<'_>) -> Result<Self, MediaError> {
        let counts = match volume.kind {
            Kind::Fat16 => FAT16_CLUSTERS,
            Kind::Fat32 => FAT32_CLUSTERS,
        };
        let mut cluster = 1;
        loop {
            let geometry = Self::with_clusters(volume, cluster);
            let too_many = geometry.clusters > *counts.end() || (volume.kind == Kind::Fat32 && geometry.wants_larger());
            if too_many && cluster < CLUSTER_SECTORS_MAX {
                cluster *= 2;
            } else if geometry.clusters > *counts.end() || u32::try_from(geometry.sectors).is_err() {
                let (what, bytes) = ("the EFI system partition", volume.bytes);
                return Err(MediaError::TooLarge { what, bytes });
            } else if geometry.clusters < *counts.start() {
                return Err(MediaError::NoRoom {
                    what: "the EFI system partition",
                    needed: least(volume.kind, 0),
                    room: volume.bytes,
                    setting: "esp_size",
                });
            } else {
                return Ok(geometry);
            }
        }
    }

    /// Tables of more than 4 MiB: the next larger cluster leaves more than enough of them.
    fn wants_larger(&self) -> bool {
        self.clusters > 1 << 20
    }

    fn with_clusters(volume: &Volume<'_>, cluster: u64) -> Self {
        let sectors = volume.bytes / SECTOR;
        let (reserved, root, entry) = match volume.kind {
            Kind::Fat16 => (RESERVED_16, ROOT_SECTORS, 2),
            Kind::Fat32 => (RESERVED_32, 0, 4),
        };
        let room = sectors.saturating_sub(reserved + root);
        // Each cluster takes its sectors and an entry in both tables.
        let most = room * SECTOR / (cluster * SECTOR + 2 * entry);
        let fat = ((most + FIRST_CLUSTER) * entry).div_ceil(SECTOR);
        let clusters = room.saturating_sub(2 * fat) / cluster;
        Self {
            kind: volume.kind,
            sectors,
            reserved,
            fat,
            root,
            cluster,
            clusters,
        }
    }

    /// Where a cluster begins, in bytes.
    fn offset(&self, number: u64) -> u64 {
        (self.reserved + 2 * self.fat + self.root + (number - FIRST_CLUSTER) * self.cluster) * SECTOR
    }
}

fn put_boot_sectors(image: &mut Sparse<'_>, volume: &Volume<'_>, geometry: &Geometry, used: u64) {
    let boot = boot_sector(volume, geometry);
    if geometry.kind == Kind::Fat32 {
        let information = information(geometry, used);
        image.put(INFO_SECTOR * SECTOR, information.clone());
        image.put(BACKUP_SECTOR * SECTOR, boot.clone());
        image.put((BACKUP_SECTOR + INFO_SECTOR) * SECTOR, information);
    }
    image.put(0, boot);
}

/// The BIOS parameter block. There is no boot code: firmware has its own.
fn boot_sector(volume: &Volume<'_>, geometry: &Geometry) -> Vec<u8> {
    let fat32 = geometry.kind == Kind::Fat32;
    let mut sector = vec![0; SECTOR as usize];
    let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[0xeb, if fat32 { 0x58 } else { 0x3c }, 0x90]);
    put(3, b"MOS     ");
    put(11, &(SECTOR as u16).to_le_bytes());
    put(13, &[geometry.cluster as u8]);
    put(14, &(geometry.reserved as u16).to_le_bytes());
    put(16, &[2]);
    put(21, &[MEDIA]);
    // Sectors of a track and heads: of use to nobody, but checkers want them.
    put(24, &63_u16.to_le_bytes());
    put(26, &255_u16.to_le_bytes());
    put(28, &(volume.hidden as u32).to_le_bytes());
    put(32, &(geometry.sectors as u32).to_le_bytes());
    let extended = if fat32 {
        put(36, &(geometry.fat as u32).to_le_bytes());
        put(44, &(FIRST_CLUSTER as u32).to_le_bytes());
        put(48, &(INFO_SECTOR as u16).to_le_bytes());
        put(50, &(BACKUP_SECTOR as u16).to_le_bytes());
        64
    } else {
        put(17, &(ROOT_ENTRIES as u16).to_le_bytes());
        put(22, &(geometry.fat as u16).to_le_bytes());
        36
    };
    put(extended, &[0x80, 0, 0x29]);
    put(extended + 3, &volume.id.to_le_bytes());
    put(extended + 7, &padded(volume.label));
    put(extended + 18, if fat32 { b"FAT32   " } else { b"FAT16   " });
    put(510, &[0x55, 0xaa]);
    sector
}

/// FSInfo: how many clusters are free, and from which on.
fn information(geometry: &Geometry, used: u64) -> Vec<u8> {
    let mut sector = vec![0; SECTOR as usize];
    sector[..4].copy_from_slice(b"RRaA");
    sector[484..488].copy_from_slice(b"rrAa");
    sector[488..492].copy_from_slice(&((geometry.clusters - used) as u32).to_le_bytes());
    sector[492..496].copy_from_slice(&((FIRST_CLUSTER + used) as u32).to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// The used part of the table: a chain of one for each directory, one long chain for the file.
fn table(kind: Kind, directories: u64, file: u64) -> Vec<u8> {
    let end = 0x0fff_ffff_u32;
    let next = |number: u64, last: u64| if number == last { end } else { number as u32 + 1 };
    let first = FIRST_CLUSTER + directories;
    let entries = [0x0fff_ff00 | u32::from(MEDIA), end]
        .into_iter()
        .chain((0..directories).map(|_| end))
        .chain((first..first + file).map(|number| next(number, first + file - 1)));
    match kind {
        Kind::Fat16 => entries.flat_map(|entry| (entry as u16).to_le_bytes()).collect(),
        Kind::Fat32 => entries.flat_map(u32::to_le_bytes).collect(),
    }
}

/// The directories of the path, each in the cluster after its parent's.
fn put_directories(image: &mut Sparse<'_>, volume: &Volume<'_>, geometry: &Geometry, stamp: &[u8; 4], length: u32) {
    let root_outside = u64::from(geometry.kind == Kind::Fat16);
    // The cluster of the directory at this depth; the root counts as 0.
    let cluster = |depth: usize| match depth {
        0 => 0,
        _ => (FIRST_CLUSTER + depth as u64 - root_outside) as u32,
    };
    for (depth, name) in volume.path.iter().enumerate() {
        let mut content = Vec::new();
        if depth == 0 {
            content.extend(entry(padded(volume.label), VOLUME_LABEL, 0, 0, stamp));
        } else {
            content.extend(entry(padded("."), DIRECTORY, cluster(depth), 0, stamp));
            content.extend(entry(padded(".."), DIRECTORY, cluster(depth - 1), 0, stamp));
        }
        let is_file = depth + 1 == volume.path.len();
        let (kind, bytes) = if is_file { (ARCHIVE, length) } else { (DIRECTORY, 0) };
        let first = if is_file && length == 0 { 0 } else { cluster(depth + 1) };
        content.extend(entry(short_name(name), kind, first, bytes, stamp));
        let at = match (depth, geometry.kind) {
            (0, Kind::Fat16) => (geometry.reserved + 2 * geometry.fat) * SECTOR,
            (0, Kind::Fat32) => geometry.offset(FIRST_CLUSTER),
            _ => geometry.offset(u64::from(cluster(depth))),
        };
        image.put(at, content);
    }
}

fn entry(name: [u8; 11], kind: u8, cluster: u32, length: u32, stamp: &[u8; 4]) -> [u8; DIRECTORY_ENTRY as usize] {
    let mut entry = [0; DIRECTORY_ENTRY as usize];
    entry[..11].copy_from_slice(&name);
    entry[11] = kind;
    entry[14..18].copy_from_slice(stamp);
    entry[18..20].copy_from_slice(&stamp[2..]);
    entry[20..22].copy_from_slice(&((cluster >> 16) as u16).to_le_bytes());
    entry[22..26].copy_from_slice(stamp);
    entry[26..28].copy_from_slice(&(cluster as u16).to_le_bytes());
    entry[28..].copy_from_slice(&length.to_le_bytes());
    entry
}

/// `BOOTX64.EFI` as `BOOTX64 EFI`.
fn short_name(name: &str) -> [u8; 11] {
    let (stem, suffix) = name.split_once('.').unwrap_or((name, ""));
    padded(&format!("{stem:8}{suffix}"))
}

fn padded(text: &str) -> [u8; 11] {
    let mut bytes = [b' '; 11];
    bytes.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
    bytes
}

/// Time and date as a directory has them: two seconds at a time, from 1980 on, here in UTC.
fn stamp(seconds: i64) -> Result<[u8; 4], MediaError> {
    let wrong = || MediaError::Time(seconds);
    let time = Timestamp::from_second(seconds).map_err(|_| wrong())?;
    let civil = TimeZone::UTC.to_datetime(time);
    let year = u16::try_from(civil.year() - 1980)
        .ok()
        .filter(|year| *year < 128)
        .ok_or_else(wrong)?;
    let number = |part: i8| u16::from(part.unsigned_abs());
    let date = year << 9 | number(civil.month()) << 5 | number(civil.day());
    let clock = number(civil.hour()) << 11 | number(civil.minute()) << 5 | (number(civil.second()) / 2);
    let mut stamp = [0; 4];
    stamp[..2].copy_from_slice(&clock.to_le_bytes());
    stamp[2..].copy_from_slice(&date.to_le_bytes());
    Ok(stamp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::tests::{TIME, tool, written};

    fn description(kind: Kind, bytes: u64) -> Volume<'static> {
        Volume {
            kind,
            bytes,
            hidden: 2048,
            id: 0x1234_5678,
            label: "MOS",
            time: TIME,
            path: &["EFI", "BOOT", "BOOTX64.EFI"],
        }
    }

    #[test]
    fn checkers_and_readers_accept_both_kinds_at_every_size() {
        let directory = tempfile::tempdir().unwrap();
        for (kind, bytes, length) in [
            (Kind::Fat16, least(Kind::Fat16, 0), 0),
            (Kind::Fat16, least(Kind::Fat16, 5_000_000), 5_000_000),
            (Kind::Fat16, least(Kind::Fat16, 40_000_000), 40_000_001),
            (Kind::Fat16, 500 << 20, 1),
            (Kind::Fat32, least(Kind::Fat32, 0), 512),
            (Kind::Fat32, least(Kind::Fat32, 40_000_000), 40_000_000),
            (Kind::Fat32, 1 << 30, 513),
            (Kind::Fat32, 20 << 30, 70_000),
        ] {
            let file: Vec<u8> = (0..length).map(|at: u32| (at % 253) as u8).collect();
            let image = volume(&description(kind, bytes), &file).unwrap();
            let path = written(&directory, "fat", &image);
            let Some(said) = tool("fsck.fat", &["-n", "-v", &path]) else {
                return;
            };
            assert!(
                said.contains("4 files") || said.contains("3 files"),
                "{kind:?} {bytes}: {said}"
            );
            let copy = directory.path().join("copy");
            let copied = tool(
                "mcopy",
                &[
                    "-n",
                    "-o",
                    "-i",
                    &path,
                    "::EFI/BOOT/BOOTX64.EFI",
                    copy.to_str().unwrap(),
                ],
            );
            if copied.is_some() {
                assert!(std::fs::read(&copy).unwrap() == file, "{kind:?} {bytes}");
            }
        }
    }

    #[test]
    fn names_times_and_number_are_as_given() {
        let directory = tempfile::tempdir().unwrap();
        let image = volume(&description(Kind::Fat32, 64 << 20), b"program").unwrap();
        let path = written(&directory, "fat", &image);
        let Some(said) = tool("mdir", &["-i", &path, "::EFI/BOOT"]) else {
            return;
        };
        assert!(
            said.contains("1234-5678") && said.contains("2025-11-21  17:00"),
            "{said}"
        );
        let label = tool("mlabel", &["-s", "-i", &path, "::"]).unwrap();
        assert!(label.contains("MOS"), "{label}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let file = vec![1; 3 << 20];
        assert!(matches!(
            volume(&description(Kind::Fat16, 3 << 20), &file),
            Err(MediaError::NoRoom { .. })
        ));
        let small = volume(&description(Kind::Fat32, 32 << 20), b"");
        assert!(matches!(small, Err(MediaError::NoRoom { .. })), "{small:?}");
        for time in [0, 315_532_799, 4_354_819_200] {
            let old = Volume {
                time,
                ..description(Kind::Fat16, 4 << 20)
            };
            assert_eq!(volume(&old, b""), Err(MediaError::Time(time)));
        }
    }
}
