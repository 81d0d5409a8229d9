//! A disk as QEMU's own format, version 3 (QEMU, docs/interop/qcow2.txt), without what is zero.
//!
//! ```text
//! header | refcount table | refcount blocks | L1 | L2 tables | data      each a whole number of clusters
//! ```
//!
//! Clusters are not compressed: what a boot image has is compressed already.

use std::borrow::Cow;

use super::Sparse;

/// log2 of the cluster size, as qemu-img has it.
const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Entries of a table that fit into a cluster, eight bytes each.
const TABLE_ENTRIES: u64 = CLUSTER / 8;
/// Reference counts of 16 bits that fit into a cluster.
const REFCOUNT_ORDER: u32 = 4;
const REFCOUNTS: u64 = CLUSTER / 2;
const HEADER_LENGTH: u32 = 104;
/// The cluster is used once, here.
const COPIED: u64 = 1 << 63;

/// Where each part begins, in clusters.
struct Layout {
    refcount_table: u64,
    refcount_blocks: u64,
    l1: u64,
    l2: u64,
    data: u64,
    total: u64,
}

impl Layout {
    fn new(l1_entries: u64, l2_tables: u64, data: u64) -> Self {
        let l1_clusters = l1_entries.div_ceil(TABLE_ENTRIES);
        let others = 1 + l1_clusters + l2_tables + data;
        let (mut blocks, mut table) = (1, 1);
        // The counts count their own clusters too.
        while blocks * REFCOUNTS < others + blocks + table {
            blocks = (others + blocks + table).div_ceil(REFCOUNTS);
            table = blocks.div_ceil(TABLE_ENTRIES);
        }
        let l1 = 1 + table + blocks;
        Self {
            refcount_table: 1,
            refcount_blocks: 1 + table,
            l1,
            l2: l1 + l1_clusters,
            data: l1 + l1_clusters + l2_tables,
            total: others + blocks + table,
        }
    }
}

/// The same disk as a qcow2 file, which borrows from it.
pub fn qcow2<'s>(disk: &'s Sparse<'_>) -> Sparse<'s> {
    let used = used_clusters(disk);
    let l1_entries = disk.length().div_ceil(CLUSTER * TABLE_ENTRIES);
    let mut tables: Vec<u64> = used.iter().map(|cluster| cluster / TABLE_ENTRIES).collect();
    tables.dedup();
    let layout = Layout::new(l1_entries, tables.len() as u64, used.len() as u64);
    let mut file = Sparse::new(layout.total * CLUSTER);
    file.put(0, header(disk.length(), l1_entries, &layout));
    put_refcounts(&mut file, &layout);
    put_tables(&mut file, &layout, &tables, &used);
    for (number, cluster) in used.iter().enumerate() {
        let at = (layout.data + number as u64) * CLUSTER;
        file.put(at, content(disk, *cluster));
    }
    file
}

/// The clusters of the disk that are not all zero, in order.
fn used_clusters(disk: &Sparse<'_>) -> Vec<u64> {
    let mut used = Vec::new();
    for (at, bytes) in disk.pieces() {
        let end = at + bytes.len() as u64;
        for cluster in at / CLUSTER..end.div_ceil(CLUSTER) {
            let from = (cluster * CLUSTER).max(at) - at;
            let to = ((cluster + 1) * CLUSTER).min(end) - at;
            let zero = bytes[from as usize..to as usize].iter().all(|byte| *byte == 0);
            if !zero && used.last() != Some(&cluster) {
                used.push(cluster);
            }
        }
    }
    used
}

/// A cluster of the disk: as it lies in one piece, or gathered from several.
fn content<'s>(disk: &'s Sparse<'_>, cluster: u64) -> Cow<'s, [u8]> {
    let (start, end) = (cluster * CLUSTER, ((cluster + 1) * CLUSTER).min(disk.length()));
    if let Some((at, bytes)) = disk.overlapping(start, end).next()
        && at <= start
        && at + bytes.len() as u64 >= end
    {
        return Cow::Borrowed(&bytes[(start - at) as usize..(end - at) as usize]);
    }
    let mut gathered = vec![0; (end - start) as usize];
    disk.read(start, &mut gathered);
    Cow::Owned(gathered)
}

