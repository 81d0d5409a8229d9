//! The lines of `config/sources.conf`: `TYPE:NAME:URL:VERSION:BUILD_FUNCTION[:OPTION=VALUE]…`.
//!
//! URLs have colons themselves, so a line is divided from both ends: type and name from the front; options, function and
//! version from the back; what is left is the URL. A line whose fields are divided by spaces is read too: the files in
//! use have such lines.

use mos_toml::{Item, Position, Problem, Problems, nearest};

/// What every line should look like.
const FORM: &str = "write TYPE:NAME:URL:VERSION:BUILD_FUNCTION, and options as :NAME=VALUE";
/// What stands before `://` in the URLs of repositories and files.
const SCHEMES: [&str; 5] = ["https", "http", "ssh", "git", "file"];
/// Hexadecimal digits of a git commit.
const COMMIT_DIGITS: usize = 40;

/// Where a component comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `git`: a repository that is built.
    Git,
    /// `release`: a file that somebody else built.
    Release,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) kind: Kind,
    pub(crate) name: Item<String>,
    pub(crate) url: Item<String>,
    pub(crate) version: Item<String>,
    /// The shell function that builds or installs it.
    pub(crate) function: Item<String>,
    /// The name of the installed program, `rename=NAME`.
    pub(crate) rename: Option<String>,
}

/// Which state of a git repository a version means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reference {
    Branch,
    Tag,
    Commit,
}

impl Reference {
    /// `0.6.1` and `v1.0` are tags, 40 digits are a commit, everything else is a branch.
    pub(crate) fn of(version: &str) -> Self {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if version.len() == COMMIT_DIGITS && version.bytes().all(hex) {
            return Self::Commit;
        }
        match version
            .strip_prefix('v')
            .unwrap_or(version)
            .starts_with(|c: char| c.is_ascii_digit())
        {
            true => Self::Tag,
            false => Self::Branch,
        }
    }

    /// The key in a component's `[source]`.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Branch => "branch",
            Self::Tag => "tag",
            Self::Commit => "commit",
        }
    }
}

/// Reads the file; whatever is wrong goes to `problems`, all of it.
pub(crate) fn parse(file: &str, text: &str, problems: &Problems) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (number, text) in (1..).zip(text.lines()) {
        let body = text.trim();
        if body.is_empty() || body.starts_with('#') {
            continue;
        }
        let Some(line) = Fields::split(file, number, text).and_then(|it| it.line(problems)) else {
            continue;
        };
        match lines.iter().find(|other| other.name.value == line.name.value) {
            Some(first) => {
                let message = format!("`{}` stands already at {}", line.name.value, first.name.position);
                problems.push(Problem::error(Some(line.name.position), message));
            }
            None => lines.push(line),
        }
    }
    lines
}

/// The fields of a line, each with the byte at which it begins.
struct Fields<'t> {
    file: &'t str,
    number: usize,
    text: &'t str,
    fields: Vec<(usize, &'t str)>,
}

impl<'t> Fields<'t> {
    fn split(file: &'t str, number: usize, text: &'t str) -> Option<Self> {
        let content = match text.find(" #") {
            Some(comment) => &text[..comment],
            None => text,
        };
        let first = content.trim_start().split([':', ' ', '\t']).next()?;
        let behind = content.trim_start()[first.len()..].chars().next();
        let fields = match behind {
            Some(' ' | '\t') => words(content),
            _ => colons(content),
        };
        Some(Self {
            file,
            number,
            text,
            fields,
        })
    }

    fn place(&self, byte: usize) -> Position {
        Position {
            file: self.file.to_owned(),
            line: self.number,
            column: self.text[..byte].chars().count() + 1,
        }
    }

    fn field(&self, index: usize) -> Item<String> {
        let (byte, value) = self.fields.get(index).copied().unwrap_or((self.text.len(), ""));
        Item {
            value: value.to_owned(),
            position: self.place(byte),
        }
    }

    /// The line, unless something is wrong with it.
    fn line(&self, problems: &Problems) -> Option<Line> {
        let kind = self.kind(problems);
        if self.fields.len() < 5 {
            let names = ["TYPE", "NAME", "URL", "VERSION", "BUILD_FUNCTION"];
            let missing = names[self.fields.len()..].join(" and ");
            let problem = Problem::error(Some(self.field(0).position), format!("the line has no {missing}"));
            problems.push(problem.with_hint(FORM));
            return None;
        }
        let line = Line {
            kind: kind.unwrap_or(Kind::Git),
            name: self.field(1),
            url: self.field(2),
            version: self.field(3),
            function: self.field(4),
            rename: None,
        };
        let checked = [
            check_name(&line),
            check_url(&line),
            check_version(&line),
            check_function(&line),
        ];
        let found = checked.iter().flatten().count();
        checked.into_iter().flatten().for_each(|problem| problems.push(problem));
        let rename = self.options(problems)?;
        (kind.is_some() && found == 0).then_some(Line { rename, ..line })
    }

