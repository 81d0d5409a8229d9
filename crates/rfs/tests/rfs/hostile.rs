//! Files that were made to harm: each is refused, or read, in bounded time, and none panics.

use std::sync::{Arc, LazyLock};

use crate::common::{packed, reader, sample};
use mos_flist::{Depth, Image as _};
use mos_rfs::{Reader, Rfs, RfsError, Stores};
use mos_store::Memory;
use proptest::prelude::*;
use rusqlite::Connection;

static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| packed(&sample(), &Memory::new()).rfs.to_bytes());

/// A good file, changed by these statements.
fn changed(statements: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.fl");
    std::fs::write(&path, &*GOOD).unwrap();
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("PRAGMA synchronous = OFF").unwrap();
    connection.execute_batch(statements).unwrap();
    drop(connection);
    std::fs::read(&path).unwrap()
}

fn refused(statements: &str, why: &str) {
    match Rfs::parse(&changed(statements)) {
        Err(error) => assert!(error.to_string().contains(why), "{statements}: {error}"),
        Ok(_) => panic!("{statements}: taken"),
    }
}

/// What a caller does with an flist that parsed: none of it may panic.
fn use_all(rfs: Rfs) {
    let bytes = rfs.to_bytes();
    assert!(Rfs::parse(&bytes).is_ok());
    let reader = Reader::new(Arc::new(rfs), Stores::default());
    for entry in reader.entries() {
        let _ = reader.read_at(entry.inode, 3..70_000);
        assert_eq!(reader.find(&entry.path).map(|found| found.inode), Some(entry.inode));
    }
    let _ = reader.verify(Depth::Metadata, &|_| ());
}

#[test]
fn what_is_no_rfs_flist_is_told_apart() {
    assert_eq!(Rfs::parse(b"").unwrap_err(), RfsError::NotADatabase);
    assert_eq!(Rfs::parse(b"MOSFLIST").unwrap_err(), RfsError::NotADatabase);
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch("CREATE TABLE other (x)").unwrap();
    let mut connection = connection;
    let bytes = connection.serialize(rusqlite::MAIN_DB).unwrap().to_vec();
    assert!(Rfs::parse(&bytes).unwrap_err().to_string().contains("no table `inode`"));
    refused("DROP TABLE route", "no table `route`");
    refused("ALTER TABLE inode RENAME COLUMN gid TO g", "gid");
}

