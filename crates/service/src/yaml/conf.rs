//! `my_init.conf`, the ancestor's file for the whole node: how much is said, and which stages a boot has.

use mos_toml::{Position, Problem, nearest};

use super::reader::{Node, Value, parse};

/// The keys of the file.
const KEYS: [&str; 2] = ["log_level", "init"];
/// Words for how much is said, and the level of each (RFC 5424 section 6.2.1).
const LEVELS: [(&str, u32); 8] = [
    ("off", 0),
    ("error", 3),
    ("err", 3),
    ("warning", 4),
    ("warn", 4),
    ("info", 6),
    ("debug", 7),
    ("trace", 7),
];

/// A stage of a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// `load-modules`: kernel modules are loaded.
    LoadModules,
    /// `networking`: the loopback interface and the host name are set up. Everything else of a network is a service.
    Networking,
    /// `services`: the services of the service directories are started.
    Services,
}

impl Stage {
    /// All, in the order in which they come.
    pub const ALL: [Self; 3] = [Self::LoadModules, Self::Networking, Self::Services];

    /// Its word in the file.
    pub fn word(self) -> &'static str {
        match self {
            Self::LoadModules => "load-modules",
            Self::Networking => "networking",
            Self::Services => "services",
        }
    }

    /// `load_modules` is as good.
    fn of(word: &str) -> Option<Self> {
        let word = word.replace('_', "-");
        Self::ALL.into_iter().find(|stage| stage.word() == word)
    }
}

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conf {
    /// `log_level`: up to which level messages are printed.
    pub log_level: Option<u32>,
    /// `init`: the stages of a boot.
    stages: Option<Vec<Stage>>,
}

impl Conf {
    /// Reads the file. What is wrong with it is told, and is as if it were absent: the rest counts.
    pub fn parse(file: &str, text: &str) -> (Self, Vec<Problem>) {
        let (mut conf, mut problems) = (Self::default(), Vec::new());
        match parse(file, text) {
            Ok(node) => conf.read(&node, &mut problems),
            Err(problem) => problems.push(problem),
        }
        (conf, problems)
    }

    /// True when a boot has this stage: all of them, unless the file names some.
    pub fn has(&self, stage: Stage) -> bool {
        self.stages.as_ref().is_none_or(|stages| stages.contains(&stage))
    }

    fn read(&mut self, node: &Node, problems: &mut Vec<Problem>) {
        let Value::Map(entries) = &node.value else {
            return problems.push(error(&node.position, "expected `log_level` and `init`"));
        };
        for (key, position, node) in entries {
            match key.as_str() {
                "log_level" => self.log_level = level(node, problems),
                "init" => self.stages = stages(node, problems),
                _ => problems.push(unknown("key", key, position, &KEYS)),
            }
        }
    }
}

fn error(position: &Position, message: impl Into<String>) -> Problem {
    Problem::error(Some(position.clone()), message)
}

fn unknown(what: &str, word: &str, position: &Position, known: &[&str]) -> Problem {
    let problem = error(position, format!("unknown {what} `{word}`"));
    problem.with_hint(match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("my_init knows: {}", known.join(", ")),
    })
}

fn level(node: &Node, problems: &mut Vec<Problem>) -> Option<u32> {
    let Value::Scalar(word) = &node.value else {
        problems.push(error(&node.position, "`log_level` is not a word"));
        return None;
    };
    let found = LEVELS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
    if found.is_none() {
        let known: Vec<&str> = LEVELS.iter().map(|(name, _)| *name).collect();
        problems.push(unknown("level", word, &node.position, &known));
    }
    found.map(|(_, level)| *level)
}

/// The stages; `None`, so all of them, when one is misspelt: half a boot because of a letter is nobody's wish.
fn stages(node: &Node, problems: &mut Vec<Problem>) -> Option<Vec<Stage>> {
    let Value::List(items) = &node.value else {
        problems.push(error(&node.position, "`init` is not a list of stages"));
        return None;
    };
    let mut found = Vec::new();
    let mut whole = true;
    for item in items {
        match stage(item) {
            Ok(stage) => {
                if found.last().is_some_and(|last| stage <= *last) {
                    problems.push(order(item, stage));
                }
                found.push(stage);
            }
            Err(problem) => {
                problems.push(problem);
                whole = false;
            }
        }
    }
    whole.then_some(found)
}

fn stage(item: &Node) -> Result<Stage, Problem> {
    let Value::Scalar(word) = &item.value else {
        return Err(error(&item.position, "expected the name of a stage"));
    };
    let known = Stage::ALL.map(Stage::word);
    let missing = || unknown("stage", word, &item.position, &known);
    Stage::of(word).ok_or_else(|| match nearest(word, known) {
        Some(_) => missing(),
        None => missing().with_hint("write a service that does it: services/NAME.service.toml"),
    })
}

fn order(item: &Node, stage: Stage) -> Problem {
    let message = format!(
        "the order is not looked at: `{}` comes where it always does",
        stage.word()
    );
    Problem::warning(Some(item.position.clone()), message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> (Conf, Vec<String>) {
        let (conf, problems) = Conf::parse("my_init.conf", text);
        (conf, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_ancestors_file_is_read() {
        let (conf, problems) = read("log_level: debug\ninit:\n- load-modules\n- networking\n- services\n");
        assert_eq!((conf.log_level, problems), (Some(7), Vec::new()));
        assert!(Stage::ALL.iter().all(|stage| conf.has(*stage)));
        let (conf, problems) = read("log_level: warn\ninit: [networking]\n");
        assert_eq!((conf.log_level, problems), (Some(4), Vec::new()));
        assert_eq!(Stage::ALL.map(|stage| conf.has(stage)), [false, true, false]);
        assert_eq!(read(""), (Conf::default(), Vec::new()));
        assert!(Conf::default().has(Stage::Services));
    }

    #[test]
    fn what_is_wrong_is_named_and_the_rest_counts() {
        for (text, problem) in [
            (
                "log_levle: debug\n",
                "error: my_init.conf:1:1: unknown key `log_levle`\n  hint: did you mean `log_level`?",
            ),
            (
                "log_level: loud\n",
                "error: my_init.conf:1:12: unknown level `loud`\n  hint: my_init knows: off, error, err, warning, warn, info, debug, trace",
            ),
            (
                "init: [services, networkng]\n",
                "error: my_init.conf:1:18: unknown stage `networkng`\n  hint: did you mean `networking`?",
            ),
            (
                "init: [dance]\n",
                "error: my_init.conf:1:8: unknown stage `dance`\n  hint: write a service that does it: services/NAME.service.toml",
            ),
            (
                "init: services\n",
                "error: my_init.conf:1:7: `init` is not a list of stages",
            ),
            (
                "init: [services, load_modules]\n",
                "warning: my_init.conf:1:18: the order is not looked at: `load-modules` comes where it always does",
            ),
            ("- a\n", "error: my_init.conf:1:1: expected `log_level` and `init`"),
            (
                "a: &b\n",
                "error: my_init.conf:1:4: anchors, tags and the like are not read here",
            ),
        ] {
            assert_eq!(read(text).1, [problem]);
        }
        let (conf, problems) = read("log_level: error\ninit: [service]\ncolour: red\n");
        assert_eq!((conf.log_level, problems.len()), (Some(3), 2));
        assert!(conf.has(Stage::LoadModules), "half a boot is nobody's wish");
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(log_level|init|services|[a-z:' \"\\[\\]{}|>#-]|\n|  )*") {
            let _ = Conf::parse("my_init.conf", &text);
        }
    }
}