    fn kind(&self, problems: &Problems) -> Option<Kind> {
        let word = self.field(0);
        match word.value.as_str() {
            "git" => Some(Kind::Git),
            "release" => Some(Kind::Release),
            other => {
                let problem = Problem::error(Some(word.position), format!("`{other}` is no type of source"));
                problems.push(problem.with_hint(match nearest(other, ["git", "release"]) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "there are: git, release".to_owned(),
                }));
                None
            }
        }
    }

    /// The options behind the function; `None` when one is wrong.
    fn options(&self, problems: &Problems) -> Option<Option<String>> {
        let mut rename = Some(None);
        for index in 5..self.fields.len() {
            let option = self.field(index);
            match option.value.split_once('=') {
                Some(("rename", name)) if is_program(name) => rename = rename.map(|_| Some(name.to_owned())),
                _ => {
                    let problem = Problem::error(Some(option.position), format!("`{}` is no option", option.value));
                    problems.push(problem.with_hint("there is: rename=NAME"));
                    rename = None;
                }
            }
        }
        rename
    }
}

/// Words with the bytes at which they begin.
fn words(text: &str) -> Vec<(usize, &str)> {
    let start = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
    text.split_whitespace().map(|word| (start(word), word)).collect()
}

/// Fields between colons. What stands between the name and, from the back, options, function and version is the URL,
/// whatever colons it has.
fn colons(text: &str) -> Vec<(usize, &str)> {
    let mut ends: Vec<(usize, usize)> = Vec::new();
    let mut begin = 0;
    for piece in text.split(':') {
        ends.push((begin, begin + piece.len()));
        begin += piece.len() + 1;
    }
    let piece = |index: usize| ends.get(index).map(|&(from, to)| &text[from..to]);
    if piece(2).is_some_and(|word| SCHEMES.contains(&word.trim()))
        && piece(3).is_some_and(|rest| rest.starts_with("//"))
    {
        ends.splice(2..4, [(ends[2].0, ends[3].1)]);
    }
    let is_option = |&(from, to): &(usize, usize)| text[from..to].contains('=');
    let options = ends.iter().rev().take_while(|range| is_option(range)).count();
    // Type and name in front, version and function behind.
    let last = ends.len() - options;
    if last > 5 {
        let url = (ends[2].0, ends[last - 3].1);
        ends.splice(2..last - 2, [url]);
    }
    let trimmed = |(from, to): (usize, usize)| {
        let field = &text[from..to];
        (from + field.len() - field.trim_start().len(), field.trim())
    };
    ends.into_iter().map(trimmed).collect()
}

fn is_program(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c)) && !name.starts_with('.')
}

fn check_name(line: &Line) -> Option<Problem> {
    let name = &line.name;
    let good = name
        .value
        .starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && is_program(&name.value);
    let problem = Problem::error(
        Some(name.position.clone()),
        format!("`{}` is not a name for a component", name.value),
    );
    (!good).then(|| problem.with_hint("use lower-case letters, digits, `-`, `_` and `.`"))
}

fn check_url(line: &Line) -> Option<Problem> {
    let url = &line.url;
    let host = |rest: &str| !rest.is_empty() && !rest.starts_with('/');
    let web = ["https://", "http://"]
        .iter()
        .find_map(|scheme| url.value.strip_prefix(scheme));
    let message = match (line.kind, web) {
        (_, Some(rest)) if rest.split('/').next().is_some_and(|host| host.contains('@')) => "carries a user name",
        (_, Some(rest)) if host(rest) => return None,
        (Kind::Release, _) => "is not an http:// or https:// URL",
        (Kind::Git, _) if is_ssh(&url.value) => return None,
        (Kind::Git, _) => "is not a URL of a git repository",
    };
    let problem = Problem::error(Some(url.position.clone()), format!("`{}` {message}", url.value));
    Some(problem.with_hint(FORM))
}

/// `ssh://host/path`, `git://host/path`, `user@host:path`.
fn is_ssh(url: &str) -> bool {
    let scheme = url
        .split_once("://")
        .is_some_and(|(scheme, rest)| SCHEMES.contains(&scheme) && !rest.is_empty());
    let scp = url.split_once(':').is_some_and(|(host, path)| {
        host.contains('@') && !host.contains('/') && !path.is_empty() && !path.starts_with("//")
    });
    scheme && !url.starts_with("http") || scp
}

