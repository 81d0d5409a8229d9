//! Service files in TOML, as zinit 0.3 and the first my_init have them: nearly what my_init reads here. They are edited
//! rather than written anew, so that comments, order and line numbers stay.

use mos_toml::{Document, Item, Position, Problem, Problems, Table, Value};

use crate::services::{Source, Surroundings};
use crate::toml::quoted;

/// Keys of zinit 0.3 that my_init has not: section, key, why it can go.
const DROPPED: [(&str, &str, &str); 2] = [
    ("logging", "buffer_lines", "`buffer_bytes` is what counts here"),
    ("logging", "forward", "logs are kept in memory: `mosctl logs`"),
];

/// One change of a text. Lines and columns count from 1.
enum Change {
    /// A string at a place becomes another.
    Text { line: usize, column: usize, new: String },
    /// Lines become comments.
    Comment { from: usize, to: usize },
}

/// The text for my_init, and the component whose program it runs; `None` when the file cannot be used.
pub(crate) fn convert(
    source: &Source<'_>,
    surroundings: &Surroundings<'_>,
    problems: &Problems,
) -> Option<(String, Option<String>)> {
    let document = Document::parse(source.path, source.text.as_str());
    let document = document.map_err(|problem| problems.push(problem)).ok()?;
    // What is wrong with the file is said of the edited one.
    let silent = Problems::default();
    let root = document.root(&silent);
    let mut changes = dropped(&document, &root, problems);
    let mut component = None;
    for (section, key) in [("service", "exec"), ("health", "target")] {
        let command = root.table(section).and_then(|table| table.string_item(key));
        if let Some(command) = command {
            let (line, owner) = surroundings.command(&command.value);
            if line != command.value {
                changes.push(text(&command.position, quoted(&line)));
            }
            component = component.or(owner);
        }
    }
    changes.extend(renamed(&root, surroundings));
    Some((apply(&source.text, changes), component))
}

fn dropped(document: &Document, root: &Table<'_>, problems: &Problems) -> Vec<Change> {
    let mut changes = Vec::new();
    for (section, key, reason) in DROPPED {
        let Some(table) = root.table(section) else { continue };
        let Some(node) = table.value(key) else { continue };
        let begin = document.position(&node.span);
        let end = document.position(&(node.span.end..node.span.end));
        // `false` and an empty list ask for nothing.
        let empty = match &node.value {
            Value::Boolean(flag) => !flag,
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        if !empty {
            let message = format!("`{key}` has no counterpart and is left out: {reason}");
            problems.push(Problem::warning(Some(begin.clone()), message));
        }
        changes.push(Change::Comment {
            from: begin.line,
            to: end.line,
        });
    }
    changes
}

/// Dependencies on services that MOS brings under another name, or that are always done.
fn renamed(root: &Table<'_>, surroundings: &Surroundings<'_>) -> Vec<Change> {
    let Some(table) = root.table("dependencies") else {
        return Vec::new();
    };
    let lists = ["requires", "after", "wants", "conflicts"].map(|key| table.string_list(key));
    let change = |item: Item<String>| match surroundings.stand_in(&item.value) {
        Some(name) if name == item.value => None,
        Some(name) => Some(text(&item.position, quoted(&name))),
        // `state` is the first service there is: who waits for it waits for nothing else.
        None => Some(text(&item.position, quoted("state"))),
    };
    lists.into_iter().flatten().filter_map(change).collect()
}

fn text(position: &Position, new: String) -> Change {
    Change::Text {
        line: position.line,
        column: position.column,
        new,
    }
}

/// Makes the changes. The number of lines stays as it is.
fn apply(text: &str, mut changes: Vec<Change>) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // From the back, so that columns stay right.
    changes.sort_by_key(|change| match change {
        Change::Text { line, column, .. } => std::cmp::Reverse((*line, *column)),
        Change::Comment { from, .. } => std::cmp::Reverse((*from, 0)),
    });
    for change in changes {
        match change {
            Change::Text { line, column, new } => {
                let Some(line) = lines.get_mut(line - 1) else { continue };
                let start = line.char_indices().nth(column - 1).map_or(line.len(), |(byte, _)| byte);
                let end = start + string_length(&line[start..]);
                line.replace_range(start..end, &new);
            }
            Change::Comment { from, to } => {
                for line in lines.iter_mut().take(to).skip(from - 1) {
                    line.insert_str(0, "# ");
                }
            }
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Bytes of the string literal at the start of a text; all of it when it does not end here.
fn string_length(text: &str) -> usize {
    let Some(quote @ ('"' | '\'')) = text.chars().next() else {
        return 0;
    };
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use expect_test::expect;

    use super::*;

    #[test]
    fn a_file_is_edited_and_stays_recognisable() {
        let source = Source {
            path: "config/my_init/services/web.toml",
            name: "web".to_owned(),
            text: "# my web server\n[service]\nname = \"web\"\nexec = \"/usr/bin/web --port 80\" # fast\nports = [\n  80,\n]\nkill_others = false\n\
                   [dependencies]\nrequires = [\"network\", \"sysvol\", 'db']\nafter = [\"load-modules\"]\n[logging]\nbuffer_lines = 10\n"
                .to_owned(),
        };
        let programs = BTreeMap::from([("web".to_owned(), "web".to_owned())]);
        let surroundings = Surroundings {
            programs: &programs,
            names: vec!["web".to_owned(), "db".to_owned()],
        };
        let problems = Problems::default();
        let (text, component) = convert(&source, &surroundings, &problems).unwrap();
        assert_eq!(component.as_deref(), Some("web"));
        expect![[r##"
            # my web server
            [service]
            name = "web"
            exec = "/var/cache/bin/web --port 80" # fast
            ports = [
              80,
            ]
            kill_others = false
            [dependencies]
            requires = ["mosnet", "state", 'db']
            after = ["state"]
            [logging]
            # buffer_lines = 10
        "##]]
        .assert_eq(&text);
        expect!["warning: config/my_init/services/web.toml:13:16: `buffer_lines` has no counterpart and is left out: `buffer_bytes` is what counts here"]
        .assert_eq(&problems.to_string());
        assert!(mos_service::parse("web.service.toml", &text).problems.is_empty());
    }

    #[test]
    fn strings_end_where_they_end() {
        assert_eq!(string_length(r#""a\"b" c"#), 6);
        assert_eq!(string_length("'a\\' c"), 4);
        assert_eq!(string_length("x"), 0);
    }
}
