//! The part of YAML 1.2 in which service files of zinit and `my_init.conf` are written: mappings, lists, scalars in every
//! style, one document. Anchors, tags and whatever else such files do without are refused with their place.

use mos_toml::{Position, Problem};

/// How deep values may be inside each other; a service file needs three.
const MAXIMUM_DEPTH: usize = 16;

/// The most lines of a document, and the longest of them in bytes: what these files need, and little enough that
/// nothing here takes long.
const LINES_MAX: usize = 10_000;
const LINE_MAX: usize = 64 * 1024;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it begins.
    pub position: Position,
    /// What it is.
    pub value: Value,
}

/// What stands behind a key or in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `key:` with nothing behind it.
    Null,
    /// Text, also where YAML would see a number or a truth value.
    Scalar(String),
    /// `- a` or `[a]`.
    List(Vec<Node>),
    /// Keys in the order of the file, each with its own place.
    Map(Vec<(String, Position, Node)>),
}

/// Reads a document; an empty one is a mapping without keys.
///
/// # Errors
/// What is not understood, and where.
pub fn parse(file: &str, text: &str) -> Result<Node, Problem> {
    let lines = text.lines().map(|line| line.trim_end_matches('\r')).collect();
    let mut reader = Reader { file, lines, at: 0 };
    let long = reader.lines.iter().position(|line| line.len() > LINE_MAX);
    if let Some(line) = long.or((reader.lines.len() > LINES_MAX).then_some(LINES_MAX)) {
        let message = format!("more than {LINES_MAX} lines, or one of more than {LINE_MAX} bytes, are not read");
        return Err(reader.error(line, 0, message));
    }
    let node = match reader.peek()? {
        None => reader.node(0, 0, Value::Map(Vec::new())),
        Some(indent) => reader.block(indent, 0)?,
    };
    match reader.peek()? {
        None => Ok(node),
        Some(indent) => Err(reader.error(reader.at, indent, "this stands outside of what is before it")),
    }
}

struct Reader<'t> {
    file: &'t str,
    lines: Vec<&'t str>,
    at: usize,
}

