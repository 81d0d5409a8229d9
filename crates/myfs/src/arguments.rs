//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, ValueExt as _};
use mos_mount::{How, MountOptions, Prefetch};

/// What is asked for.
#[derive(Debug)]
pub(crate) enum Asked {
    Help,
    Version,
    Mount(Box<Mount>),
    Unmount(PathBuf),
    /// Of the node below this directory.
    KernelFiles(PathBuf),
    /// The same.
    Discover(PathBuf),
}

/// `myfs mount`.
#[derive(Debug, Default)]
pub(crate) struct Mount {
    pub(crate) flist: PathBuf,
    pub(crate) directory: PathBuf,
    pub(crate) store: Option<String>,
    pub(crate) prefetch: Option<PathBuf>,
    pub(crate) daemon: bool,
    /// Started by a process that waits for the mount.
    pub(crate) in_background: bool,
    pub(crate) log: Option<PathBuf>,
    pub(crate) pidfile: Option<PathBuf>,
    pub(crate) options: MountOptions,
}

/// The option by which the program tells itself that it is in the background.
pub(crate) const IN_BACKGROUND: &str = "in-background";

/// Reads a command line without the program's name.
pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Asked, lexopt::Error> {
    let mut mount = Mount::default();
    let mut words: Vec<PathBuf> = Vec::new();
    let mut root = PathBuf::from("/");
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Value(word) => words.push(word.into()),
            Arg::Short('h') | Arg::Long("help") => return Ok(Asked::Help),
            Arg::Short('V') | Arg::Long("version") => return Ok(Asked::Version),
            Arg::Short('s') | Arg::Long("store") => mount.store = Some(parser.value()?.string()?),
            Arg::Short('d') | Arg::Long("daemon") => mount.daemon = true,
            Arg::Long(IN_BACKGROUND) => mount.in_background = true,
            Arg::Short('l') | Arg::Long("log") => mount.log = Some(parser.value()?.into()),
            Arg::Long("root") => root = parser.value()?.into(),
            Arg::Long("pidfile") => mount.pidfile = Some(parser.value()?.into()),
            Arg::Long("prefetch") => mount.prefetch = Some(parser.value()?.into()),
            Arg::Long("prefetch-all") => mount.options.prefetch = Prefetch::All,
            other => option(&mut mount.options, &other.into_owned_name(), &mut parser)?,
        }
    }
    asked(mount, words, root)
}

/// An option of the mount itself.
fn option(options: &mut MountOptions, name: &str, parser: &mut lexopt::Parser) -> Result<(), lexopt::Error> {
    match name {
        "--how" => options.how = parser.value()?.parse::<How>()?,
        "--cache" | "-c" => options.cache = Some(parser.value()?.into()),
        "--cache-size" => options.cache_bytes = parser.value()?.parse_with(size)?,
        "--wait" => options.wait = Duration::from_secs(parser.value()?.parse()?),
        "--threads" => options.threads = parser.value()?.parse()?,
        "--writable" => options.writable = Some(parser.value()?.into()),
        "--check-cache" => options.check = true,
        "--trace-to" => options.trace_to = Some(parser.value()?.into()),
        "--private" => options.allow_other = false,
        "--allow-other" => options.allow_other = true,
        other => return Err(format!("unknown option {other}").into()),
    }
    Ok(())
}

fn asked(mut mount: Mount, words: Vec<PathBuf>, root: PathBuf) -> Result<Asked, lexopt::Error> {
    let verb = words.first().map(|word| word.to_string_lossy().into_owned());
    match (verb.as_deref(), words.as_slice()) {
        (Some("mount"), [_, flist, directory]) => {
            mount.flist.clone_from(flist);
            mount.directory.clone_from(directory);
            Ok(Asked::Mount(Box::new(mount)))
        }
        (Some("unmount" | "umount"), [_, directory]) => Ok(Asked::Unmount(directory.clone())),
        (Some("kernel-files"), [_]) => Ok(Asked::KernelFiles(root)),
        (Some("discover"), [_]) => Ok(Asked::Discover(root)),
        _ => Err("expected `mount FLIST DIR`, `unmount DIR`, `kernel-files` or `discover`".into()),
    }
}

/// A number of bytes; K, M, G and T stand for powers of 1,024.
fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size: a number, or one with K, M, G or T behind it");
    let (digits, shift) = match text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic()) {
        digits if digits.len() == text.len() => (digits, 0),
        digits => match &text[digits.len()..] {
            "K" => (digits, 10),
            "M" => (digits, 20),
            "G" => (digits, 30),
            "T" => (digits, 40),
            _ => return Err(wrong()),
        },
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// The name of an option as it was written.
trait OwnedName {
    fn into_owned_name(self) -> String;
}

impl OwnedName for Arg<'_> {
    fn into_owned_name(self) -> String {
        match self {
            Arg::Short(letter) => format!("-{letter}"),
            Arg::Long(name) => format!("--{name}"),
            Arg::Value(value) => value.to_string_lossy().into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Asked, lexopt::Error> {
        parse(lexopt::Parser::from_args(line.split_whitespace()))
    }

    #[test]
    fn a_whole_line_is_read() {
        let line = "mount a.fl /mnt --store dir:///s -c /c --cache-size 5G --how fuse --wait 7 -d --prefetch-all";
        let Asked::Mount(mount) = parsed(line).unwrap() else {
            panic!("a mount")
        };
        assert_eq!(mount.flist, PathBuf::from("a.fl"));
        assert_eq!(mount.store.as_deref(), Some("dir:///s"));
        assert_eq!(mount.options.cache_bytes, 5 << 30);
        assert_eq!(mount.options.how, How::Fuse);
        assert_eq!(mount.options.wait, Duration::from_secs(7));
        assert!(mount.daemon && mount.options.prefetch == Prefetch::All);
    }

    #[test]
    fn what_a_node_does_has_a_root() {
        let root = |line: &str| match parsed(line).unwrap() {
            Asked::KernelFiles(root) | Asked::Discover(root) => root,
            other => panic!("{other:?}"),
        };
        assert_eq!(root("kernel-files"), PathBuf::from("/"));
        assert_eq!(root("discover --root /r"), PathBuf::from("/r"));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (line, words) in [
            ("mount a.fl", "mount FLIST DIR"),
            ("mount a b --cache-size 5Q", "5Q"),
            ("mount a b --how quick", "quick"),
            ("discover pci", "`discover`"),
            ("mount a b --nonsense", "--nonsense"),
            ("", "mount FLIST DIR"),
        ] {
            let error = parsed(line).unwrap_err().to_string();
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
