//! The kernel command line, parsed in one place.

use super::switch_root::Root;
use super::target::Target;
use crate::clock::Millis;
use crate::logs::Limits;
use crate::logs::limits::size;
use crate::logs::syslog::read_level;

/// The default boot deadline.
const DEADLINE_MS: Millis = 30_000;

/// What of the kernel command line concerns PID 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// `my_init.debug`: print every change of state, and keep a shell on the console.
    pub debug: bool,
    /// `my_init.deadline=SECONDS`, in milliseconds.
    pub boot_deadline: Millis,
    /// `my_init.rescue`: start nothing, and keep a shell on each console.
    pub rescue: bool,
    /// `my_init.target=NAME`: what is started; `my_init.rescue` comes before it.
    pub target: Target,
    /// `my_init.emergency=WORD`, see [`CommandLine::emergency`].
    emergency: Option<Emergency>,
    /// `my_init.watchdog=SECONDS`: the hardware watchdog's time; 0 and nothing leave it alone.
    pub watchdog: Option<u32>,
    /// `my_init.root=DEVICE`, with `my_init.rootfstype=`, `my_init.rootflags=`, `my_init.init=`, and `rw`.
    pub root: Option<Root>,
    /// `systemd.machine_id=ID`, see [`machine_id`](super::machine_id).
    pub machine_id: Option<String>,
    /// `my_init.group=NAME`: its members may use the control socket as root may.
    pub group: Option<String>,
    /// `my_init.loglevel=LEVEL`: up to which level our own messages are printed on the console.
    pub log_level: Option<u32>,
    /// `my_init.log_memory=SIZE`, `my_init.log_files=SIZE`.
    pub logs: Limits,
}

impl CommandLine {
    /// Reads the text of `/proc/cmdline`; the last of several counts, and what cannot be read is as if it were absent.
    pub fn parse(text: &str) -> Self {
        let mut line = Self {
            debug: false,
            boot_deadline: DEADLINE_MS,
            rescue: false,
            target: Target::Everything,
            emergency: None,
            watchdog: None,
            root: None,
            machine_id: None,
            group: None,
            log_level: None,
            logs: Limits::default(),
        };
        for word in words(text) {
            match word.split_once('=') {
                None if word == "my_init.debug" => line.debug = true,
                None if word == "my_init.rescue" => line.rescue = true,
                Some(("my_init.target", name)) => line.target = Target::Only(name.to_owned()),
                Some(("my_init.watchdog", seconds)) => {
                    line.watchdog = seconds.parse().ok().filter(|seconds| *seconds > 0)
                }
                Some(("my_init.emergency", word)) => line.emergency = Emergency::of(word),
                Some(("my_init.deadline", seconds)) => {
                    let deadline = seconds.parse::<u32>().ok().map(|seconds| Millis::from(seconds) * 1000);
                    line.boot_deadline = deadline.unwrap_or(line.boot_deadline);
                }
                Some(("my_init.group", group)) => line.group = Some(group.to_owned()),
                Some(("my_init.loglevel", text)) => line.log_level = read_level(text).ok().or(line.log_level),
                Some(("my_init.log_memory", text)) => line.logs.memory = size(text).unwrap_or(line.logs.memory),
                Some(("my_init.log_files", text)) => line.logs.files = size(text).unwrap_or(line.logs.files),
                Some(("systemd.machine_id", id)) => line.machine_id = Some(id.to_owned()),
                _ => {}
            }
        }
        line.root = root(text);
        if line.rescue {
            line.target = Target::Nothing;
        }
        line
    }

    /// What a critical failure leads to: with `my_init.debug` to a shell, unless something else is said.
    pub fn emergency(&self) -> Emergency {
        let usual = if self.debug { Emergency::Shell } else { Emergency::Stay };
        self.emergency.unwrap_or(usual)
    }
}

