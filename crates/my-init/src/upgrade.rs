//! Another program in place of this one, under services that do not notice.
//!
//! The supervisor writes down what it knows and ends; the keeper executes the new program, which finds by their numbers
//! the descriptors that stay open. Processes, pipes, sockets, logs and process ids are the same before and after.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use mos_sys::fork::Leftovers;

use crate::exits::Exits;
use crate::journal::Journal;
use crate::services::c_string;

/// In every program that can take over from this one, and in no other. Changes with what is handed over and how, and with
/// the version of the journal: a program that has another one is refused before anything happens.
const MARK: &str = "my_init takes over, version 4";
/// The option with which the new program is told.
pub const OPTION: &str = "--take-over";
/// The largest program, in bytes.
const PROGRAM_MAX: u64 = 64 * 1024 * 1024;

/// What the old program hands over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handover {
    /// The descriptors of [`Exits`] and of the [`Journal`].
    numbers: [RawFd; 3],
    /// How many starts there were, see [`mos_sys::shared_pid`].
    count: u64,
    /// The limit of open files that services get, soft and hard.
    pub open_files: Option<(u64, u64)>,
}

impl Handover {
    /// What is to be handed over.
    pub fn of(exits: &Exits, journal: &Journal, count: u64, open_files: Option<(u64, u64)>) -> Self {
        let [records, bell] = exits.files();
        Self {
            numbers: [records, bell, journal.file()].map(|file| file.as_raw_fd()),
            count,
            open_files,
        }
    }

    fn argument(&self) -> String {
        let numbers = self.numbers.map(|number| number.to_string()).join(",");
        let limits = self.open_files.map(|(soft, hard)| format!(",{soft},{hard}"));
        format!("{numbers},{}{}", self.count, limits.unwrap_or_default())
    }

    /// Reads the option's value.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let numbers: Option<Vec<u64>> = text.split(',').map(|number| number.parse().ok()).collect();
        let descriptor = |number: u64| RawFd::try_from(number).ok();
        let understood = match numbers.as_deref() {
            Some([a, b, c, count, limits @ ..]) => {
                let numbers = [*a, *b, *c].map(descriptor);
                let open_files = match limits {
                    [] => Some(None),
                    [soft, hard] => Some(Some((*soft, *hard))),
                    _ => None,
                };
                let numbers: Option<Vec<RawFd>> = numbers.into_iter().collect();
                numbers
                    .zip(open_files)
                    .map(|(numbers, open_files)| (numbers, *count, open_files))
            }
            _ => None,
        };
        let (numbers, count, open_files) =
            understood.ok_or_else(|| format!("{OPTION} is for my_init itself, and not `{text}`"))?;
        let numbers = <[RawFd; 3]>::try_from(numbers).map_err(|_| format!("{OPTION}: `{text}`"))?;
        Ok(Self {
            numbers,
            count,
            open_files,
        })
    }

    /// What is handed over to this process, whatever its other words are: those of PID 1 are the kernel's, and one that
    /// means nothing to us must not have us begin anew among services that run.
    pub fn among(words: &[String]) -> Option<Self> {
        let place = words.iter().position(|word| word == OPTION)?;
        Self::parse(words.get(place + 1)?).ok()
    }

    /// Takes it, out of everything that is open.
    ///
    /// # Errors
    /// When one of the descriptors is not open.
    pub fn take(&self) -> io::Result<(Exits, Journal, u64)> {
        let mut open = Leftovers::inherited()?;
        let taken: Option<Vec<OwnedFd>> = self.numbers.iter().map(|number| open.take(*number)).collect();
        // The rest is for the supervisor.
        match taken.map(<[OwnedFd; 3]>::try_from) {
            Some(Ok([records, bell, journal])) => Ok((Exits::of(records, bell), Journal::of(journal), self.count)),
            _ => Err(io::Error::other("what was handed over is not open")),
        }
    }
}

/// Says why a program cannot take over, if it cannot: whoever executes the wrong one as PID 1 has no machine any more.
///
/// # Errors
/// What is wrong with it.
pub fn check(program: &Path) -> Result<(), String> {
    let told = |error: io::Error| format!("{}: {error}", program.display());
    let wrong = |what: &str| Err(format!("{} {what}", program.display()));
    let file = fs::metadata(program).map_err(told)?;
    if !program.is_absolute() || !file.is_file() || file.permissions().mode() & 0o111 == 0 {
        return wrong("is not the absolute path of a program");
    }
    let own = rustix::process::geteuid().as_raw();
    if file.uid() != own || file.permissions().mode() & 0o022 != 0 {
        return wrong("can be changed by others than the user of my_init");
    }
    if file.len() > PROGRAM_MAX {
        return wrong("is too large for a my_init");
    }
    let bytes = fs::read(program).map_err(told)?;
    let marked = bytes.windows(MARK.len()).any(|window| window == MARK.as_bytes());
    match bytes.starts_with(b"\x7fELF") && marked {
        true => Ok(()),
        false => wrong("is not a my_init that can take over from this one"),
    }
}

/// Executes the program in place of this one. Returns only when that fails, and then everything is as before.
///
/// # Errors
/// Always.
pub fn replace(program: &Path, handover: &Handover) -> io::Error {
    let mut words = std::env::args_os().skip(1);
    let mut arguments = ["my_init", OPTION, &handover.argument()].map(c_string).to_vec();
    while let Some(word) = words.next() {
        if word == OPTION {
            words.next();
        } else {
            arguments.push(CString::new(word.into_vec()).unwrap_or_default());
        }
    }
    let open = match Leftovers::inherited() {
        Ok(open) => open,
        Err(error) => return error,
    };
    open.keep_on_exec(true);
    let error = mos_sys::spawn::replace(&c_string(&program.to_string_lossy()), &arguments);
    open.keep_on_exec(false);
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_is_read_as_it_was_written() {
        for (open_files, text) in [(None, "3,4,5,70"), (Some((1024, 4096)), "3,4,5,70,1024,4096")] {
            let handover = Handover {
                numbers: [3, 4, 5],
                count: 70,
                open_files,
            };
            assert_eq!(handover.argument(), text);
            assert_eq!(Handover::parse(text), Ok(handover));
        }
        let words = ["splash", OPTION, "3,4,5,6", "--what"].map(str::to_owned);
        assert_eq!(Handover::among(&words), Handover::parse("3,4,5,6").ok());
        assert!(Handover::among(&words).is_some() && Handover::among(&words[..2]).is_none());
        for text in [
            "",
            "3",
            "3,4",
            "3,4,x",
            "3,4,5",
            "3,4,5,6,7",
            "3,4,5,6,7,8,9",
            "-1,2,3,4",
        ] {
            assert!(Handover::parse(text).is_err(), "{text}");
        }
    }
}