impl Reader<'_> {
    fn place(&self, line: usize, byte: usize) -> Position {
        let text = self.lines.get(line).copied().unwrap_or_default();
        let before = text.get(..byte).unwrap_or(text);
        Position {
            file: self.file.to_owned(),
            line: line + 1,
            column: before.chars().count() + 1,
        }
    }

    fn error(&self, line: usize, byte: usize, message: impl Into<String>) -> Problem {
        Problem::error(Some(self.place(line, byte)), message)
    }

    fn node(&self, line: usize, byte: usize, value: Value) -> Node {
        Node {
            position: self.place(line, byte),
            value,
        }
    }

    /// Goes to the next line with something on it, and says how far it is indented.
    fn peek(&mut self) -> Result<Option<usize>, Problem> {
        while let Some(line) = self.lines.get(self.at) {
            let body = line.trim_start_matches(' ');
            if body.starts_with('\t') {
                return Err(self.error(self.at, line.len() - body.len(), "a tab cannot indent"));
            }
            if !body.is_empty() && !body.starts_with('#') && *line != "---" {
                return Ok(Some(line.len() - body.len()));
            }
            self.at += 1;
        }
        Ok(None)
    }

    /// What begins at the current line, indented so far.
    fn block(&mut self, indent: usize, depth: usize) -> Result<Node, Problem> {
        if depth > MAXIMUM_DEPTH {
            return Err(self.error(
                self.at,
                indent,
                format!("more than {MAXIMUM_DEPTH} values inside each other"),
            ));
        }
        let body = &self.lines[self.at][indent..];
        if body == "-" || body.starts_with("- ") {
            self.list(indent, depth)
        } else if split_key(body).is_some() {
            self.map(indent, depth)
        } else {
            let (line, at) = (self.at, indent);
            self.at += 1;
            self.inline(line, at, indent.checked_sub(1), depth)
        }
    }

    fn list(&mut self, indent: usize, depth: usize) -> Result<Node, Problem> {
        let begin = self.at;
        let mut items = Vec::new();
        while self.peek()? == Some(indent) {
            let body = &self.lines[self.at][indent..];
            let Some(rest) = body
                .strip_prefix('-')
                .filter(|rest| rest.is_empty() || rest.starts_with(' '))
            else {
                break;
            };
            let at = indent + 1 + (rest.len() - rest.trim_start_matches(' ').len());
            if split_key(rest.trim_start_matches(' ')).is_some() {
                return Err(self.error(self.at, at, "a list of mappings means nothing here"));
            }
            let line = self.at;
            self.at += 1;
            items.push(self.value(line, at, indent, depth)?);
        }
        Ok(self.node(begin, indent, Value::List(items)))
    }

    fn map(&mut self, indent: usize, depth: usize) -> Result<Node, Problem> {
        let begin = self.at;
        let mut entries: Vec<(String, Position, Node)> = Vec::new();
        while self.peek()? == Some(indent) {
            let line = self.at;
            let body = &self.lines[line][indent..];
            let Some((key, rest)) = split_key(body) else {
                return Err(self.error(line, indent, "expected `key: value`"));
            };
            let (key, position) = (key.to_owned(), self.place(line, indent));
            if entries.iter().any(|(other, ..)| *other == key) {
                return Err(self.error(line, indent, format!("`{key}` stands here twice")));
            }
            self.at += 1;
            let value = self.value(line, indent + rest, indent, depth)?;
            entries.push((key, position, value));
        }
        Ok(self.node(begin, indent, Value::Map(entries)))
    }

    /// What is behind a key or a dash: on its line, or on the lines below.
    fn value(&mut self, line: usize, at: usize, indent: usize, depth: usize) -> Result<Node, Problem> {
        let rest = without_comment(self.lines[line].get(at..).unwrap_or_default());
        if !rest.is_empty() {
            return self.inline(line, at, Some(indent), depth);
        }
        match self.peek()? {
            Some(inner) if inner > indent => self.block(inner, depth + 1),
            // A list may stand right below its key.
            Some(inner) if inner == indent && self.lines[self.at][inner..].starts_with("- ") => {
                self.list(inner, depth + 1)
            }
            _ => Ok(self.node(line, at, Value::Null)),
        }
    }

    /// A value that begins on a line whose block is indented by `parent`; the lines after it are not read yet.
    fn inline(&mut self, line: usize, at: usize, parent: Option<usize>, depth: usize) -> Result<Node, Problem> {
        let text = self.lines[line][at..].to_owned();
        let value = match text.chars().next() {
            Some('|' | '>') => self.literal(line, at, &text, parent.map_or(0, |parent| parent + 1))?,
            Some(quote @ ('"' | '\'')) => self.quoted(line, at, quote)?,
            Some('[' | '{') => {
                let mut flow = Flow {
                    reader: self,
                    text: without_comment(&text),
                    line,
                    start: at,
                    at: 0,
                };
                flow.whole(depth)?
            }
            Some('&' | '*' | '!' | '%' | '@' | '`') => {
                return Err(self.error(line, at, "anchors, tags and the like are not read here"));
            }
            _ => Value::Scalar(self.plain(&text, parent)?),
        };
        Ok(self.node(line, at, value))
    }

    /// A plain scalar with its continuation lines, folded.
    fn plain(&mut self, first: &str, parent: Option<usize>) -> Result<String, Problem> {
        let mut text = without_comment(first).to_owned();
        while let Some(indent) = self.peek()? {
            let body = &self.lines[self.at][indent..];
            if parent.is_some_and(|parent| indent <= parent) || parent.is_none() {
                break;
            }
            if split_key(body).is_some() {
                return Err(self.error(
                    self.at,
                    indent,
                    "this key belongs to nothing: the line before it has a value",
                ));
            }
            text.push(' ');
            text.push_str(without_comment(body));
            self.at += 1;
        }
        Ok(text)
    }

    /// `|` and `>`: the lines that are indented at least so far.
    fn literal(&mut self, line: usize, at: usize, header: &str, least: usize) -> Result<Value, Problem> {
        let header = without_comment(header);
        let (style, chomp) = header.split_at(1);
        if !matches!(chomp, "" | "-" | "+") {
            return Err(self.error(line, at, format!("`{header}` is not read here; use |, |-, > or >-")));
        }
        let mut lines: Vec<&str> = Vec::new();
        while let Some(line) = self.lines.get(self.at) {
            let indent = line.len() - line.trim_start_matches(' ').len();
            if !line.trim().is_empty() && indent < least.max(1) {
                break;
            }
            lines.push(line);
            self.at += 1;
        }
        let filled = lines.iter().filter(|line| !line.trim().is_empty());
        let common = filled
            .map(|line| line.len() - line.trim_start_matches(' ').len())
            .min()
            .unwrap_or(0);
        let cut: Vec<&str> = lines
            .iter()
            .map(|line| line.get(common..).unwrap_or_default())
            .collect();
        let joined = cut.join(if style == "|" { "\n" } else { " " });
        let text = joined.trim_end().to_owned();
        Ok(Value::Scalar(if chomp == "-" || text.is_empty() {
            text
        } else {
            text + "\n"
        }))
    }

    /// A scalar in quotes, perhaps over several lines.
    fn quoted(&mut self, line: usize, at: usize, quote: char) -> Result<Value, Problem> {
        let mut text = self.lines[line][at + 1..].to_owned();
        let mut may_end = true;
        loop {
            if let Some((value, rest)) = may_end.then(|| unquote(&text, quote)).flatten() {
                if !without_comment(rest).trim().is_empty() {
                    return Err(self.error(line, at, "something stands behind the closing quote"));
                }
                return Ok(Value::Scalar(value));
            }
            let Some(next) = self.lines.get(self.at) else {
                return Err(self.error(line, at, "the closing quote is missing"));
            };
            text.truncate(text.trim_end().len());
            text.push(' ');
            text.push_str(next.trim_start());
            may_end = next.contains(quote);
            self.at += 1;
        }
    }
}

