//! The command line, before anybody knows what it means.

use std::path::{Path, PathBuf};

use lexopt::{Arg, ValueExt as _};

/// Words and options; options that a verb has no use for are passed over.
#[derive(Debug, Default)]
pub struct Arguments {
    /// The words, the verb first.
    pub words: Vec<String>,
    /// `--help`.
    pub help: bool,
    /// `--version`.
    pub version: bool,
    /// `--json`.
    pub json: bool,
    /// `--lines N`.
    pub lines: Option<u64>,
    /// `--root DIR`: every path below this directory instead of `/`.
    pub root: Option<PathBuf>,
    /// `--config PATH`.
    pub config: Option<PathBuf>,
    /// `--state DIR`.
    pub state: Option<PathBuf>,
    /// `--socket PATH`.
    pub socket: Option<PathBuf>,
}

impl Arguments {
    /// Reads a command line without the program's name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(mut parser: lexopt::Parser) -> Result<Self, lexopt::Error> {
        let mut arguments = Self::default();
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Value(word) => arguments.words.push(word.string()?),
                Arg::Short('h') | Arg::Long("help") => arguments.help = true,
                Arg::Short('V') | Arg::Long("version") => arguments.version = true,
                Arg::Long("json") => arguments.json = true,
                Arg::Short('n') | Arg::Long("lines") => arguments.lines = Some(parser.value()?.parse()?),
                Arg::Long("root") => arguments.root = Some(parser.value()?.into()),
                Arg::Long("config") => arguments.config = Some(parser.value()?.into()),
                Arg::Long("state") => arguments.state = Some(parser.value()?.into()),
                Arg::Long("socket") => arguments.socket = Some(parser.value()?.into()),
                other => return Err(other.unexpected()),
            }
        }
        Ok(arguments)
    }

    /// The verb.
    pub fn verb(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// An absolute path of the node, moved below `--root`.
    pub fn below_root(&self, path: &str) -> PathBuf {
        match &self.root {
            Some(root) => root.join(path.trim_start_matches('/')),
            None => PathBuf::from(path),
        }
    }

    /// The node's settings.
    pub fn config(&self) -> PathBuf {
        self.config
            .clone()
            .unwrap_or_else(|| self.below_root("/etc/mos/node.toml"))
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.state.clone().unwrap_or_else(|| self.below_root("/var/cache/mos"))
    }

    /// The supervisor's socket.
    pub fn socket(&self) -> PathBuf {
        self.socket
            .clone()
            .unwrap_or_else(|| self.below_root("/run/my_init.sock"))
    }

    /// What `mos-node fetch` tells others.
    pub fn progress(&self) -> PathBuf {
        self.below_root("/run/mos/fetch.json")
    }

    /// Where the verified generation is linked.
    pub fn verified(&self) -> PathBuf {
        self.below_root("/run/mos/current")
    }

    /// The kernel command line; empty when it cannot be read.
    pub fn kernel_command_line(&self) -> String {
        std::fs::read_to_string(self.below_root("/proc/cmdline")).unwrap_or_default()
    }
}

/// The last value of a key of the kernel command line.
pub fn kernel_value<'l>(line: &'l str, key: &str) -> Option<&'l str> {
    let words = line.split_ascii_whitespace();
    words
        .filter_map(|word| word.strip_prefix(key)?.strip_prefix('='))
        .next_back()
}

/// The name under which a program was started, without directories.
pub fn program_name(first: Option<&Path>) -> String {
    let name = first.and_then(Path::file_name);
    name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, lexopt::Error> {
        Arguments::parse(lexopt::Parser::from_args(words))
    }

    #[test]
    fn paths_move_below_the_root_unless_named() {
        let arguments = parse(&["fetch", "--root", "/r", "--state", "/s"]).unwrap();
        assert_eq!(arguments.verb(), "fetch");
        assert_eq!(arguments.config(), Path::new("/r/etc/mos/node.toml"));
        assert_eq!(arguments.state(), Path::new("/s"));
        assert!(parse(&["--colour"]).is_err());
    }

    #[test]
    fn the_last_value_of_the_command_line_counts() {
        let line = "quiet mos.channel=http://a mos.channelx=no mos.channel=http://b";
        assert_eq!(kernel_value(line, "mos.channel"), Some("http://b"));
        assert_eq!(kernel_value(line, "mos.state"), None);
    }
}
