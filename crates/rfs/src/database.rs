//! SQLite: the schema of rfs, and what a hostile file could make SQLite do.
//!
//! A file is read into memory first. Rows come from full scans of real tables only: no view, no virtual table, no
//! generated column, no index, no sorting, because each of those is a program or a claim of the file. A file whose
//! pages point at each other could still show rows without end; rows are therefore counted against the file's length,
//! and so are the steps of SQLite itself.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, MAIN_DB, Row, ToSql};

use crate::error::RfsError;

/// What every SQLite database begins with (file format, section 1.3).
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Bytes of the largest flist that is read: about 200 times one that describes a gigabyte.
pub(crate) const FILE_LIMIT: u64 = 1 << 30;
/// Bytes of the smallest row and its cell pointer: no table has more rows than the file has room for.
const ROW_MIN: usize = 8;
/// Bytes of the longest value, row, or statement. The longest that rfs has are link targets (4,095) and its schema.
const VALUE_LIMIT: i32 = 64 << 10;
/// Steps of SQLite's machine for each byte of the file; a row of an honest one takes about 20, and at least `ROW_MIN` bytes.
const STEPS_PER_BYTE: u64 = 8;
/// Steps for opening any file.
const STEPS_BASE: u64 = 1_000_000;
/// Steps between two looks at the count.
const STEPS_SLICE: u16 = 10_000;

/// The tables and columns of rfs. Its reader takes no other names, and opens a file with `IF NOT EXISTS` for each.
const TABLES: &str = "
CREATE TABLE inode (
    ino INTEGER PRIMARY KEY AUTOINCREMENT, parent INTEGER, name VARCHAR(255), size INTEGER, uid INTEGER, gid INTEGER,
    mode INTEGER, rdev INTEGER, ctime INTEGER, mtime INTEGER
);
CREATE TABLE extra (ino INTEGER PRIMARY KEY, data VARCHAR(4096));
CREATE TABLE block (ino INTEGER, id VARCHAR(32), key VARCHAR(32));
CREATE TABLE tag (key VARCHAR(10) PRIMARY KEY, value VARCHAR(255));
CREATE TABLE route (start INTEGER, end INTEGER, url VARCHAR(2048));
";
/// Made after the rows are there, which is faster.
const INDEXES: &str = "
CREATE INDEX parents ON inode (parent);
CREATE INDEX names ON inode (name);
CREATE INDEX block_ino ON block (ino);
";

/// A table of the schema and what is read of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [&'static str],
}

pub(crate) const INODE: Table = Table {
    name: "inode",
    columns: &[
        "ino", "parent", "name", "size", "uid", "gid", "mode", "rdev", "ctime", "mtime",
    ],
};
pub(crate) const EXTRA: Table = Table {
    name: "extra",
    columns: &["ino", "data"],
};
/// With the row's number: the order of rows is the order of blocks.
pub(crate) const BLOCK: Table = Table {
    name: "block",
    columns: &["rowid", "ino", "id", "key"],
};
pub(crate) const TAG: Table = Table {
    name: "tag",
    columns: &["key", "value"],
};
pub(crate) const ROUTE: Table = Table {
    name: "route",
    columns: &["start", "end", "url"],
};

/// A file that was opened for reading.
pub(crate) struct Database {
    connection: Connection,
    rows: usize,
}

/// One row, with the means to say what is wrong with it.
pub(crate) struct Fields<'r> {
    row: &'r Row<'r>,
    table: Table,
    /// For messages; the first column where it is a number.
    number: i64,
}

impl Database {
    /// Takes a file's bytes.
    pub(crate) fn open(bytes: &[u8]) -> Result<Self, RfsError> {
        if !bytes.starts_with(MAGIC) {
            return Err(RfsError::NotADatabase);
        }
        if bytes.len() as u64 > FILE_LIMIT {
            return Err(RfsError::TooLarge(format!("{} bytes", bytes.len())));
        }
        let connection = connect(bytes).map_err(|error| damaged("schema", &error))?;
        let database = Self {
            connection,
            rows: bytes.len() / ROW_MIN,
        };
        for table in [INODE, EXTRA, BLOCK, TAG, ROUTE] {
            database.check(table)?;
        }
        Ok(database)
    }