/// `[a, b]` and `{a: b}` on one line.
struct Flow<'r, 't> {
    reader: &'r Reader<'t>,
    text: &'r str,
    line: usize,
    start: usize,
    at: usize,
}

impl Flow<'_, '_> {
    fn whole(&mut self, depth: usize) -> Result<Value, Problem> {
        let value = self.value(depth)?.value;
        self.skip();
        match self.at == self.text.len() {
            true => Ok(value),
            false => Err(self.error("something stands behind the closing bracket")),
        }
    }

    fn error(&self, message: &str) -> Problem {
        self.reader.error(self.line, self.start + self.at, message)
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn skip(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, expected: char) -> bool {
        self.skip();
        let found = self.rest().starts_with(expected);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<Node, Problem> {
        if depth > MAXIMUM_DEPTH {
            return Err(self.error("too many values inside each other"));
        }
        self.skip();
        let begin = self.start + self.at;
        let value = if self.take('[') {
            self.list(depth)?
        } else if self.take('{') {
            self.map(depth)?
        } else {
            Value::Scalar(self.scalar()?)
        };
        Ok(self.reader.node(self.line, begin, value))
    }

    fn list(&mut self, depth: usize) -> Result<Value, Problem> {
        let mut items = Vec::new();
        while !self.take(']') {
            items.push(self.value(depth + 1)?);
            if !self.take(',') && !self.rest().starts_with(']') {
                return Err(self.error("expected `,` or `]`, on this line"));
            }
        }
        Ok(Value::List(items))
    }

    fn map(&mut self, depth: usize) -> Result<Value, Problem> {
        let mut entries = Vec::new();
        while !self.take('}') {
            self.skip();
            let position = self.reader.place(self.line, self.start + self.at);
            let key = self.scalar()?;
            if !self.take(':') {
                return Err(self.error("expected `:`"));
            }
            entries.push((key, position, self.value(depth + 1)?));
            if !self.take(',') && !self.rest().starts_with('}') {
                return Err(self.error("expected `,` or `}`, on this line"));
            }
        }
        Ok(Value::Map(entries))
    }

    fn scalar(&mut self) -> Result<String, Problem> {
        self.skip();
        let rest = self.rest();
        if let Some(quote @ ('"' | '\'')) = rest.chars().next() {
            let Some((value, behind)) = unquote(&rest[1..], quote) else {
                return Err(self.error("the closing quote is missing"));
            };
            let left = behind.len();
            self.at = self.text.len() - left;
            return Ok(value);
        }
        let end = rest.find([',', ']', '}', '[', '{']).unwrap_or(rest.len());
        let end = rest[..end].find(": ").unwrap_or(end);
        let word = rest[..end].trim_end().to_owned();
        if word.is_empty() {
            return Err(self.error("expected a value"));
        }
        self.at += end;
        Ok(word)
    }
}

/// Divides `key: value`; says at which byte the value begins.
fn split_key(body: &str) -> Option<(&str, usize)> {
    let (key, behind) = match body.chars().next()? {
        quote @ ('"' | '\'') => {
            let end = body[1..].find(quote)? + 1;
            (&body[1..end], end + 1)
        }
        '[' | '{' | '#' => return None,
        _ => {
            let ends = |at: usize| matches!(body.as_bytes().get(at + 1), None | Some(b' ' | b'\t'));
            let end = body.match_indices(':').map(|(at, _)| at).find(|at| ends(*at))?;
            (body[..end].trim_end(), end)
        }
    };
    let rest = body[behind..].strip_prefix(':')?;
    // A comment before the colon: the line is a plain scalar.
    if key.contains(" #") || !(rest.is_empty() || rest.starts_with([' ', '\t'])) {
        return None;
    }
    let value = rest.trim_start();
    Some((key, body.len() - value.len()))
}

/// A comment begins with `#` at the start or behind a space.
fn without_comment(text: &str) -> &str {
    let mut ends = text.match_indices('#').map(|(at, _)| at);
    let end = ends.find(|at| *at == 0 || text[..*at].ends_with([' ', '\t']));
    text[..end.unwrap_or(text.len())].trim_end()
}

/// The text up to the closing quote, and what is behind it; `None` when it does not close.
fn unquote(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '\'' if quote == '\'' && characters.peek().is_some_and(|(_, next)| *next == '\'') => {
                characters.next();
                value.push('\'');
            }
            '\\' if quote == '"' => value.push(match characters.next()?.1 {
                'n' => '\n',
                't' => '\t',
                other => other,
            }),
            _ if character == quote => return Some((value, &text[at + quote.len_utf8()..])),
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The value as JSON would show it.
    fn shown(node: &Node) -> String {
        match &node.value {
            Value::Null => "null".to_owned(),
            Value::Scalar(text) => format!("{text:?}"),
            Value::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
            Value::Map(entries) => {
                let entries = entries.iter().map(|(key, _, value)| format!("{key}: {}", shown(value)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn read(text: &str) -> String {
        match parse("a.yaml", text) {
            Ok(node) => shown(&node),
            Err(problem) => problem.to_string(),
        }
    }

    #[test]
    fn service_files_are_read() {
        let text = "# network\nexec: \"sh -c 'ip link set lo up'\" # now\noneshot: true\nafter:\n  - udevd\n  - 'load-modules'\nenv:\n  A: b c\n\nsignal: {stop: SIGKILL}\ndir:\n";
        assert_eq!(
            read(text),
            "{exec: \"sh -c 'ip link set lo up'\", oneshot: \"true\", after: [\"udevd\", \"load-modules\"], env: {A: \"b c\"}, \
             signal: {stop: \"SIGKILL\"}, dir: null}"
        );
        assert_eq!(
            read("log_level: debug\ninit:\n- load-modules\n- networking\n"),
            "{log_level: \"debug\", init: [\"load-modules\", \"networking\"]}"
        );
        assert_eq!(
            read("---\nafter: [a, \"b, c\", d]\n"),
            "{after: [\"a\", \"b, c\", \"d\"]}"
        );
        assert_eq!(read(""), "{}");
    }

    #[test]
    fn long_commands_go_over_several_lines() {
        assert_eq!(
            read("exec: |\n  sh -c '\n    a # no comment\n  '\nx: y\n"),
            "{exec: \"sh -c '\\n  a # no comment\\n'\\n\", x: \"y\"}"
        );
        assert_eq!(read("exec: >-\n  a\n  b\n"), "{exec: \"a b\"}");
        assert_eq!(read("exec: a\n  b --c\nx: y\n"), "{exec: \"a b --c\", x: \"y\"}");
        assert_eq!(read("exec: \"a\n  b\"\n"), "{exec: \"a b\"}");
        assert_eq!(read("exec: http://host:80/x y:z\n"), "{exec: \"http://host:80/x y:z\"}");
    }

    #[test]
    fn what_is_not_read_has_its_place() {
        for (text, problem) in [
            ("a: &x 1\n", "error: a.yaml:1:4: anchors"),
            ("a: 1\n  b: 2\n", "error: a.yaml:2:3: this key belongs to nothing"),
            ("a: 1\na: 2\n", "error: a.yaml:2:1: `a` stands here twice"),
            ("a: [1, 2\n", "error: a.yaml:1:9: expected `,` or `]`"),
            ("a: 'b\n", "error: a.yaml:1:4: the closing quote"),
            ("\ta: b\n", "error: a.yaml:1:1: a tab"),
            ("a: b\nc\n", "error: a.yaml:2:1: expected `key: value`"),
            ("- a: b\n", "error: a.yaml:1:3: a list of mappings"),
        ] {
            assert!(read(text).starts_with(problem), "{text:?}: {}", read(text));
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "[ab:\\-#'\"|>{}\\[\\], \n&é]{0,60}") {
            let _ = parse("a.yaml", &text);
        }
    }
}