#[test]
fn trees_that_are_no_trees_are_refused() {
    for (statements, why) in [
        (
            "DELETE FROM inode; DELETE FROM extra; DELETE FROM block",
            "root, number 1, is missing",
        ),
        ("DELETE FROM inode WHERE ino = 1", "root, number 1, is missing"),
        ("UPDATE inode SET parent = 2 WHERE ino = 1", "root must be a directory"),
        (
            "UPDATE inode SET mode = 33188 WHERE ino = 1",
            "root must be a directory",
        ),
        ("UPDATE inode SET parent = 99 WHERE ino = 3", "no inode 99"),
        ("UPDATE inode SET parent = 0 WHERE ino = 3", "no inode 0"),
        ("UPDATE inode SET parent = 5 WHERE ino = 3", "is no directory"),
        ("UPDATE inode SET parent = 2 WHERE ino = 2", "hangs on itself"),
        (
            "INSERT INTO inode SELECT 20, 21, 'a', 0, 0, 0, 16877, 0, 0, 0; INSERT INTO inode SELECT 21, 20, 'b', 0, 0, 0, 16877, 0, 0, 0",
            "hangs on itself",
        ),
        ("UPDATE inode SET name = 'empty' WHERE ino = 6", "\"empty\" is twice"),
        ("UPDATE inode SET name = '..' WHERE ino = 5", "is no file name"),
        ("UPDATE inode SET name = '.' WHERE ino = 5", "is no file name"),
        ("UPDATE inode SET name = '' WHERE ino = 5", "is no file name"),
        ("UPDATE inode SET name = 'a/b' WHERE ino = 5", "is no file name"),
        (
            "UPDATE inode SET name = CAST(x'6100' AS TEXT) WHERE ino = 5",
            "is no file name",
        ),
        (
            "UPDATE inode SET name = printf('%.256c', 'a') WHERE ino = 5",
            "longer than 255",
        ),
        ("UPDATE inode SET name = NULL WHERE ino = 5", "not a text"),
        ("UPDATE inode SET size = -1 WHERE ino = 5", "out of range"),
        ("UPDATE inode SET size = 'big' WHERE ino = 5", "not a number"),
        ("UPDATE inode SET uid = 4294967296 WHERE ino = 5", "out of range"),
        ("UPDATE inode SET mode = 420 WHERE ino = 5", "no kind of file"),
        ("UPDATE inode SET mode = 97700 WHERE ino = 5", "no kind of file"),
        (
            "UPDATE inode SET mode = 16777216 + 33188 WHERE ino = 5",
            "no kind of file",
        ),
        ("DELETE FROM extra", "without a target"),
        ("UPDATE extra SET data = ''", "without a target"),
        ("UPDATE extra SET data = x'6100'", "without a target"),
        ("UPDATE extra SET data = printf('%.5000c', 'a')", "longer than 4095"),
        ("UPDATE extra SET ino = 99", "no inode 99"),
        ("UPDATE block SET ino = 99 WHERE rowid = 1", "no inode 99"),
        ("UPDATE block SET ino = 2 WHERE rowid = 1", "something that is no file"),
        ("UPDATE block SET id = x'00' WHERE rowid = 1", "not 32 bytes"),
        ("UPDATE block SET key = zeroblob(33) WHERE rowid = 1", "longer than 32"),
        ("UPDATE route SET start = 256", "out of range"),
        ("UPDATE route SET url = x'ff'", "not UTF-8"),
        ("UPDATE route SET url = printf('%.3000c', 'a')", "longer than 2048"),
        ("INSERT INTO tag VALUES ('version', NULL)", "not a text"),
    ] {
        refused(statements, why);
    }
}

#[test]
fn a_path_without_end_is_refused() {
    let mut statements = String::from("BEGIN;");
    for level in 0..2100 {
        let (ino, parent) = (100 + level, if level == 0 { 1 } else { 99 + level });
        statements += &format!("INSERT INTO inode SELECT {ino}, {parent}, 'a', 0, 0, 0, 16877, 0, 0, 0;");
    }
    refused(&(statements + "COMMIT"), "its path is longer than 4095");
}

#[test]
fn no_program_of_the_file_is_run() {
    let view = "DROP TABLE tag; CREATE VIEW tag AS WITH RECURSIVE r(key, value) AS (SELECT 'a', 'b' UNION ALL SELECT key || 'a', value FROM r) SELECT * FROM r";
    refused(view, "`tag` is no plain table");
    let computed = "DROP TABLE tag; CREATE TABLE tag (key TEXT, value TEXT AS (hex(zeroblob(20000))))";
    refused(computed, "`tag` is no plain table");
    refused(
        "DROP TABLE tag; CREATE VIRTUAL TABLE tag USING fts5(key, value)",
        "`tag` is no plain table",
    );
    refused(
        "DROP TABLE block; CREATE TABLE block (ino, id, key, PRIMARY KEY (ino, id)) WITHOUT ROWID",
        "rowid",
    );
    // A trigger would run when an edit writes; the file is made anew, and has none then.
    let bytes = changed("CREATE TRIGGER t AFTER INSERT ON route BEGIN DELETE FROM inode; END");
    let rebuilt = Rfs::parse(&bytes).unwrap().to_bytes();
    assert!(!rebuilt.windows(7).any(|bytes| bytes == b"TRIGGER"));
}