    /// The table must be one that holds rows of its own, and have no column that is computed.
    fn check(&self, table: Table) -> Result<(), RfsError> {
        let missing = |_| RfsError::Schema(format!("there is no table `{}`", table.name));
        let (kind, root): (String, i64) = self
            .connection
            .query_row(
                "SELECT type, rootpage FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE AND type <> 'index'",
                [table.name],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .map_err(missing)?;
        let mut computed = false;
        let look = |row: &Row<'_>| {
            computed |= row.get::<_, i64>("hidden")? != 0;
            Ok(())
        };
        self.connection
            .pragma(None, "table_xinfo", table.name, look)
            .map_err(|error| damaged(table.name, &error))?;
        match kind == "table" && root > 0 && !computed {
            true => Ok(()),
            false => Err(RfsError::Schema(format!("`{}` is no plain table", table.name))),
        }
    }

    /// Visits every row of a table, in the order in which they lie in the file.
    pub(crate) fn scan(
        &self,
        table: Table,
        mut visit: impl FnMut(&Fields<'_>) -> Result<(), RfsError>,
    ) -> Result<(), RfsError> {
        let wrong = |error: rusqlite::Error| damaged(table.name, &error);
        let columns: Vec<String> = table.columns.iter().map(|name| format!("\"{name}\"")).collect();
        let query = format!("SELECT {} FROM {} NOT INDEXED", columns.join(", "), table.name);
        let mut statement = self
            .connection
            .prepare(&query)
            .map_err(|error| no_column(table, &error))?;
        let mut rows = statement.query([]).map_err(wrong)?;
        let mut count = 0;
        while let Some(row) = rows.next().map_err(wrong)? {
            count += 1;
            if count > self.rows {
                return Err(RfsError::TooLarge(format!(
                    "table {}: more rows than the file has room for",
                    table.name
                )));
            }
            visit(&Fields::new(row, table, count))?;
        }
        Ok(())
    }
}

impl<'r> Fields<'r> {
    fn new(row: &'r Row<'r>, table: Table, count: usize) -> Self {
        let number = match row.get_ref(0) {
            Ok(ValueRef::Integer(number)) => number,
            _ => i64::try_from(count).unwrap_or(i64::MAX),
        };
        Self { row, table, number }
    }

    fn column(&self, name: &'static str) -> ValueRef<'r> {
        self.row.get_ref(name).unwrap_or(ValueRef::Null)
    }

    /// An error about this row.
    pub(crate) fn wrong(&self, column: &'static str, why: impl Into<String>) -> RfsError {
        RfsError::malformed(self.table.name, column, self.number, why)
    }

    /// A whole number of the type that the caller wants.
    pub(crate) fn number<N: TryFrom<i64>>(&self, column: &'static str) -> Result<N, RfsError> {
        let ValueRef::Integer(number) = self.column(column) else {
            return Err(self.wrong(column, "not a number"));
        };
        N::try_from(number).map_err(|_| self.wrong(column, format!("{number} is out of range")))
    }

    /// A text or blob of at most this many bytes.
    pub(crate) fn bytes(&self, column: &'static str, limit: usize) -> Result<&'r [u8], RfsError> {
        match self.column(column) {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) if bytes.len() <= limit => Ok(bytes),
            ValueRef::Text(_) | ValueRef::Blob(_) => Err(self.wrong(column, format!("longer than {limit} bytes"))),
            _ => Err(self.wrong(column, "not a text")),
        }
    }

    /// A blob of 32 bytes.
    pub(crate) fn hash(&self, column: &'static str) -> Result<[u8; 32], RfsError> {
        let bytes = self.bytes(column, size_of::<[u8; 32]>())?;
        bytes.try_into().map_err(|_| self.wrong(column, "not 32 bytes"))
    }

    /// Text in UTF-8 of at most this many bytes.
    pub(crate) fn text(&self, column: &'static str, limit: usize) -> Result<String, RfsError> {
        let text = std::str::from_utf8(self.bytes(column, limit)?);
        text.map(str::to_owned).map_err(|_| self.wrong(column, "not UTF-8"))
    }
}

/// Opens the bytes as a database in memory that nothing can write, with SQLite's defences up.
fn connect(bytes: &[u8]) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    for (config, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        // Else a column that is not there would be read as its own name.
        (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
    ] {
        connection.set_db_config(config, on)?;
    }
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_LENGTH, VALUE_LIMIT),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, VALUE_LIMIT),
        (Limit::SQLITE_LIMIT_COLUMN, 32),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 32),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        connection.set_limit(limit, value)?;
    }
    connection.deserialize_read_exact(MAIN_DB, bytes, bytes.len(), true)?;
    connection.execute_batch("PRAGMA cell_size_check = ON; PRAGMA query_only = ON;")?;
    let budget = AtomicU64::new((STEPS_BASE + STEPS_PER_BYTE * bytes.len() as u64) / u64::from(STEPS_SLICE));
    let exhausted = move || budget.fetch_sub(1, Ordering::Relaxed) <= 1;
    connection.progress_handler(STEPS_SLICE.into(), Some(exhausted))?;
    Ok(connection)
}

