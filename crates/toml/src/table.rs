//! Reading a table key by key, with a complaint for whatever is wrong or left over.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::{Document, Node, Position, Problem, Problems, Span, Value, nearest};

/// A table being read. Each getter notes the key as known; [`Table::finish`] reports the others.
#[derive(Debug)]
pub struct Table<'d> {
    document: &'d Document,
    problems: &'d Problems,
    path: String,
    span: Span,
    entries: &'d BTreeMap<String, (Span, Node)>,
    known: RefCell<Vec<&'static str>>,
}

/// A value that was read, with the place to blame when it turns out wrong later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<T> {
    /// The value.
    pub value: T,
    /// Where the value stands.
    pub position: Position,
}

/// An entry of a list that may hold both.
#[derive(Debug)]
pub enum Entry<'d> {
    /// A string.
    Text(Item<String>),
    /// A table.
    Table(Table<'d>),
}

impl<'d> Table<'d> {
    pub(crate) fn new(
        document: &'d Document,
        problems: &'d Problems,
        path: String,
        span: Span,
        entries: &'d BTreeMap<String, (Span, Node)>,
    ) -> Self {
        Self {
            document,
            problems,
            path,
            span,
            entries,
            known: RefCell::default(),
        }
    }

    /// The dotted path of the table, empty for the top level.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where the table begins.
    pub fn position(&self) -> Position {
        self.document.position(&self.span)
    }

