//! What the build functions of `scripts/lib/components.sh` do, as far as it can be told without running them.
//!
//! The functions follow a pattern: go to a folder, `cargo build`, copy programs below `INSTALL_DIR`. Those steps are
//! read; what only prints, checks or prepares is passed over; everything else is noted with its line, so that nothing that
//! a function did is lost in silence.

use std::collections::BTreeMap;

/// What a function does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Recipe {
    /// Where the function begins.
    pub(crate) line: usize,
    /// Whether it runs `cargo build`.
    pub(crate) builds: bool,
    /// The folder in which it does.
    pub(crate) subdirectory: Option<String>,
    pub(crate) packages: Vec<String>,
    pub(crate) features: Vec<String>,
    pub(crate) no_default_features: bool,
    /// Programs that are installed: the name that the build gives them, or nothing for a downloaded file; and the name in
    /// the image.
    pub(crate) programs: Vec<(Option<String>, String)>,
    /// What was not understood, by line.
    pub(crate) unknown: Vec<(usize, String)>,
}

/// Commands before which these stand do the same without.
const WRAPPERS: [&str; 6] = ["safe_execute", "run", "sudo", "command", "exec", "time"];
/// Commands that prepare, print or check, and change nothing of what is installed.
const HARMLESS: [&str; 31] = [
    ":",
    ".",
    "[",
    "[[",
    "chmod",
    "die",
    "do",
    "done",
    "echo",
    "else",
    "elif",
    "error_exit",
    "exit",
    "export",
    "false",
    "fi",
    "for",
    "if",
    "log_debug",
    "local",
    "log_error",
    "log_info",
    "log_warn",
    "mkdir",
    "popd",
    "printf",
    "return",
    "rustup",
    "safe_mkdir",
    "section_header",
    "set",
];
/// More of them: what these do is done by MOS for every program, or is no part of the image.
const DONE_ANYWAY: [&str; 9] = ["file", "ldd", "ls", "rm", "source", "strip", "then", "true", "upx"];

/// The functions of a script by name.
pub(crate) fn functions(text: &str) -> BTreeMap<String, Recipe> {
    let mut found = BTreeMap::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        let Some(name) = function_name(line) else { continue };
        let mut reader = Reader::new(number);
        let mut pending = String::new();
        for (number, line) in lines.by_ref() {
            if line.trim_end() == "}" {
                break;
            }
            match line.trim_end().strip_suffix('\\') {
                Some(more) => pending.push_str(more),
                None => reader.line(number, &format!("{}{line}", std::mem::take(&mut pending))),
            }
        }
        found.insert(name.to_owned(), reader.recipe);
    }
    found
}

