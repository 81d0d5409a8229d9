//! What is printed: results on standard output, everything else on standard error.
//!
//! A reader that goes away (`mos list | head -1`) has seen enough: that is no failure, and the work goes on. `println!`
//! would panic there, so nothing else in this program prints.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use crate::error::{CliError, Result};

/// Prints one or more lines of a result. A full disk or the like is an error, a closed pipe is none.
pub(crate) fn line(text: impl Display) -> Result<()> {
    print(format!("{text}\n").as_bytes())
}

/// Prints a value as indented JSON.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Result<()> {
    match serde_json::to_string_pretty(value) {
        Ok(text) => line(text),
        // Only maps with keys that are no strings fail, and no output of ours has one.
        Err(error) => unreachable!("a result that is no JSON: {error}"),
    }
}

/// Prints bytes as they are.
pub(crate) fn print(bytes: &[u8]) -> Result<()> {
    write_all(&mut io::stdout().lock(), bytes)
}

fn write_all(output: &mut impl Write, bytes: &[u8]) -> Result<()> {
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CliError::problem(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Says something to the user. When nobody can hear it, there is nobody to tell that either.
pub(crate) fn say(text: impl Display) {
    let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind, Write};

    use super::write_all;

    struct Failing(ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_fine_and_a_full_disk_is_not() {
        assert!(write_all(&mut Failing(ErrorKind::BrokenPipe), b"text").is_ok());
        let error = write_all(&mut Failing(ErrorKind::StorageFull), b"text").unwrap_err();
        assert_eq!(
            error.to_string(),
            "error: cannot write to standard output: no storage space"
        );
    }
}