    /// The table's keys in alphabetical order, for tables whose keys are names chosen by the user. Marks nothing as
    /// known: use [`Table::tables`] or [`Table::strings`] to read such tables.
    pub fn keys(&self) -> impl Iterator<Item = &'d str> {
        self.entries.keys().map(String::as_str)
    }

    /// True when the key is there, whatever its value. Marks it as known.
    pub fn has(&self, key: &'static str) -> bool {
        self.node(key).is_some()
    }

    /// Reports an error at the value of `key`, or at the table when the key is absent.
    pub fn complain(&self, key: &str, message: impl Into<String>) {
        self.problems.push(Problem::error(Some(self.position_of(key)), message));
    }

    /// Reports a problem built by the caller.
    pub fn report(&self, problem: Problem) {
        self.problems.push(problem);
    }

    /// The place of the value of `key`, or of the table when the key is absent.
    pub fn position_of(&self, key: &str) -> Position {
        match self.entries.get(key) {
            Some((_, node)) => self.document.position(&node.span),
            None => self.position(),
        }
    }

    /// A string, if the key is there.
    pub fn string(&self, key: &'static str) -> Option<String> {
        self.string_item(key).map(|item| item.value)
    }

    /// A string with its place, if the key is there.
    pub fn string_item(&self, key: &'static str) -> Option<Item<String>> {
        let node = self.node(key)?;
        match &node.value {
            Value::String(text) => Some(self.item(node, text.clone())),
            other => self.mismatch(key, node, "a string", other),
        }
    }

    /// A string that has to be there.
    pub fn required_string(&self, key: &'static str) -> Option<Item<String>> {
        if !self.has(key) {
            let place = if self.path.is_empty() {
                String::new()
            } else {
                format!(" in [{}]", self.path)
            };
            self.problems.push(Problem::error(
                Some(self.position()),
                format!("missing key `{key}`{place}"),
            ));
        }
        self.string_item(key)
    }

    /// `true` or `false`, if the key is there.
    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        let node = self.node(key)?;
        match node.value {
            Value::Boolean(flag) => Some(flag),
            ref other => self.mismatch(key, node, "true or false", other),
        }
    }

    /// A whole number within `range`, if the key is there.
    pub fn integer(&self, key: &'static str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let node = self.node(key)?;
        match node.value {
            Value::Integer(number) if range.contains(&number) => Some(number),
            Value::Integer(number) => {
                let (low, high) = range.into_inner();
                self.complain(key, format!("`{key}` is {number}, expected {low} to {high}"));
                None
            }
            ref other => self.mismatch(key, node, "a whole number", other),
        }
    }

    /// One of the given words, if the key is there; anything else is an error that names the nearest.
    pub fn choice<T: Copy>(&self, key: &'static str, choices: &[(&'static str, T)]) -> Option<T> {
        let word = self.string_item(key)?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == word.value) {
            return Some(*value);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let hint = match nearest(&word.value, names.iter().copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("use one of: {}", names.join(", ")),
        };
        let problem = Problem::error(Some(word.position), format!("`{}` is not a valid `{key}`", word.value));
        self.problems.push(problem.with_hint(hint));
        None
    }

    /// A list of strings; empty when the key is absent.
    pub fn string_list(&self, key: &'static str) -> Vec<Item<String>> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let Value::Array(items) = &node.value else {
            self.mismatch::<()>(key, node, "a list of strings", &node.value);
            return Vec::new();
        };
        let mut strings = Vec::new();
        for item in items {
            match &item.value {
                Value::String(text) => strings.push(self.item(item, text.clone())),
                other => {
                    self.mismatch::<()>(key, item, "a string", other);
                }
            }
        }
        strings
    }

    /// A list of whole numbers within `range`; empty when the key is absent.
    pub fn integer_list(&self, key: &'static str, range: std::ops::RangeInclusive<i64>) -> Vec<i64> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let Value::Array(items) = &node.value else {
            self.mismatch::<()>(key, node, "a list of whole numbers", &node.value);
            return Vec::new();
        };
        let mut numbers = Vec::new();
        for item in items {
            match &item.value {
                Value::Integer(number) if range.contains(number) => numbers.push(*number),
                Value::Integer(number) => {
                    let message = format!("`{key}` has {number}, expected {} to {}", range.start(), range.end());
                    let place = self.document.position(&item.span);
                    self.problems.push(Problem::error(Some(place), message));
                }
                other => {
                    self.mismatch::<()>(key, item, "a whole number", other);
                }
            }
        }
        numbers
    }

    /// A list of strings and tables; empty when the key is absent.
    pub fn entry_list(&self, key: &'static str) -> Vec<Entry<'d>> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let Value::Array(items) = &node.value else {
            self.mismatch::<()>(key, node, "a list of strings and tables", &node.value);
            return Vec::new();
        };
        let read = |item: &'d Node| match &item.value {
            Value::String(text) => Some(Entry::Text(self.item(item, text.clone()))),
            Value::Table(_) => self.as_table(key, item).map(Entry::Table),
            other => self.mismatch(key, item, "a string or a table", other),
        };
        items.iter().filter_map(read).collect()
    }

    /// A sub-table, if the key is there.
    pub fn table(&self, key: &'static str) -> Option<Table<'d>> {
        let node = self.node(key)?;
        self.as_table(key, node)
    }

    /// A list of tables (`[[key]]`); empty when the key is absent.
    pub fn table_list(&self, key: &'static str) -> Vec<Table<'d>> {
        match self.node(key) {
            None => Vec::new(),
            Some(Node {
                value: Value::Array(items),
                ..
            }) => items.iter().filter_map(|item| self.as_table(key, item)).collect(),
            Some(node) => {
                self.mismatch::<()>(key, node, "a list of tables", &node.value);
                Vec::new()
            }
        }
    }

    /// Every entry as a sub-table, for tables whose keys are names chosen by the user.
    pub fn tables(&self) -> Vec<(&'d str, Table<'d>)> {
        let each = self.entries.iter();
        each.filter_map(|(key, (_, node))| Some((key.as_str(), self.as_table(key, node)?)))
            .collect()
    }

    /// Every entry as a string, for tables whose keys are names chosen by the user.
    pub fn strings(&self) -> Vec<(&'d str, Item<String>)> {
        let mut strings = Vec::new();
        for (key, (_, node)) in self.entries {
            match &node.value {
                Value::String(text) => strings.push((key.as_str(), self.item(node, text.clone()))),
                other => {
                    self.mismatch::<()>(key, node, "a string", other);
                }
            }
        }
        strings
    }

    /// Any value, if the key is there.
    pub fn value(&self, key: &'static str) -> Option<&'d Node> {
        self.node(key)
    }

    /// Reports every key that nobody asked for, with the nearest that somebody did.
    pub fn finish(self) {
        let known = self.known.borrow();
        for (key, (span, _)) in self.entries {
            if known.contains(&key.as_str()) {
                continue;
            }
            let place = if self.path.is_empty() {
                String::new()
            } else {
                format!(" in [{}]", self.path)
            };
            let problem = Problem::error(
                Some(self.document.position(span)),
                format!("unknown key `{key}`{place}"),
            );
            let hint = match nearest(key, known.iter().copied()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("valid keys: {}", known.join(", ")),
            };
            self.problems.push(problem.with_hint(hint));
        }
    }

    fn node(&self, key: &'static str) -> Option<&'d Node> {
        let mut known = self.known.borrow_mut();
        if !known.contains(&key) {
            known.push(key);
        }
        self.entries.get(key).map(|(_, node)| node)
    }

    fn as_table(&self, key: &str, node: &'d Node) -> Option<Table<'d>> {
        match &node.value {
            Value::Table(entries) => {
                let path = if self.path.is_empty() {
                    key.to_owned()
                } else {
                    format!("{}.{key}", self.path)
                };
                Some(Table::new(
                    self.document,
                    self.problems,
                    path,
                    node.span.clone(),
                    entries,
                ))
            }
            other => self.mismatch(key, node, "a table", other),
        }
    }

    fn item<T>(&self, node: &Node, value: T) -> Item<T> {
        Item {
            value,
            position: self.document.position(&node.span),
        }
    }

    fn mismatch<T>(&self, key: &str, node: &Node, expected: &str, found: &Value) -> Option<T> {
        let message = format!("`{key}` is {}, expected {expected}", found.kind());
        self.problems
            .push(Problem::error(Some(self.document.position(&node.span)), message));
        None
    }
}

#[cfg(test)]
mod tests {
    use crate::{Document, Problems};

    fn problems(text: &str, read: impl Fn(crate::Table<'_>)) -> String {
        let document = Document::parse("a.toml", text).expect("valid TOML");
        let problems = Problems::default();
        read(document.root(&problems));
        problems.to_string()
    }

    #[test]
    fn a_list_of_strings_and_tables_names_what_is_neither() {
        let text = problems("[a]\nlist = [\"x\", { name = \"y\", nmae = 1 }, 3]\n", |root| {
            let table = root.table("a").expect("a table");
            let entries = table.entry_list("list");
            assert_eq!(entries.len(), 2);
            for entry in entries {
                if let crate::Entry::Table(table) = entry {
                    assert_eq!(table.string("name").as_deref(), Some("y"));
                    table.finish();
                }
            }
        });
        assert_eq!(
            text,
            "error: a.toml:2:40: `list` is a whole number, expected a string or a table\n\
             error: a.toml:2:28: unknown key `nmae` in [a.list]\n  hint: did you mean `name`?"
        );
    }

    #[test]
    fn unknown_key_names_place_and_nearest() {
        let text = problems("[build]\nbinares = [\"x\"]\n", |root| {
            let build = root.table("build").expect("there");
            build.string_list("binaries");
            build.finish();
            root.finish();
        });
        assert_eq!(
            text,
            "error: a.toml:2:1: unknown key `binares` in [build]\n  hint: did you mean `binaries`?"
        );
    }

    #[test]
    fn wrong_type_and_range_point_at_the_value() {
        let text = problems("port = 70000\nname = 3\nflag = \"yes\"\n", |root| {
            assert_eq!(root.integer("port", 1..=65535), None);
            assert_eq!(root.string("name"), None);
            assert_eq!(root.boolean("flag"), None);
            root.finish();
        });
        assert_eq!(
            text,
            "error: a.toml:1:8: `port` is 70000, expected 1 to 65535\n\
             error: a.toml:2:8: `name` is a whole number, expected a string\n\
             error: a.toml:3:8: `flag` is a string, expected true or false"
        );
    }

    #[test]
    fn columns_count_characters_not_bytes() {
        let text = problems("x = { \"é\" = 1, b = 2 }", |root| {
            let x = root.table("x").expect("there");
            x.has("é");
            x.finish();
        });
        assert!(text.starts_with("error: a.toml:1:16: unknown key `b` in [x]"), "{text}");
    }

    #[test]
    fn syntax_error_has_a_place() {
        let error = Document::parse("a.toml", "a = 1\nb = = 2\n").expect_err("not TOML");
        assert!(error.to_string().starts_with("error: a.toml:2:5: "), "{error}");
    }

    #[test]
    fn choice_suggests() {
        let text = problems("kind = \"crat\"", |root| {
            assert_eq!(root.choice("kind", &[("crate", 1), ("git", 2)]), None);
        });
        assert_eq!(
            text,
            "error: a.toml:1:8: `crat` is not a valid `kind`\n  hint: did you mean `crate`?"
        );
    }
}