fn check_version(line: &Line) -> Option<Problem> {
    let version = &line.version;
    let odd = |c: char| c.is_whitespace() || c.is_control() || "~^:?*[\\".contains(c);
    let good = !version.value.is_empty() && !version.value.starts_with(['-', '/']) && !version.value.contains(odd);
    let problem = Problem::error(
        Some(version.position.clone()),
        format!("`{}` is not a version", version.value),
    );
    (!good).then(|| problem.with_hint("name a tag, a branch or a commit"))
}

fn check_function(line: &Line) -> Option<Problem> {
    let function = &line.function;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let good = function
        .value
        .starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && function.value.chars().all(plain);
    let problem = Problem::error(
        Some(function.position.clone()),
        format!("`{}` is not the name of a build function", function.value),
    );
    (!good).then(|| problem.with_hint(FORM))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> (Vec<Line>, String) {
        let problems = Problems::default();
        (parse("sources.conf", text, &problems), problems.to_string())
    }

    fn shown(text: &str) -> String {
        let (lines, problems) = read(text);
        assert_eq!(problems, "", "{text}");
        let line = &lines[0];
        let rename = line.rename.as_deref().unwrap_or("-");
        format!(
            "{:?} {} {} {} {} {rename}",
            line.kind, line.name.value, line.url.value, line.version.value, line.function.value
        )
    }

    #[test]
    fn urls_keep_their_colons() {
        assert_eq!(
            shown("git:mycelium:https://github.com/threefoldtech/mycelium:0.6.1:build_mycelium"),
            "Git mycelium https://github.com/threefoldtech/mycelium 0.6.1 build_mycelium -"
        );
        assert_eq!(
            shown("release:corex:https://host:8443/2.1.4/corex-2.1.4:2.1.4:install_corex:rename=corex"),
            "Release corex https://host:8443/2.1.4/corex-2.1.4 2.1.4 install_corex corex"
        );
        assert_eq!(
            shown("git:a:git@host:me/a.git:main:build_a # ours"),
            "Git a git@host:me/a.git main build_a -"
        );
    }

    #[test]
    fn fields_may_be_divided_by_spaces() {
        assert_eq!(
            shown("git my_init https://forge.ourworld.tf/geomind_code/my_init.git development build_my_init"),
            "Git my_init https://forge.ourworld.tf/geomind_code/my_init.git development build_my_init -"
        );
        assert_eq!(
            shown("release a https://h:1/a?b=c v1 install_a rename=b"),
            "Release a https://h:1/a?b=c v1 install_a b"
        );
    }

    #[test]
    fn every_line_that_is_wrong_is_named_at_once() {
        let (lines, problems) = read(
            "# components\n\
             gti:a:https://h/a:v1:build_a\n\
             git:A:https://h/a:v1:build_a\n\
             git:b:https://h/b:v1\n\
             git:c:h/c:v1:build_c\n\
             \n\
             git:d:https://h/d::build_d\n\
             git:e:https://h/e:v1:build-e\n\
             git:f:https://h/f:v1:build_f:strip=no\n\
             git:g:https://h/g:v1:build_g\n\
             git:g:https://h/h:v1:build_g\n\
             release:i:git@h:i:v1:install_i\n\
             git:j:https://me:secret@h/j:v1:build_j\n\
             git k\n",
        );
        assert_eq!(lines.len(), 1);
        let expected = [
            ("2:1: `gti` is no type of source", "did you mean `git`?"),
            ("3:5: `A` is not a name for a component", "lower-case"),
            ("4:1: the line has no BUILD_FUNCTION", ""),
            ("5:7: `h/c` is not a URL of a git repository", ""),
            ("7:19: `` is not a version", ""),
            ("8:22: `build-e` is not the name of a build function", ""),
            ("9:30: `strip=no` is no option", "rename=NAME"),
            ("11:5: `g` stands already at sources.conf:10:5", ""),
            ("12:11: `git@h:i` is not an http:// or https:// URL", ""),
            ("13:7: ", "carries a user name"),
            ("14:1: the line has no URL and VERSION and BUILD_FUNCTION", ""),
        ];
        for (message, hint) in expected {
            assert!(
                problems.contains(&format!("error: sources.conf:{message}")),
                "{message}\n{problems}"
            );
            assert!(problems.contains(hint), "{hint}\n{problems}");
        }
        assert_eq!(problems.matches("error:").count(), expected.len(), "{problems}");
    }

    #[test]
    fn versions_are_branches_tags_and_commits() {
        assert_eq!(Reference::of("development"), Reference::Branch);
        assert_eq!(Reference::of("0.6.1"), Reference::Tag);
        assert_eq!(Reference::of("v1.0"), Reference::Tag);
        assert_eq!(Reference::of("vendored"), Reference::Branch);
        assert_eq!(
            Reference::of("4c70fe2c036be9ab20a02d10826e508d0efed0d9"),
            Reference::Commit
        );
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a-zé:=/#@ .\\n]{0,60}") {
            read(&text);
        }
    }
}
