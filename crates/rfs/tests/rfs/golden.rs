//! The file that we write, looked at with nothing but SQLite: the tables, columns and values that rfs documents.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::common::{BLOCK, noise, packed, sample};
use mos_rfs::{Layout, PackOptions, Rfs, Route, Targets, pack};
use mos_store::{Memory, Read as _};
use rusqlite::Connection;

fn database(rfs: &Rfs) -> (tempfile::TempDir, Connection) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.fl");
    rfs.save(&path).unwrap();
    let connection = Connection::open(&path).unwrap();
    (directory, connection)
}

/// parent, name, size, uid, gid, mode, rdev, ctime, mtime by ino
type Row = (i64, String, i64, i64, i64, i64, i64, i64, i64);

/// ino, id, key, and the types of the last two
type BlockRow = (i64, Vec<u8>, Vec<u8>, String, String);

fn inodes(connection: &Connection) -> BTreeMap<i64, Row> {
    let mut query = connection
        .prepare("SELECT ino, parent, name, size, uid, gid, mode, rdev, ctime, mtime FROM inode")
        .unwrap();
    let row = |row: &rusqlite::Row<'_>| {
        let rest = (
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
            row.get(5)?,
            row.get(6)?,
            row.get(7)?,
            row.get(8)?,
            row.get(9)?,
        );
        Ok((row.get(0)?, rest))
    };
    query.query_map([], row).unwrap().map(Result::unwrap).collect()
}

