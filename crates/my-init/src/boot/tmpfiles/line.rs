//! A line of `tmpfiles.d`, understood.

use std::fs;
use std::path::Path;

use crate::boot::accounts::Accounts;

/// What a line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is a type of the table")]
pub enum Kind {
    Directory { emptied: bool },
    Existing,
    File { replaced: bool },
    Write { appended: bool },
    Pipe,
    Link(Link),
    Copy,
    Adjust { below: bool },
    Remove { below: bool },
}

/// When a symbolic link is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// When there is nothing.
    New,
    /// In place of whatever is there.
    Replacing,
    /// When there is nothing, and its target is there.
    ToSomething,
}

/// Permission bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// The bits.
    pub bits: u32,
    /// Only those of a sort that something has already (`~`).
    pub masked: bool,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it asks for.
    pub kind: Kind,
    /// Absolute, in words as written.
    pub path: String,
    /// `None` leaves it as it is, or is the usual one.
    pub mode: Option<Mode>,
    /// The number of the owner.
    pub user: Option<u32>,
    /// The number of the group.
    pub group: Option<u32>,
    /// Mode and owners are only for what is made (`:`).
    pub only_new: bool,
    /// What is left of the line.
    pub argument: Option<String>,
    /// An error is nobody's business.
    pub may_fail: bool,
    /// It has an age.
    pub has_age: bool,
}

impl Line {
    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub fn parse(text: &str, root: &Path, accounts: &Accounts) -> Result<Self, String> {
        let mut rest = text;
        let word = word(&mut rest)?.ok_or("an empty line")?;
        let (kind, may_fail) = kind(&word)?;
        let path = field(&mut rest)?.ok_or("a path is missing")?;
        let path = expanded(&path, root)?;
        if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
            return Err(format!("`{path}` is not an absolute path"));
        }
        let (mode, user, group) = (field(&mut rest)?, field(&mut rest)?, field(&mut rest)?);
        let has_age = field(&mut rest)?.is_some();
        let argument = match rest.trim() {
            "" | "-" => None,
            argument => Some(expanded(&unquoted(argument), root)?),
        };
        let new = |field: &Option<String>| field.as_deref().is_some_and(|text| text.starts_with(':'));
        Ok(Self {
            kind,
            path,
            only_new: new(&mode) || new(&user) || new(&group),
            mode: mode.map(|mode| parse_mode(&mode)).transpose()?,
            user: owner(user, "user", |name| accounts.user(name))?,
            group: owner(group, "group", |name| accounts.group(name))?,
            argument,
            may_fail,
            has_age,
        })
    }
}

fn kind(word: &str) -> Result<(Kind, bool), String> {
    let mut letters = word.chars();
    let letter = letters.next().unwrap_or(' ');
    let marks = letters.as_str();
    if let Some(mark) = marks.chars().find(|mark| !"+!-=?".contains(*mark)) {
        return Err(format!("`{mark}` in the type `{word}` is not understood"));
    }
    let (plus, asks) = (marks.contains('+'), marks.contains('?'));
    let kind = match letter {
        'd' | 'v' | 'q' | 'Q' => Kind::Directory { emptied: false },
        'D' => Kind::Directory { emptied: true },
        'e' => Kind::Existing,
        'f' => Kind::File { replaced: plus },
        'F' => Kind::File { replaced: true },
        'w' => Kind::Write { appended: plus },
        'p' => Kind::Pipe,
        'L' if asks => Kind::Link(Link::ToSomething),
        'L' if plus => Kind::Link(Link::Replacing),
        'L' => Kind::Link(Link::New),
        'C' => Kind::Copy,
        'z' => Kind::Adjust { below: false },
        'Z' => Kind::Adjust { below: true },
        'r' => Kind::Remove { below: false },
        'R' => Kind::Remove { below: true },
        _ => return Err(format!("the type `{word}` is not understood")),
    };
    Ok((kind, marks.contains('-')))
}

fn parse_mode(text: &str) -> Result<Mode, String> {
    let digits = text.trim_start_matches([':', '~']);
    let bits = u32::from_str_radix(digits, 8).ok().filter(|bits| *bits <= 0o7777);
    Ok(Mode {
        bits: bits.ok_or_else(|| format!("the mode `{text}` is not one of 0000 to 7777"))?,
        masked: text.contains('~'),
    })
}

