//! What can be wrong with an flist.

/// Why bytes are not an rfs flist that this program reads. The caller knows which file they came from.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RfsError {
    /// It is no SQLite database.
    #[error("not an rfs flist: it is no SQLite database; was the right file given?")]
    NotADatabase,
    /// It is a database of something else.
    #[error("not an rfs flist: {0}")]
    Schema(String),
    /// SQLite finds it damaged.
    #[error("the flist is damaged: table {table}: {reason}; fetch or pack it again")]
    Database {
        /// Which table was read.
        table: &'static str,
        /// What SQLite said.
        reason: String,
    },
    /// The rows make no sense.
    #[error("the flist is malformed: table {table}, {column} of row {row}: {why}; fetch or pack it again")]
    Malformed {
        /// Which table.
        table: &'static str,
        /// Which column.
        column: &'static str,
        /// `ino` in the tables that have it, else the number of the row.
        row: i64,
        /// What is wrong.
        why: String,
    },
    /// More than this program takes.
    #[error("the flist is too large: {0}")]
    TooLarge(String),
}

impl RfsError {
    pub(crate) fn malformed(table: &'static str, column: &'static str, row: i64, why: impl Into<String>) -> Self {
        Self::Malformed {
            table,
            column,
            row,
            why: why.into(),
        }
    }
}