/// The name in `function NAME() {`, `function NAME {` or `NAME() {`.
fn function_name(line: &str) -> Option<&str> {
    let head = line
        .strip_suffix('{')
        .or_else(|| line.trim_end().strip_suffix('{'))?
        .trim_end();
    let named = head.strip_prefix("function ");
    let name = named.unwrap_or(head).trim();
    let bare = name.strip_suffix("()").map(str::trim_end);
    let name = bare.or_else(|| named.map(|_| name))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

struct Reader {
    recipe: Recipe,
    variables: BTreeMap<String, String>,
    /// Where the function is, below the source.
    folder: Vec<String>,
    /// What ends the text that is given to a command here: not read.
    heredoc: Option<String>,
}

impl Reader {
    fn new(line: usize) -> Self {
        let known = [
            ("INSTALL_DIR", "/"),
            ("2", "."),
            ("component_dir", "."),
            ("COMPONENT_DIR", "."),
        ];
        Self {
            recipe: Recipe {
                line,
                ..Recipe::default()
            },
            variables: known.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            folder: Vec::new(),
            heredoc: None,
        }
    }

    fn line(&mut self, number: usize, line: &str) {
        if let Some(end) = &self.heredoc {
            if line.trim() == end {
                self.heredoc = None;
            }
            return;
        }
        for statement in statements(line) {
            self.statement(number, &statement);
        }
        if let Some((_, end)) = line.split_once("<<").filter(|(_, end)| !end.starts_with('<')) {
            let end = end
                .trim_start_matches(['-', '~', ' '])
                .split_whitespace()
                .next()
                .unwrap_or_default();
            self.heredoc = Some(end.trim_matches(['"', '\'']).to_owned());
        }
    }

    fn statement(&mut self, number: usize, statement: &[String]) {
        let mut words: &[String] = statement;
        while words
            .first()
            .is_some_and(|word| WRAPPERS.contains(&word.as_str()) || word == "then" || word == "else" || word == "!")
        {
            words = &words[1..];
        }
        // Assignments, and those before a command.
        while let Some((name, value)) = words.first().and_then(|word| assignment(word)) {
            let value = self.expand(value);
            self.variables.insert(name.to_owned(), value);
            words = &words[1..];
        }
        let Some((command, arguments)) = words.split_first() else {
            return;
        };
        match command.as_str() {
            "local" | "export" | "declare" | "readonly" => self.declare(arguments),
            "cd" | "pushd" | "safe_cd" => self.enter(arguments),
            "popd" => self.folder.clear(),
            "cargo" if arguments.first().is_some_and(|verb| verb == "build") => self.cargo(number, &arguments[1..]),
            "cp" | "mv" | "install" | "safe_copy" => self.install(number, arguments, statement),
            word if HARMLESS.contains(&word) || DONE_ANYWAY.contains(&word) => {}
            _ => self.recipe.unknown.push((number, statement.join(" "))),
        }
    }

    fn declare(&mut self, words: &[String]) {
        for (name, value) in words.iter().filter_map(|word| assignment(word)) {
            let value = self.expand(value);
            self.variables.insert(name.to_owned(), value);
        }
    }

    fn enter(&mut self, arguments: &[String]) {
        let Some(target) = arguments.first().map(|word| self.expand(word)) else {
            return;
        };
        match target.as_str() {
            "." => self.folder.clear(),
            "-" | "" => self.folder.clear(),
            _ => {
                for part in target.split('/') {
                    match part {
                        "" | "." => {}
                        ".." => drop(self.folder.pop()),
                        part => self.folder.push(part.to_owned()),
                    }
                }
            }
        }
    }

    fn cargo(&mut self, number: usize, arguments: &[String]) {
        self.recipe.builds = true;
        if !self.folder.is_empty() {
            self.recipe.subdirectory = Some(self.folder.join("/"));
        }
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let (flag, inline) = match word.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            let mut value = || {
                let word = inline.clone().or_else(|| words.next().cloned());
                word.unwrap_or_default()
            };
            match flag {
                "--release" | "--locked" | "--offline" | "--frozen" | "-v" | "--verbose" | "-q" | "--quiet" => {}
                "--target" | "-j" | "--jobs" | "--target-dir" | "--bin" => drop(value()),
                "-p" | "--package" => {
                    let value = value();
                    self.recipe.packages.push(value);
                }
                "-F" | "--features" => {
                    let value = value();
                    let names = value.split([',', ' ']).filter(|name| !name.is_empty());
                    self.recipe.features.extend(names.map(str::to_owned));
                }
                "--no-default-features" => self.recipe.no_default_features = true,
                "--manifest-path" => {
                    let value = value();
                    let folder = value.strip_suffix("/Cargo.toml").map(str::to_owned);
                    self.recipe.subdirectory = folder.or(self.recipe.subdirectory.take());
                }
                other => self.recipe.unknown.push((number, format!("cargo build {other}"))),
            }
        }
    }

    /// `cp SOURCE PLACE`, `install -m 755 SOURCE PLACE`.
    fn install(&mut self, number: usize, arguments: &[String], statement: &[String]) {
        let mut paths = Vec::new();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "-m" | "-o" | "-g" | "--mode" => drop(words.next()),
                option if option.starts_with('-') || option.contains('>') => {}
                path => paths.push(self.expand(path)),
            }
        }
        let [source, place] = paths.as_slice() else {
            return self.recipe.unknown.push((number, statement.join(" ")));
        };
        let file = source.rsplit('/').next().unwrap_or(source);
        let built = source.contains("target/") && source.contains("/release/");
        let downloaded = source.starts_with('$') || source == "." || !source.contains('/');
        let program = PROGRAM_FOLDERS.iter().any(|folder| below(place, folder));
        let name = match place.rsplit('/').next().unwrap_or_default() {
            "" | "bin" | "sbin" => file,
            name => name,
        };
        match program {
            // A name of which nothing is known is that of the component.
            true if built && !file.contains('$') => self.add(Some(file.to_owned()), name),
            true if built || downloaded => self.add(None, name),
            _ => self.recipe.unknown.push((number, statement.join(" "))),
        }
    }

    fn add(&mut self, made: Option<String>, name: &str) {
        let name = if name.contains('$') {
            String::new()
        } else {
            name.to_owned()
        };
        self.recipe.programs.push((made, name));
    }

    /// Puts in what is known of `$NAME` and `${NAME}`; the rest stays.
    fn expand(&self, word: &str) -> String {
        let mut text = String::new();
        let mut rest = word;
        while let Some(at) = rest.find('$') {
            text.push_str(&rest[..at]);
            let behind = &rest[at + 1..];
            let (name, after) = match behind.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
                Some((name, after)) => (name.split(":-").next().unwrap_or(name), after),
                None => {
                    let end = behind
                        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                        .unwrap_or(behind.len());
                    behind.split_at(end)
                }
            };
            match self.variables.get(name) {
                Some(value) => text.push_str(value),
                None => text.push_str(&format!("${name}")),
            }
            rest = after;
        }
        text + rest
    }
}

/// Where programs are in an image.
const PROGRAM_FOLDERS: [&str; 4] = ["usr/bin", "usr/sbin", "bin", "sbin"];

/// True for a place in the image that is this folder or in it.
fn below(place: &str, folder: &str) -> bool {
    let place = place.trim_start_matches('/');
    let rest = place.strip_prefix(folder);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') && !rest[1..].contains('/'))
}

