//! The kernel command line, parsed in one place.

use crate::clock::Millis;
use crate::logs::Limits;
use crate::logs::limits::size;

/// The default boot deadline.
const DEADLINE_MS: Millis = 30_000;

/// What of the kernel command line concerns PID 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// `my_init.debug`: print every change of state, and keep a shell on the console.
    pub debug: bool,
    /// `my_init.deadline=SECONDS`, in milliseconds.
    pub boot_deadline: Millis,
    /// `systemd.machine_id=ID`, see [`machine_id`](super::machine_id).
    pub machine_id: Option<String>,
    /// `my_init.log_memory=SIZE`, `my_init.log_files=SIZE`.
    pub logs: Limits,
}

impl CommandLine {
    /// Reads the text of `/proc/cmdline`; the last of several counts, and what cannot be read is as if it were absent.
    pub fn parse(text: &str) -> Self {
        let mut line = Self {
            debug: false,
            boot_deadline: DEADLINE_MS,
            machine_id: None,
            logs: Limits::default(),
        };
        for word in words(text) {
            match word.split_once('=') {
                None if word == "my_init.debug" => line.debug = true,
                Some(("my_init.deadline", seconds)) => {
                    let deadline = seconds.parse::<u32>().ok().map(|seconds| Millis::from(seconds) * 1000);
                    line.boot_deadline = deadline.unwrap_or(line.boot_deadline);
                }
                Some(("my_init.log_memory", text)) => line.logs.memory = size(text).unwrap_or(line.logs.memory),
                Some(("my_init.log_files", text)) => line.logs.files = size(text).unwrap_or(line.logs.files),
                Some(("systemd.machine_id", id)) => line.machine_id = Some(id.to_owned()),
                _ => {}
            }
        }
        line
    }
}

/// Splits at blanks outside double quotes, which are removed (as `parse_args` of the kernel does); words after a bare
/// `--` are for init, and so are these.
pub fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in text.chars() {
        match character {
            '"' => quoted = !quoted,
            character if character.is_ascii_whitespace() && !quoted => words.push(String::new()),
            character => {
                if let Some(word) = words.last_mut() {
                    word.push(character);
                }
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_words_are_found_among_others() {
        let line = CommandLine::parse(
            "console=ttyS0 x=\"a my_init.debug\" my_init.deadline=5 my_init.deadline=7 my_init.log_memory=2M\n",
        );
        assert_eq!(
            line,
            CommandLine {
                debug: false,
                boot_deadline: 7000,
                machine_id: None,
                logs: Limits {
                    memory: 2 * 1024 * 1024,
                    ..Limits::default()
                },
            }
        );
        assert!(CommandLine::parse("my_init.debug").debug);
    }

    #[test]
    fn nonsense_is_as_if_absent() {
        assert_eq!(CommandLine::parse("my_init.deadline=soon \"").boot_deadline, 30_000);
        assert_eq!(CommandLine::parse("my_init.deadline=-1").boot_deadline, 30_000);
    }
}
