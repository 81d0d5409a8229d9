//! No key is accepted and ignored (D11): whatever docs/services.md describes changes what is read, and whatever is read is
//! used.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

use std::fs;
use std::path::Path;

use mos_service::parse;

const DOCUMENT: &str = include_str!("../../../docs/services.md");
/// One of these is good for every key, and is nobody's default.
const VALUES: [&str; 33] = [
    "true",
    "false",
    "7",
    "17",
    "220",
    "2000",
    "123456",
    "\"other\"",
    "\"true --fast\"",
    "\"/dev/tty9\"",
    "\"027\"",
    "\"stop\"",
    "\"system\"",
    "\"always\"",
    "\"never\"",
    "\"SIGUSR1\"",
    "\"mark\"",
    "\"none\"",
    "\"keep\"",
    "\"2 MiB\"",
    "\"127.0.0.1:2/x\"",
    "\"http\"",
    "\"exec\"",
    "[\"other\"]",
    "[7]",
    "[\"net_raw\"]",
    "[\"/dev/kvm\"]",
    "[\"/run/x.sock\"]",
    "\"boot\"",
    "\"/run/back.sock\"",
    "\"90 s\"",
    "\"daily 03:00\"",
    "{ A = \"b\" }",
];

/// The keys in the first column of the tables of a section's chapter.
fn keys(section: &str) -> Vec<String> {
    let start = DOCUMENT.find(&format!("\n## `[{section}]`")).unwrap();
    let rest = &DOCUMENT[start + 1..];
    let chapter = &rest[..rest.find("\n## ").unwrap_or(rest.len())];
    let rows = chapter
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('|').next());
    let cells = rows.flat_map(|cell| cell.split("`, `"));
    cells.map(|key| key.trim().trim_end_matches('`').to_owned()).collect()
}

fn sections() -> Vec<&'static str> {
    let headings = DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("## `[")?.split(']').next());
    headings.collect()
}

/// A file with the key in its section, and without it.
fn files(section: &str, line: &str) -> (String, String) {
    let begin = match section {
        "service" if line.starts_with("exec") => "[service]\n",
        "service" => "[service]\nexec = \"true\"\n",
        "group" if line.starts_with("members") => "[group]\n",
        "group" => "[group]\nmembers = [\"a\"]\n",
        "dependencies" if line.starts_with("on_") => {
            let edge = |line: &str| {
                format!("[service]\nexec = \"true\"\n[dependencies]\nrequires = [{{ name = \"b\"{line} }}]\n")
            };
            return (edge(&format!(", {line}")), edge(""));
        }
        "timer" if line.starts_with("after_boot") => "[service]\nexec = \"true\"\noneshot = true\n[timer]\n",
        "timer" => "[service]\nexec = \"true\"\noneshot = true\n[timer]\nafter_boot = \"1 s\"\n",
        "proxy" => {
            let file = |line: &str| {
                let given = [("service", "\"a\""), ("backend", "\"/x\"")];
                let given = given.into_iter().filter(|(key, _)| !line.starts_with(key));
                let given: String = given.map(|(key, value)| format!("{key} = {value}\n")).collect();
                format!("[proxy]\n{given}{line}\n[socket]\nlisten = [\"/y\"]\n")
            };
            return (file(line), file(""));
        }
        "socket" if !line.starts_with("listen") => "[service]\nexec = \"true\"\n[socket]\nlisten = [\"/x\"]\n",
        "logging" if line.starts_with("file_") => "[service]\nexec = \"true\"\n[logging]\nfile = \"/a\"\n",
        "target" => "[target]\n",
        "health" if line.starts_with("type") => "[service]\nexec = \"true\"\n[health]\ntarget = \"127.0.0.1:1/x\"\n",
        "health" if line.starts_with("target") => "[service]\nexec = \"true\"\n[health]\ntype = \"http\"\n",
        "health" => "[service]\nexec = \"true\"\n[health]\ntype = \"http\"\ntarget = \"127.0.0.1:1/x\"\n",
        "dependencies" if line.starts_with("on_") => {
            let edge = |line: &str| {
                format!("[service]\nexec = \"true\"\n[dependencies]\nrequires = [{{ name = \"a\"{line} }}]\n")
            };
            return (edge(&format!(", {line}")), edge(""));
        }
        section => {
            return (
                format!("[service]\nexec = \"true\"\n[{section}]\n{line}\n"),
                format!("[service]\nexec = \"true\"\n[{section}]\n"),
            );
        }
    };
    (format!("{begin}{line}\n"), begin.to_owned())
}

/// What is read of a file without the place and the text that it was read from; `None` when anything is wrong with it.
fn read(text: &str) -> Option<String> {
    let parsed = parse("a.toml", text);
    let mut service = parsed.service.filter(|_| parsed.problems.is_empty())?;
    service.source = 0;
    Some(format!("{service:?}"))
}

#[test]
fn d11_every_documented_key_changes_what_is_read() {
    let sections = sections();
    assert!(sections.len() >= 10, "{sections:?}");
    for section in sections {
        let keys = keys(section);
        assert!(!keys.is_empty(), "[{section}] has no table of keys");
        for key in keys {
            let changes = VALUES.iter().any(|value| {
                let (with, without) = files(section, &format!("{key} = {value}"));
                read(&with).is_some_and(|with| Some(with) != read(&without))
            });
            assert!(
                changes,
                "`{key}` in [{section}] changes nothing, or takes none of the values of this test"
            );
        }
    }
}

fn text_of(directory: &Path) -> String {
    let entries = fs::read_dir(directory).unwrap().flatten();
    let texts = entries.map(|entry| match entry.path() {
        path if path.is_dir() => text_of(&path),
        path => fs::read_to_string(path).unwrap_or_default(),
    });
    texts.collect()
}

#[test]
fn d11_whatever_is_read_is_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Without the reader, which only fills it in.
    let own = fs::read_dir(root.join("src")).unwrap().flatten();
    let own = own
        .filter(|entry| entry.path().is_file())
        .map(|entry| fs::read_to_string(entry.path()).unwrap());
    let own: String = own.collect();
    let users = text_of(&root.join("../my-init/src")) + &own;
    let model = ["model", "health", "security", "condition", "group", "guards"];
    let model = model.map(|name| fs::read_to_string(root.join(format!("src/{name}.rs"))).unwrap());
    let fields = model.iter().flat_map(|text| text.lines()).filter_map(|line| {
        let (name, kind) = line.strip_prefix("    pub ")?.split_once(": ")?;
        kind.ends_with(',').then_some(name)
    });
    let fields: Vec<&str> = fields.collect();
    assert!(fields.len() > 40, "{fields:?}");
    for field in fields {
        assert!(users.contains(&format!(".{field}")), "nobody uses `{field}`");
    }
}