/// The name and value of `NAME=VALUE`.
fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(plain))
        .then_some((name, value))
}

/// The commands of a line, divided into words without their quotes. A comment ends it.
fn statements(line: &str) -> Vec<Vec<String>> {
    let mut found = vec![Vec::new()];
    let mut word: Option<String> = None;
    let (mut quote, mut depth) = (None, 0_usize);
    for character in line.chars() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(character),
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, '(') => {
                depth += 1;
                word.get_or_insert_default().push(character);
            }
            (None, ')') => {
                depth = depth.saturating_sub(1);
                word.get_or_insert_default().push(character);
            }
            (None, _) if depth > 0 => word.get_or_insert_default().push(character),
            (None, '#') if word.is_none() => break,
            // `2>&1` is no end of a command.
            (None, '&') if word.as_ref().is_some_and(|word| word.ends_with('>')) => {
                word.get_or_insert_default().push('&')
            }
            (None, ';' | '&' | '|') => {
                if let (Some(statement), Some(word)) = (found.last_mut(), word.take()) {
                    statement.push(word);
                }
                found.push(Vec::new());
            }
            (None, ' ' | '\t') => {
                if let (Some(statement), Some(word)) = (found.last_mut(), word.take()) {
                    statement.push(word);
                }
            }
            (None, _) => word.get_or_insert_default().push(character),
        }
    }
    if let (Some(statement), Some(word)) = (found.last_mut(), word) {
        statement.push(word);
    }
    found.retain(|statement| !statement.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(body: &str) -> Recipe {
        let found = functions(&format!("function build_a() {{\n{body}\n}}\n"));
        found["build_a"].clone()
    }

    fn program(made: &str, name: &str) -> (Option<String>, String) {
        (Some(made.to_owned()), name.to_owned())
    }

    #[test]
    fn the_pattern_of_the_readme_is_read() {
        let recipe = one(
            "    local name=\"$1\"\n    local component_dir=\"$2\"\n\n    # Custom build logic\n    \
             export RUSTFLAGS=\"-C target-feature=+crt-static\"\n    cargo build --release --target x86_64-unknown-linux-musl\n\n    \
             # Install binary\n    cp target/x86_64-unknown-linux-musl/release/myapp \"${INSTALL_DIR}/usr/bin/\"",
        );
        assert_eq!(
            recipe,
            Recipe {
                line: 1,
                builds: true,
                programs: vec![program("myapp", "myapp")],
                ..Recipe::default()
            }
        );
    }

    #[test]
    fn folders_flags_and_variables_are_followed() {
        let recipe = one("cd \"$component_dir\" && cd myceliumd || error_exit \"no folder\"\n\
             safe_execute cargo build --release --target \"$RUST_TARGET\" -p one --features=a,b \\\n  --no-default-features\n\
             local binary=\"target/${RUST_TARGET}/release/mycelium\"\n\
             if [[ ! -f \"$binary\" ]]; then\n  error_exit \"missing\"\nfi\n\
             install -Dm755 \"$binary\" \"${INSTALL_DIR}/usr/bin/myc\"");
        assert_eq!(recipe.subdirectory.as_deref(), Some("myceliumd"));
        assert_eq!(
            (recipe.packages, recipe.features),
            (vec!["one".to_owned()], vec!["a".to_owned(), "b".to_owned()])
        );
        assert!(recipe.no_default_features);
        assert_eq!(recipe.programs, [program("mycelium", "myc")]);
        assert_eq!(recipe.unknown, []);
    }

    #[test]
    fn a_downloaded_file_is_installed() {
        let recipe = one(
            "local file=\"$3\"\ncp \"$file\" \"${INSTALL_DIR}/usr/bin/corex\"\nchmod +x \"${INSTALL_DIR}/usr/bin/corex\"",
        );
        assert_eq!(recipe.programs, [(None, "corex".to_owned())]);
        assert!(!recipe.builds);
    }

    #[test]
    fn what_is_not_understood_is_noted_with_its_line() {
        let recipe = one(
            "make -C lib\ncargo build --release -Zx\ncp config/a.toml \"${INSTALL_DIR}/etc/\"\ncat <<EOF\nmake x\nEOF",
        );
        let unknown: Vec<(usize, &str)> = recipe
            .unknown
            .iter()
            .map(|(line, text)| (*line, text.as_str()))
            .collect();
        assert_eq!(
            unknown,
            [
                (2, "make -C lib"),
                (3, "cargo build -Zx"),
                (4, "cp config/a.toml ${INSTALL_DIR}/etc/"),
                (5, "cat <<EOF"),
            ]
        );
    }

    #[test]
    fn functions_are_found_however_they_are_written() {
        let found = functions(
            "a() {\n cargo build\n}\nfunction b {\n}\nfunction c()  {\n  if x; then\n  {\n  }\n  fi\n}\nnot one {\nx=1\n",
        );
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(found["a"].builds && !found["b"].builds);
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a-c$\\{}()\"'|&;#=<é \n\\\\]{0,80}") {
            functions(&format!("function f() {{\n{text}\n}}"));
        }
    }
}