fn header(length: u64, l1_entries: u64, layout: &Layout) -> Vec<u8> {
    let mut header = b"QFI\xfb".to_vec();
    let table_clusters = layout.refcount_blocks - layout.refcount_table;
    header.extend(3_u32.to_be_bytes());
    header.extend([0; 12]); // no backing file
    header.extend(CLUSTER_BITS.to_be_bytes());
    header.extend(length.to_be_bytes());
    header.extend([0; 4]); // not encrypted
    header.extend((l1_entries as u32).to_be_bytes());
    header.extend((layout.l1 * CLUSTER).to_be_bytes());
    header.extend((layout.refcount_table * CLUSTER).to_be_bytes());
    header.extend((table_clusters as u32).to_be_bytes());
    header.extend([0; 12]); // no snapshots
    header.extend([0; 24]); // no features
    header.extend(REFCOUNT_ORDER.to_be_bytes());
    header.extend(HEADER_LENGTH.to_be_bytes());
    header
}

/// Every cluster of the file is used once.
fn put_refcounts(file: &mut Sparse<'_>, layout: &Layout) {
    let blocks = layout.refcount_blocks..layout.l1;
    let table: Vec<u8> = blocks.flat_map(|block| (block * CLUSTER).to_be_bytes()).collect();
    file.put(layout.refcount_table * CLUSTER, table);
    let counts: Vec<u8> = (0..layout.total).flat_map(|_| 1_u16.to_be_bytes()).collect();
    file.put(layout.refcount_blocks * CLUSTER, counts);
}

fn put_tables(file: &mut Sparse<'_>, layout: &Layout, tables: &[u64], used: &[u64]) {
    let Some(last) = tables.last() else { return };
    let mut l1 = vec![0; (last + 1) as usize];
    let mut l2 = vec![0; tables.len() * TABLE_ENTRIES as usize];
    for (number, table) in tables.iter().enumerate() {
        l1[*table as usize] = ((layout.l2 + number as u64) * CLUSTER) | COPIED;
    }
    let mut number = 0;
    for (place, cluster) in used.iter().enumerate() {
        number += usize::from(tables[number] != cluster / TABLE_ENTRIES);
        let entry = number * TABLE_ENTRIES as usize + (cluster % TABLE_ENTRIES) as usize;
        l2[entry] = ((layout.data + place as u64) * CLUSTER) | COPIED;
    }
    file.put(layout.l1 * CLUSTER, big_endian(&l1));
    file.put(layout.l2 * CLUSTER, big_endian(&l2));
}

fn big_endian(entries: &[u64]) -> Vec<u8> {
    entries.iter().flat_map(|entry| entry.to_be_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Bootable;
    use crate::media::tests::{TIME, image, tool, written};
    use crate::media::{DiskOptions, disk};

    fn compare(raw: &Sparse<'_>) -> Option<()> {
        let directory = tempfile::tempdir().unwrap();
        let raw_path = written(&directory, "disk.raw", raw);
        let path = written(&directory, "disk.qcow2", &qcow2(raw));
        let said = tool("qemu-img", &["check", "-f", "qcow2", &path])?;
        assert!(said.contains("No errors were found"), "{said}");
        let said = tool("qemu-img", &["compare", "-f", "qcow2", "-F", "raw", &path, &raw_path])?;
        assert!(said.contains("identical"), "{said}");
        Some(())
    }

    #[test]
    fn qemu_finds_it_sound_and_equal_to_the_raw_disk() {
        let efi = image(9 << 20);
        let options = DiskOptions {
            built: TIME,
            esp: None,
            state: Some(20 << 30),
        };
        let raw = disk(Bootable::uki(&efi).unwrap(), &options).unwrap();
        assert!(qcow2(&raw).length() < 12 << 20, "{}", qcow2(&raw).length());
        compare(&raw);
    }

    #[test]
    fn odd_disks() {
        // Empty; not a whole number of clusters; pieces that share a cluster, and one of zeros.
        compare(&Sparse::new(0));
        compare(&Sparse::new(512));
        let mut raw = Sparse::new(CLUSTER * TABLE_ENTRIES * 3 + 512);
        raw.put(10, b"a".as_slice());
        raw.put(70, b"b".as_slice());
        raw.put(CLUSTER - 1, vec![7; 2 * CLUSTER as usize]);
        raw.put(9 * CLUSTER, vec![0; 3 * CLUSTER as usize]);
        raw.put(CLUSTER * TABLE_ENTRIES * 3, vec![1; 512]);
        compare(&raw);
    }

    #[test]
    fn refcounts_count_themselves() {
        for data in [0, 32_700, 32_764, 32_765, 32_766, 32_767, 32_768, 5_000_000] {
            let layout = Layout::new(1, 1, data);
            let blocks = layout.l1 - layout.refcount_blocks;
            assert!(blocks * REFCOUNTS >= layout.total, "{data}");
            assert_eq!(layout.total, layout.data + data);
        }
    }
}