#[test]
fn every_field_of_every_table_is_what_rfs_documents() {
    let store = Memory::new();
    let (_directory, connection) = database(&packed(&sample(), &store).rfs);
    let rows: Vec<Row> = inodes(&connection).into_values().collect();
    let row = |parent, name: &str, size, uid, gid, mode, rdev, mtime| {
        (parent, name.to_owned(), size, uid, gid, mode, rdev, mtime, mtime)
    };
    let tool = 2 * BLOCK as i64 + 7;
    assert_eq!(
        rows,
        [
            row(0, "/", 4096, 0, 0, 0o040_755, 0, 1_700_000_000),
            row(1, "bin", 4096, 0, 50, 0o042_775, 0, 1_700_000_001),
            row(2, "tool", tool, 1000, 100, 0o104_755, 0, -5),
            // makedev(259, 70000): 12 bits of the major from bit 8, minor split at its 8th bit.
            row(1, "disk", 0, 0, 6, 0o060_660, 0x1111_0370, 1),
            row(1, "empty", 0, 0, 0, 0o100_600, 0, 0),
            row(1, "exact", BLOCK as i64, 1, 2, 0o100_644, 0, 3),
            row(1, "lib", 8, 0, 0, 0o120_777, 0, 9),
            row(1, "null", 0, 0, 5, 0o020_666, 0x103, 1),
            row(1, "pipe", 0, 0, 0, 0o010_600, 0, 1),
            row(1, "sock", 0, 0, 0, 0o140_600, 0, 1),
            row(1, "zeros", 2 * BLOCK as i64 + 1, 0, 0, 0o100_644, 0, 1),
        ]
    );
    let extra: (i64, Vec<u8>, String) = connection
        .query_row("SELECT ino, data, typeof(data) FROM extra", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    assert_eq!(extra, (7, b"usr/lib\xff".to_vec(), "blob".to_owned()));
}

#[test]
fn the_order_of_rows_is_the_order_of_blocks_and_equal_ones_are_stored_once() {
    let store = Memory::new();
    let packed = packed(&sample(), &store);
    let (_directory, connection) = database(&packed.rfs);
    let mut query = connection
        .prepare("SELECT ino, id, key, typeof(id), typeof(key) FROM block ORDER BY rowid")
        .unwrap();
    let rows: Vec<BlockRow> = query
        .query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(rows.iter().map(|row| row.0).eq([3, 3, 3, 6, 11, 11, 11]));
    let tool = noise(2 * BLOCK + 7, 1);
    for (row, plain) in rows.iter().zip(tool.chunks(BLOCK)) {
        assert_eq!(row.2, blake2b(plain));
    }
    for (_, id, key, id_type, key_type) in &rows {
        assert_eq!((id.len(), key.len(), &**id_type, &**key_type), (32, 32, "blob", "blob"));
        let name = hex::encode(id);
        let stored = store.get(&format!("{}/{name}", &name[..2]), 1 << 20).unwrap();
        assert_eq!(blake2b(&stored), *id);
    }
    assert_eq!(rows[4].1, rows[5].1, "two blocks of zeros");
    let stats = packed.stats;
    assert_eq!((stats.files, stats.blocks, stats.put_blocks), (4, 7, 6));
    assert!(stats.put_bytes < 3 * BLOCK as u64 + BLOCK as u64 / 10);
}

fn blake2b(bytes: &[u8]) -> Vec<u8> {
    blake2b_simd::Params::new()
        .hash_length(32)
        .hash(bytes)
        .as_bytes()
        .to_vec()
}

#[test]
fn tags_and_routes_are_rows_and_passwords_are_stripped_unless_asked_for() {
    let tags = BTreeMap::from([("author".into(), "somebody".into()), ("version".into(), "2.38".into())]);
    let mut targets = Targets::default();
    for (start, end, url) in [
        (0, 0x7f, "s3://KEY:SECRET@h:9000/low?region=r"),
        (0x80, 0xff, "dir:///high"),
    ] {
        let route = Route {
            start,
            end,
            url: url.into(),
        };
        targets.add(route, Layout::Folders, Arc::new(Memory::new()));
    }
    for strip_password in [true, false] {
        let options = PackOptions {
            strip_password,
            tags: tags.clone(),
            ..PackOptions::default()
        };
        let (_directory, connection) = database(&pack(&sample(), &targets, &options).unwrap().rfs);
        let mut query = connection.prepare("SELECT key, value FROM tag ORDER BY key").unwrap();
        let read = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(read.map(Result::unwrap).collect::<BTreeMap<String, String>>(), tags);
        let mut query = connection.prepare("SELECT start, end, url FROM route").unwrap();
        let read = query
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap();
        let routes: Vec<(i64, i64, String)> = read.map(Result::unwrap).collect();
        let low = if strip_password {
            "s3://KEY@h:9000/low?region=r"
        } else {
            "s3://KEY:SECRET@h:9000/low?region=r"
        };
        assert_eq!(routes, [(0, 0x7f, low.into()), (0x80, 0xff, "dir:///high".into())]);
    }
}

#[test]
fn the_schema_has_the_tables_indexes_and_column_types_of_rfs() {
    let (_directory, connection) = database(&packed(&sample(), &Memory::new()).rfs);
    let mut query = connection
        .prepare("SELECT type, name, tbl_name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY 1, 2")
        .unwrap();
    let read = query
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap();
    let objects: Vec<(String, String, String)> = read.map(Result::unwrap).collect();
    let expected = [
        ("index", "block_ino", "block"),
        ("index", "names", "inode"),
        ("index", "parents", "inode"),
        ("table", "block", "block"),
        ("table", "extra", "extra"),
        ("table", "inode", "inode"),
        ("table", "route", "route"),
        ("table", "tag", "tag"),
    ];
    assert!(
        objects
            .iter()
            .map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str()))
            .eq(expected)
    );
    let columns = |table: &str| -> Vec<(String, String, i64)> {
        let mut query = connection
            .prepare("SELECT name, type, pk FROM pragma_table_info(?1)")
            .unwrap();
        let read = query
            .query_map([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap();
        read.map(Result::unwrap).collect()
    };
    assert_eq!(columns("inode")[0], ("ino".into(), "INTEGER".into(), 1));
    assert_eq!(columns("inode")[2], ("name".into(), "VARCHAR(255)".into(), 0));
    assert_eq!(columns("block")[1], ("id".into(), "VARCHAR(32)".into(), 0));
    assert_eq!(columns("tag")[0], ("key".into(), "VARCHAR(10)".into(), 1));
    // The next inode of a tool that adds one comes after ours.
    let next: i64 = connection
        .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'inode'", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(next, 11);
    let check: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
}

#[test]
fn the_same_tree_gives_the_same_bytes_whatever_the_number_of_threads() {
    let bytes = |threads| {
        let options = PackOptions {
            threads,
            ..PackOptions::default()
        };
        pack(&sample(), &crate::common::targets(&Memory::new()), &options)
            .unwrap()
            .rfs
            .to_bytes()
    };
    let one = bytes(1);
    assert_eq!(one, bytes(7));
    assert_eq!(one, Rfs::parse(&one).unwrap().to_bytes());
}