fn owner(field: Option<String>, kind: &str, find: impl Fn(&str) -> Option<u32>) -> Result<Option<u32>, String> {
    let Some(text) = field else { return Ok(None) };
    let name = text.trim_start_matches(':');
    find(name)
        .map(Some)
        .ok_or_else(|| format!("there is no {kind} `{name}`"))
}

/// The next field; `None` for `-` and when there is none.
fn field(rest: &mut &str) -> Result<Option<String>, String> {
    Ok(word(rest)?.filter(|word| word != "-"))
}

/// The next word: blanks in quotes are part of it.
fn word(rest: &mut &str) -> Result<Option<String>, String> {
    *rest = rest.trim_start();
    let (mut word, mut quote, mut end) = (String::new(), None, rest.len());
    for (at, character) in rest.char_indices() {
        match (quote, character) {
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None, _) if character.is_whitespace() => {
                end = at;
                break;
            }
            _ => word.push(character),
        }
    }
    let any = end > 0;
    *rest = &rest[end..];
    match quote {
        Some(quote) => Err(format!("a {quote} is not closed")),
        None => Ok(any.then_some(word)),
    }
}

/// The argument is the rest of the line; quotes around all of it are not part of it.
fn unquoted(text: &str) -> String {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inner
        .filter(|inner| !inner.contains('"'))
        .unwrap_or(text)
        .replace("\\n", "\n")
}

/// With `%m`, `%b`, `%H`, `%v` and `%%` in place (machine id, boot id, host name, kernel).
fn expanded(text: &str, root: &Path) -> Result<String, String> {
    let mut expanded = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            expanded.push(character);
            continue;
        }
        let read = |path: &str| fs::read_to_string(root.join(path)).map(|text| text.trim().to_owned());
        let value = match characters.next() {
            Some('%') => Ok("%".to_owned()),
            Some('m') => read("etc/machine-id"),
            Some('b') => read("proc/sys/kernel/random/boot_id").map(|id| id.replace('-', "")),
            Some('H') => read("proc/sys/kernel/hostname"),
            Some('v') => read("proc/sys/kernel/osrelease"),
            Some('t') => Ok("/run".to_owned()),
            Some('S') => Ok("/var/lib".to_owned()),
            Some('C') => Ok("/var/cache".to_owned()),
            Some('L') => Ok("/var/log".to_owned()),
            Some('T') => Ok("/tmp".to_owned()),
            other => {
                return Err(format!(
                    "%{} is not understood",
                    other.map_or(String::new(), String::from)
                ));
            }
        };
        expanded.push_str(&value.map_err(|error| format!("`{text}`: {error}"))?);
    }
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Line, String> {
        Line::parse(text, Path::new("/"), &Accounts::default())
    }

    #[test]
    fn lines_are_read() {
        let line = parse("d- /run/a\\b 0755 root 7 10d -").unwrap();
        let mode = Some(Mode {
            bits: 0o755,
            masked: false,
        });
        assert_eq!(
            (line.kind, &*line.path, line.mode),
            (Kind::Directory { emptied: false }, "/run/a\\b", mode)
        );
        assert_eq!(
            (line.user, line.group, line.has_age, line.may_fail, &line.argument),
            (Some(0), Some(7), true, true, &None)
        );
        let line = parse("f+ \"/run/with blank\" :~0640 - - - hello  %% world\\n").unwrap();
        assert_eq!(
            (&*line.path, line.argument.as_deref()),
            ("/run/with blank", Some("hello  % world\n"))
        );
        assert_eq!((line.only_new, line.mode.map(|mode| mode.masked)), (true, Some(true)));
        assert_eq!(
            parse("L? /run/l - - - - ../x").unwrap().kind,
            Kind::Link(Link::ToSomething)
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, message) in [
            ("a /x", "the type `a` is not understood"),
            ("d~ /x", "`~` in the type `d~` is not understood"),
            ("d", "a path is missing"),
            ("d x", "`x` is not an absolute path"),
            ("d /a/../b", "`/a/../b` is not an absolute path"),
            ("d /x 99", "the mode `99` is not one of 0000 to 7777"),
            ("d /x - nobody-here", "there is no user `nobody-here`"),
            ("d \"/x", "a \" is not closed"),
            ("d /%q", "%q is not understood"),
        ] {
            assert_eq!(parse(text), Err(message.to_owned()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(text in "[dfLwzR] [-a-z0-9/%\"' ~:]{0,30}|.{0,30}") {
            if let Ok(line) = parse(text.trim()) {
                prop_assert!(line.path.starts_with('/'));
            }
        }
    }
}