/// The page that a table begins with is made an inner page whose every child is itself, or one of a few: without a limit
/// a walk through it would show more rows than there are atoms.
#[test]
fn pages_that_point_at_each_other_end() {
    let good = &*GOOD;
    let mut connection = Connection::open_in_memory().unwrap();
    connection
        .deserialize_read_exact(rusqlite::MAIN_DB, &good[..], good.len(), true)
        .unwrap();
    let page: u32 = connection
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'route'", [], |row| {
            row.get(0)
        })
        .unwrap();
    let size = 4096;
    let mut bytes = good.clone();
    // Two levels of inner pages above a leaf with one row, each with 300 children, all the same: 90,000 rows.
    let leaf = append_leaf(&mut bytes, size);
    bytes.extend_from_slice(&inner_page(leaf, 300, size));
    let count = (bytes.len() / size) as u32;
    bytes[28..32].copy_from_slice(&count.to_be_bytes());
    let at = (page as usize - 1) * size;
    bytes[at..at + size].copy_from_slice(&inner_page(count, 300, size));
    let error = Rfs::parse(&bytes).unwrap_err();
    assert!(matches!(error, RfsError::TooLarge(_)), "{error}");
    // A page that is its own child.
    bytes[at..at + size].copy_from_slice(&inner_page(page, 300, size));
    assert!(Rfs::parse(&bytes).is_err());
}

/// Appends a leaf with one row (0, 1, `u`) and returns its number.
fn append_leaf(bytes: &mut Vec<u8>, size: usize) -> u32 {
    let mut page = vec![0; size];
    // Cell: payload length, row number, header (its length; serial types of 0, of 1, and of a text of one byte), "u".
    let cell = [5, 1, 4, 8, 9, 15, b'u'];
    let start = size - cell.len();
    page[start..].copy_from_slice(&cell);
    page[0] = 13;
    page[3..5].copy_from_slice(&1_u16.to_be_bytes());
    page[5..7].copy_from_slice(&(start as u16).to_be_bytes());
    page[8..10].copy_from_slice(&(start as u16).to_be_bytes());
    bytes.extend_from_slice(&page);
    (bytes.len() / size) as u32
}

/// An inner page of a table with so many cells that all name one child.
fn inner_page(child: u32, cells: usize, size: usize) -> Vec<u8> {
    let mut page = vec![0; size];
    page[0] = 5;
    page[3..5].copy_from_slice(&(cells as u16).to_be_bytes());
    let content = size - cells * 6;
    page[5..7].copy_from_slice(&(content as u16).to_be_bytes());
    page[8..12].copy_from_slice(&child.to_be_bytes());
    for cell in 0..cells {
        let at = content + cell * 6;
        page[12 + cell * 2..14 + cell * 2].copy_from_slice(&(at as u16).to_be_bytes());
        page[at..at + 4].copy_from_slice(&child.to_be_bytes());
        page[at + 4] = 1;
    }
    page
}

#[test]
fn a_file_of_enormous_claims_allocates_nothing_for_them() {
    let rfs = Rfs::parse(&changed("UPDATE inode SET size = 9223372036854775807 WHERE ino = 3")).unwrap();
    let reader = reader(rfs, &Memory::new());
    let tool = reader.find(b"bin/tool").unwrap();
    assert!(reader.read_at(tool.inode, 0..u64::MAX).is_err());
    assert_eq!(reader.rfs().incomplete().len(), 1);
}

#[test]
fn every_truncation_is_refused_or_read() {
    let good = &*GOOD;
    for length in (0..good.len()).step_by(331) {
        if let Ok(rfs) = Rfs::parse(&good[..length]) {
            use_all(rfs);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn changed_bytes_never_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<[u8; 4]>(), 1..=4_usize), 1..6)
    ) {
        let mut bad = GOOD.clone();
        for (position, bytes, count) in changes {
            let position = position.index(bad.len() - 4);
            bad[position..position + count].copy_from_slice(&bytes[..count]);
        }
        if let Ok(rfs) = Rfs::parse(&bad) {
            use_all(rfs);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>()) {
        prop_assert!(Rfs::parse(&[b"SQLite format 3\0", &bytes[..]].concat()).is_err());
    }
}
