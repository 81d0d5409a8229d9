//! The parsed document: values with their place in the text.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::{Position, Problem, Problems, Table};

/// Byte offsets into the document's text.
pub type Span = Range<usize>;

/// A parsed TOML file together with its text.
#[derive(Debug, Clone)]
pub struct Document {
    file: String,
    text: String,
    root: BTreeMap<String, (Span, Node)>,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub value: Value,
}

/// The kinds of TOML value. Tables keep the place of each key beside the value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A string.
    String(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A date or time, as written.
    Datetime(String),
    /// A list.
    Array(Vec<Node>),
    /// A table, inline or not; each key with its own place.
    Table(BTreeMap<String, (Span, Node)>),
}

impl Value {
    /// The kind, as a message names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Boolean(_) => "true or false",
            Self::Datetime(_) => "a date",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

impl Document {
    /// Parses `text`; `file` is only used in messages.
    ///
    /// # Errors
    /// The first syntax error, with its place.
    pub fn parse(file: impl Into<String>, text: impl Into<String>) -> Result<Self, Problem> {
        let (file, text) = (file.into(), text.into());
        match DeTable::parse(&text) {
            Ok(table) => {
                let root = table_of(table.into_inner());
                Ok(Self { file, text, root })
            }
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start);
                let message = error.message().trim().replace('\n', "; ");
                Err(Problem::error(Some(position(&file, &text, offset)), message))
            }
        }
    }

    /// Changes every string (not keys); what `change` says against one becomes a problem with its place.
    ///
    /// # Errors
    /// The first thing that `change` refused.
    pub fn replace_strings(&mut self, change: &dyn Fn(&str) -> Result<String, String>) -> Result<(), Problem> {
        let mut root = std::mem::take(&mut self.root);
        let changed = root.values_mut().try_for_each(|(_, node)| node.replace_strings(change));
        self.root = root;
        changed.map_err(|(span, message)| Problem::error(Some(self.position(&span)), message))
    }

    /// The file's name as given to [`Document::parse`].
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The top-level table as it is.
    pub fn entries(&self) -> &BTreeMap<String, (Span, Node)> {
        &self.root
    }

    /// The top-level table; complaints go to `problems`.
    pub fn root<'d>(&'d self, problems: &'d Problems) -> Table<'d> {
        Table::new(self, problems, String::new(), 0..0, &self.root)
    }

    /// Line and column of a span's start.
    pub fn position(&self, span: &Span) -> Position {
        position(&self.file, &self.text, span.start)
    }
}

impl Node {
    fn replace_strings(&mut self, change: &dyn Fn(&str) -> Result<String, String>) -> Result<(), (Span, String)> {
        match &mut self.value {
            Value::String(text) => *text = change(text).map_err(|message| (self.span.clone(), message))?,
            Value::Array(items) => items.iter_mut().try_for_each(|item| item.replace_strings(change))?,
            Value::Table(table) => table
                .values_mut()
                .try_for_each(|(_, node)| node.replace_strings(change))?,
            _ => {}
        }
        Ok(())
    }
}

fn position(file: &str, text: &str, offset: usize) -> Position {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Position {
        file: file.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

fn table_of(table: DeTable<'_>) -> BTreeMap<String, (Span, Node)> {
    table
        .into_iter()
        .map(|(key, value)| (key.get_ref().clone().into_owned(), (key.span(), node_of(value))))
        .collect()
}

fn node_of(value: Spanned<DeValue<'_>>) -> Node {
    let span = value.span();
    let value = match value.into_inner() {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            // Out of range for 64 bits: kept as written, so that "expected a whole number" points at it.
            Err(_) => Value::String(number.as_str().to_owned()),
        },
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(flag) => Value::Boolean(flag),
        DeValue::Datetime(time) => Value::Datetime(time.to_string()),
        DeValue::Array(items) => Value::Array(items.into_iter().map(node_of).collect()),
        DeValue::Table(table) => Value::Table(table_of(table)),
    };
    Node { span, value }
}
