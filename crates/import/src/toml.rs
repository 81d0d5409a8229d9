//! Texts in TOML, as a person would write them.

use std::fmt::Write as _;

/// A basic string (TOML 1.0, "String").
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => drop(write!(quoted, "\\u{:04X}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted + "\""
}

/// `["a", "b"]`.
pub(crate) fn list<'t>(items: impl IntoIterator<Item = &'t str>) -> String {
    let items: Vec<String> = items.into_iter().map(quoted).collect();
    format!("[{}]", items.join(", "))
}

/// A key or name in a header: bare when it can be.
pub(crate) fn key(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match !text.is_empty() && text.chars().all(bare) {
        true => text.to_owned(),
        false => quoted(text),
    }
}

/// A text of sections in the order in which keys are put into them; sections without keys are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sections(Vec<(&'static str, Vec<(String, String)>)>);

impl Sections {
    /// Adds a key whose value is TOML already.
    pub(crate) fn put(&mut self, section: &'static str, name: &str, value: impl Into<String>) {
        let entry = (key(name), value.into());
        match self.0.iter_mut().find(|(other, _)| *other == section) {
            Some((_, entries)) => entries.push(entry),
            None => self.0.push((section, vec![entry])),
        }
    }

    pub(crate) fn render(&self, head: &str) -> String {
        let mut text = head.to_owned();
        for (section, entries) in &self.0 {
            if !section.is_empty() {
                let _ = write!(text, "\n[{section}]\n");
            }
            for (name, value) in entries {
                let _ = writeln!(text, "{name} = {value}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sections_stand_in_order() {
        let mut sections = Sections::default();
        sections.put("", "description", quoted("a \"b\""));
        sections.put("source", "kind", quoted("git"));
        sections.put("install", "x.y", list(["a"]));
        sections.put("source", "url", quoted("u"));
        assert_eq!(
            sections.render("# head\n"),
            "# head\ndescription = \"a \\\"b\\\"\"\n\n[source]\nkind = \"git\"\nurl = \"u\"\n\n[install]\n\"x.y\" = [\"a\"]\n"
        );
    }

    proptest! {
        #[test]
        fn strings_come_back(text in "\\PC*|[\"\\\\\n\t\u{1}]*") {
            let document = mos_toml::Document::parse("a", format!("a = {}", quoted(&text))).unwrap();
            let problems = mos_toml::Problems::default();
            prop_assert_eq!(document.root(&problems).string("a"), Some(text));
        }
    }
}
