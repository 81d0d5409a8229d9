//! The GUID partition table (UEFI specification 2.10, chapter 5).
//!
//! ```text
//! LBA 0  protective MBR | 1 header | 2..34 entries | partitions ... | entries | header
//! ```

use super::Sparse;

/// Bytes of a logical block.
pub(super) const SECTOR: u64 = 512;
/// Entries in the table; 16 KiB, the least that the specification allows.
const ENTRIES: u64 = 128;
const ENTRY_LENGTH: u64 = 128;
/// Sectors of the entries.
const TABLE: u64 = ENTRIES * ENTRY_LENGTH / SECTOR;
/// Sectors before the first partition: MBR, header and entries.
pub(super) const HEAD: u64 = 2 + TABLE;
/// Sectors after the last one: entries and header again.
pub(super) const TAIL: u64 = 1 + TABLE;
const HEADER_LENGTH: usize = 92;

/// The type of the EFI system partition, in the order of its text.
pub(super) const EFI_SYSTEM: [u8; 16] = guid(0xc12a_7328_f81f_11d2_ba4b_00a0_c93e_c93b);
/// The type of a Linux file system.
pub(super) const LINUX_DATA: [u8; 16] = guid(0x0fc6_3daf_8483_4772_8e79_3d69_d847_7de4);

/// A partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Partition {
    /// What it is for.
    pub(super) kind: [u8; 16],
    /// Its own identifier, in the order of its text.
    pub(super) id: [u8; 16],
    /// ASCII, 36 characters at most.
    pub(super) name: &'static str,
    /// Where it begins, in sectors.
    pub(super) first: u64,
    /// Sectors.
    pub(super) sectors: u64,
}

const fn guid(number: u128) -> [u8; 16] {
    number.to_be_bytes()
}

/// Puts the table on a disk, at both of its ends. The disk is a whole number of sectors.
pub(super) fn put(disk: &mut Sparse<'_>, disk_id: [u8; 16], partitions: &[Partition]) {
    let sectors = disk.length() / SECTOR;
    let table = table(partitions);
    disk.put(0, protective_mbr(sectors));
    let last = sectors - 1;
    let used = table.len() - table.iter().rev().take_while(|byte| **byte == 0).count();
    for (header_at, other, table_at) in [(1, last, 2), (last, 1, last - TABLE)] {
        let header = header(header_at, other, table_at, disk_id, crc32(&table));
        disk.put(header_at * SECTOR, header);
        disk.put(table_at * SECTOR, table[..used].to_vec());
    }
}

/// Says to those who do not know the GUID partition table that the disk is taken.
fn protective_mbr(sectors: u64) -> Vec<u8> {
    let mut mbr = vec![0; SECTOR as usize];
    let entry = &mut mbr[446..462];
    entry[1..4].copy_from_slice(&[0, 2, 0]);
    entry[4] = 0xee;
    entry[5..8].copy_from_slice(&[0xff; 3]);
    entry[8..12].copy_from_slice(&1_u32.to_le_bytes());
    let covered = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    entry[12..16].copy_from_slice(&covered.to_le_bytes());
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    mbr
}

fn table(partitions: &[Partition]) -> Vec<u8> {
    let mut table = Vec::with_capacity((TABLE * SECTOR) as usize);
    for partition in partitions {
        table.extend(mixed_endian(partition.kind));
        table.extend(mixed_endian(partition.id));
        table.extend(partition.first.to_le_bytes());
        table.extend((partition.first + partition.sectors - 1).to_le_bytes());
        table.extend(0_u64.to_le_bytes());
        let mut name: Vec<u8> = partition.name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        name.resize(72, 0);
        table.extend(name);
    }
    table.resize((TABLE * SECTOR) as usize, 0);
    table
}

fn header(at: u64, other: u64, table_at: u64, disk_id: [u8; 16], table_crc: u32) -> Vec<u8> {
    let last = at.max(other);
    let mut header = Vec::with_capacity(HEADER_LENGTH);
    header.extend(b"EFI PART");
    header.extend(0x0001_0000_u32.to_le_bytes());
    header.extend((HEADER_LENGTH as u32).to_le_bytes());
    header.extend([0; 8]); // its own checksum, below; reserved
    for lba in [at, other, HEAD, last - TAIL] {
        header.extend(lba.to_le_bytes());
    }
    header.extend(mixed_endian(disk_id));
    header.extend(table_at.to_le_bytes());
    for number in [ENTRIES as u32, ENTRY_LENGTH as u32, table_crc] {
        header.extend(number.to_le_bytes());
    }
    let checksum = crc32(&header);
    header[16..20].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// From the order of a UUID's text to that of the table: the first three fields are little-endian (appendix A).
fn mixed_endian(mut id: [u8; 16]) -> [u8; 16] {
    id[0..4].reverse();
    id[4..6].reverse();
    id[6..8].reverse();
    id
}

/// CRC-32 as in Ethernet: reflected polynomial 0xedb88320.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::tests::{tool, written};

    #[test]
    fn checksum_is_the_standard_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn sgdisk_finds_the_table_sound() {
        let mut disk = Sparse::new(8 << 20);
        let partition = Partition {
            kind: EFI_SYSTEM,
            id: guid(0x0011_2233_4455_8677_8899_aabb_ccdd_eeff),
            name: "esp",
            first: 2048,
            sectors: 4096,
        };
        put(&mut disk, guid(0xaabb_ccdd_eeff_8011_8022_3344_5566_7788), &[partition]);
        let directory = tempfile::tempdir().unwrap();
        let path = written(&directory, "disk", &disk);
        let Some(said) = tool("sgdisk", &["-v", &path]) else {
            return;
        };
        assert!(said.contains("No problems found"), "{said}");
        let shown = tool("sgdisk", &["-i", "1", &path]).unwrap();
        for expected in [
            "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
            "00112233-4455-8677-8899-AABBCCDDEEFF",
            "First sector: 2048",
            "Last sector: 6143",
            "'esp'",
        ] {
            assert!(shown.contains(expected), "{shown}");
        }
        let shown = tool("sgdisk", &["-p", &path]).unwrap();
        assert!(shown.contains("AABBCCDD-EEFF-8011-8022-334455667788"), "{shown}");
    }
}