fn damaged(table: &'static str, error: &rusqlite::Error) -> RfsError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::OperationInterrupted) => RfsError::TooLarge(format!(
            "table {table}: it takes longer to read than its length explains"
        )),
        Some(rusqlite::ErrorCode::NotADatabase) => RfsError::NotADatabase,
        _ => RfsError::Database {
            table,
            reason: error.to_string(),
        },
    }
}

/// A query that cannot be prepared: most likely a column that is not there.
fn no_column(table: Table, error: &rusqlite::Error) -> RfsError {
    match error {
        rusqlite::Error::SqlInputError { msg, .. } => RfsError::Schema(format!("table {}: {msg}", table.name)),
        other => damaged(table.name, other),
    }
}

/// A new database, in memory, as one transaction.
pub(crate) struct Writer {
    connection: Connection,
}

/// A value of a row that is written.
pub(crate) enum Cell<'v> {
    Number(i64),
    Text(&'v [u8]),
    Blob(&'v [u8]),
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Number(number) => ToSqlOutput::Owned(Value::Integer(*number)),
            Self::Text(bytes) => ToSqlOutput::Borrowed(ValueRef::Text(bytes)),
            Self::Blob(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

impl Writer {
    /// An empty flist.
    pub(crate) fn new() -> rusqlite::Result<Self> {
        let connection = Connection::open_in_memory()?;
        connection.execute_batch("PRAGMA journal_mode = OFF; BEGIN;")?;
        connection.execute_batch(TABLES)?;
        Ok(Self { connection })
    }

    /// Appends rows to a table, in their order.
    pub(crate) fn rows<'v, const N: usize>(
        &self,
        table: Table,
        rows: impl Iterator<Item = [Cell<'v>; N]>,
    ) -> rusqlite::Result<()> {
        let columns: Vec<String> = table.columns.iter().map(|name| format!("\"{name}\"")).collect();
        let values = vec!["?"; N].join(", ");
        let query = format!("INSERT INTO {} ({}) VALUES ({values})", table.name, columns.join(", "));
        let mut statement = self.connection.prepare(&query)?;
        for row in rows {
            statement.execute(rusqlite::params_from_iter(row))?;
        }
        Ok(())
    }

    /// The bytes of the file.
    pub(crate) fn finish(mut self) -> rusqlite::Result<Vec<u8>> {
        self.connection.execute_batch(INDEXES)?;
        self.connection.execute_batch("COMMIT;")?;
        Ok(self.connection.serialize(MAIN_DB)?.to_vec())
    }
}