/// What is to be the root, if anything else is.
fn root(text: &str) -> Option<Root> {
    let words = words(text);
    let value = |key: &str| {
        words
            .iter()
            .rev()
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    };
    Some(Root {
        device: value("my_init.root")?.to_owned(),
        kind: value("my_init.rootfstype").map(str::to_owned),
        options: value("my_init.rootflags").unwrap_or_default().to_owned(),
        writable: words
            .iter()
            .rev()
            .find(|word| ["ro", "rw"].contains(&word.as_str()))
            .is_some_and(|word| word == "rw"),
        init: value("my_init.init").unwrap_or("/sbin/my_init").to_owned(),
    })
}

/// What the failure of a critical service leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emergency {
    /// `stay`: it is said, and the rest goes on. A failure must not be a way into a node.
    Stay,
    /// `shell`: a root shell on each console.
    Shell,
    /// `reboot`: another attempt, or the other image.
    Reboot,
}

impl Emergency {
    fn of(word: &str) -> Option<Self> {
        let words = [("stay", Self::Stay), ("shell", Self::Shell), ("reboot", Self::Reboot)];
        words
            .into_iter()
            .find(|(name, _)| *name == word)
            .map(|(_, emergency)| emergency)
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
            "console=ttyS0 my_init.group=wheel x=\"a my_init.debug\" my_init.deadline=5 my_init.deadline=7 my_init.log_memory=2M my_init.loglevel=warning my_init.loglevel=loud\n",
        );
        assert_eq!(
            line,
            CommandLine {
                debug: false,
                boot_deadline: 7000,
                rescue: false,
                target: Target::Everything,
                emergency: None,
                watchdog: None,
                root: None,
                machine_id: None,
                group: Some("wheel".to_owned()),
                log_level: Some(4),
                logs: Limits {
                    memory: 2 * 1024 * 1024,
                    ..Limits::default()
                },
            }
        );
        assert!(CommandLine::parse("my_init.debug").debug);
        let watchdogs =
            ["30", "0", "soon"].map(|word| CommandLine::parse(&format!("my_init.watchdog={word}")).watchdog);
        assert_eq!(watchdogs, [Some(30), None, None]);
        assert_eq!(
            CommandLine::parse("my_init.target=web").target,
            Target::Only("web".into())
        );
        let rescue = CommandLine::parse("my_init.rescue my_init.target=web");
        assert_eq!((rescue.rescue, rescue.target), (true, Target::Nothing));
    }

    #[test]
    fn a_root_has_its_words() {
        assert_eq!(CommandLine::parse("root=/dev/vda rw").root, None);
        let line = "rw my_init.root=LABEL=mos my_init.rootflags=noatime,discard my_init.init=/bin/init ro";
        let root = CommandLine::parse(line).root.unwrap();
        assert_eq!(
            (&*root.device, &*root.options, &*root.init, root.writable),
            ("LABEL=mos", "noatime,discard", "/bin/init", false)
        );
        assert!(CommandLine::parse("my_init.root=/dev/vda rw").root.unwrap().writable);
    }

    #[test]
    fn a_failure_is_a_way_in_only_when_the_command_line_says_so() {
        for (text, emergency) in [
            ("", Emergency::Stay),
            ("my_init.emergency=what", Emergency::Stay),
            ("my_init.debug", Emergency::Shell),
            ("my_init.debug my_init.emergency=stay", Emergency::Stay),
            ("my_init.emergency=shell", Emergency::Shell),
            ("my_init.emergency=reboot", Emergency::Reboot),
        ] {
            assert_eq!(CommandLine::parse(text).emergency(), emergency, "{text}");
        }
    }

    #[test]
    fn nonsense_is_as_if_absent() {
        assert_eq!(CommandLine::parse("my_init.deadline=soon \"").boot_deadline, 30_000);
        assert_eq!(CommandLine::parse("my_init.deadline=-1").boot_deadline, 30_000);
    }
}
