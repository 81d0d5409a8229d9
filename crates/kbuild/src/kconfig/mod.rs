//! The kernel's Kconfig files, as far as it takes to say why a setting did not take: what it depends on, with the menus
//! and `if` blocks around it, and whether it can be set at all (`Documentation/kbuild/kconfig-language.rst`).
//!
//! Nothing is decided here: the kernel's own tool does that. Only after it dropped a setting are these files read.

mod expression;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

pub(crate) use expression::{Tristate, conjuncts, evaluate};

/// Files within files: the kernel has 6.
const SOURCE_DEPTH: usize = 16;
/// No Kconfig file is near as large, in bytes.
const FILE_MAX: u64 = 4 << 20;
/// Where a tab ends (indentation decides where a help text ends).
const TAB: usize = 8;

/// One `config NAME` of the files; a symbol may have several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Definition {
    /// Conditions that must hold, those of the blocks around it first.
    pub(crate) depends: Vec<String>,
    /// The user is asked for it, under this condition. Without, only other settings can turn it on.
    pub(crate) prompt: Option<Option<String>>,
}

/// All symbols of a kernel.
#[derive(Debug, Default)]
pub(crate) struct Kconfig {
    symbols: BTreeMap<String, Vec<Definition>>,
}

impl Kconfig {
    /// Reads `Kconfig` of the tree and all that it leads to. `architecture` is the folder in `arch/`. What cannot be read
    /// is left out.
    pub(crate) fn read(tree: &Path, architecture: &str) -> Self {
        let mut reader = Reader {
            tree,
            architecture,
            kconfig: Self::default(),
            around: Vec::new(),
        };
        reader.file("Kconfig", 0);
        reader.kconfig
    }

    /// The definitions of a symbol.
    pub(crate) fn definitions(&self, name: &str) -> &[Definition] {
        self.symbols.get(name).map_or(&[], Vec::as_slice)
    }

    /// The names of all symbols.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.symbols.keys().map(String::as_str)
    }
}

struct Reader<'r> {
    tree: &'r Path,
    architecture: &'r str,
    kconfig: Kconfig,
    /// The conditions of each block that is open.
    around: Vec<Vec<String>>,
}

/// What the lines that follow belong to.
enum Open {
    /// A block: `menu` or `choice`; its dependencies count for all in it.
    Block,
    /// A `config` of this name.
    Symbol(String),
    /// A comment, or nothing: dependencies do not matter.
    Nothing,
}

impl Reader<'_> {
    fn file(&mut self, path: &str, depth: usize) {
        let path = self.tree.join(path);
        let small = fs::metadata(&path).is_ok_and(|metadata| metadata.len() <= FILE_MAX);
        if !small || depth > SOURCE_DEPTH {
            return;
        }
        let text = fs::read(&path).unwrap_or_default();
        let blocks = self.around.len();
        self.lines(&String::from_utf8_lossy(&text), depth);
        // A block ends with its file at the latest.
        self.around.truncate(blocks);
    }

    fn lines(&mut self, text: &str, depth: usize) {
        let mut open = Open::Nothing;
        let joined = join_lines(text);
        let mut lines = joined.iter().map(String::as_str).peekable();
        while let Some(line) = lines.next() {
            let (word, rest) = split_word(line);
            match word {
                "config" | "menuconfig" => open = self.begin_symbol(rest),
                "menu" | "choice" => {
                    self.around.push(Vec::new());
                    open = Open::Block;
                }
                "if" => {
                    self.around.push(vec![rest.to_owned()]);
                    open = Open::Nothing;
                }
                "endmenu" | "endchoice" | "endif" => {
                    self.around.pop();
                    open = Open::Nothing;
                }
                "comment" | "mainmenu" => open = Open::Nothing,
                "source" => {
                    self.file(&self.expand(rest), depth + 1);
                    open = Open::Nothing;
                }
                "help" | "---help---" => skip_help(&mut lines),
                _ => self.attribute(&open, word, rest),
            }
        }
    }

    fn begin_symbol(&mut self, name: &str) -> Open {
        let definition = Definition {
            depends: self.around.concat(),
            prompt: None,
        };
        let definitions = self.kconfig.symbols.entry(name.to_owned()).or_default();
        definitions.push(definition);
        Open::Symbol(name.to_owned())
    }

    fn attribute(&mut self, open: &Open, word: &str, rest: &str) {
        let condition = (word == "depends").then(|| rest.strip_prefix("on").unwrap_or(rest).trim().to_owned());
        match (open, condition) {
            (Open::Block, Some(condition)) => self.around.last_mut().into_iter().for_each(|block| {
                block.push(condition.clone());
            }),
            (Open::Symbol(name), condition) => {
                let definitions = self.kconfig.symbols.get_mut(name);
                let Some(definition) = definitions.and_then(|all| all.last_mut()) else {
                    return;
                };
                match (condition, word) {
                    (Some(condition), _) => definition.depends.push(condition),
                    (None, "bool" | "tristate" | "string" | "int" | "hex" | "prompt") => {
                        definition.prompt = prompt(rest).or(definition.prompt.take());
                    }
                    _ => {}
                }
            }
            (Open::Block | Open::Nothing, _) => {}
        }
    }

    /// The path of a `source` line; other variables than these lead nowhere, and so does the file.
    fn expand(&self, quoted: &str) -> String {
        let path = quoted.trim_matches('"');
        path.replace("$(SRCARCH)", self.architecture).replace("$(srctree)/", "")
    }
}

/// The condition of a prompt: `"text" if CONDITION`; nothing when there is no text.
fn prompt(rest: &str) -> Option<Option<String>> {
    let quote = rest.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    let after = rest[1..].split_once(quote)?.1;
    Some(
        after
            .trim()
            .strip_prefix("if ")
            .map(|condition| condition.trim().to_owned()),
    )
}

/// The lines without comments, each with those that continue it.
fn join_lines(text: &str) -> Vec<String> {
    let mut joined: Vec<String> = Vec::new();
    let mut continues = false;
    for line in text.lines() {
        let (line, more) = line.strip_suffix('\\').map_or((line, false), |line| (line, true));
        match joined.last_mut().filter(|_| continues) {
            Some(last) => last.push_str(line),
            None => joined.push(line.to_owned()),
        }
        continues = more;
    }
    joined
}

/// The first word of a line, and the rest without the comment.
fn split_word(line: &str) -> (&str, &str) {
    let line = line.trim();
    let line = match line.find('#') {
        // A `#` in quotes is text.
        Some(at) if line[..at].matches('"').count().is_multiple_of(2) => line[..at].trim_end(),
        _ => line,
    };
    line.split_once(char::is_whitespace)
        .map_or((line, ""), |(word, rest)| (word, rest.trim()))
}

/// A help text goes on for as long as its lines are indented like its first one.
fn skip_help<'l>(lines: &mut std::iter::Peekable<impl Iterator<Item = &'l str>>) {
    let mut wanted = None;
    while let Some(line) = lines.peek() {
        let blank = line.trim().is_empty();
        let found = indentation(line);
        if !blank && (found == 0 || found < *wanted.get_or_insert(found)) {
            return;
        }
        lines.next();
    }
}

fn indentation(line: &str) -> usize {
    let mut column = 0;
    for character in line.chars() {
        column = match character {
            ' ' => column + 1,
            '\t' => (column / TAB + 1) * TAB,
            _ => return column,
        };
    }
    column
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Kconfig {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Kconfig::read(directory.path(), "x86")
    }

    #[test]
    fn blocks_around_a_symbol_are_among_its_conditions() {
        let kconfig = read(&[
            (
                "Kconfig",
                "mainmenu \"Linux\"\nsource \"fs/Kconfig\"\nsource \"arch/$(SRCARCH)/Kconfig\"\nconfig AFTER\n\tbool\n",
            ),
            (
                "fs/Kconfig",
                "menu \"File systems\"\n\tdepends on BLOCK\nif MISC # odd ones\n\nsource \"fs/erofs/Kconfig\"\n\nendif\nendmenu\n",
            ),
            (
                "fs/erofs/Kconfig",
                "config EROFS_FS\n\ttristate \"EROFS\"\n\tdepends on A || \\\n\t\tB\n\thelp\n\t  if you\n\n\t  config FAKE\n\t  depends on nothing\n\nconfig EROFS_FS_ZIP\n\tbool \"with # zip\" if EXPERT\n\tdepends on EROFS_FS\n",
            ),
            ("arch/x86/Kconfig", "config X86\n\tdef_bool y\nif UNENDED\n"),
        ]);
        assert_eq!(
            kconfig.definitions("EROFS_FS"),
            [Definition {
                depends: vec!["BLOCK".into(), "MISC".into(), "A || \t\tB".into()],
                prompt: Some(None)
            }]
        );
        assert_eq!(
            kconfig.definitions("EROFS_FS_ZIP")[0].prompt,
            Some(Some("EXPERT".into()))
        );
        assert_eq!(kconfig.definitions("X86")[0].prompt, None);
        assert_eq!(kconfig.definitions("AFTER")[0].depends, Vec::<String>::new());
        assert!(kconfig.definitions("FAKE").is_empty());
    }

    #[test]
    fn files_that_lead_to_themselves_end() {
        let kconfig = read(&[("Kconfig", "config A\nsource \"Kconfig\"\nendmenu\nendif\n")]);
        assert_eq!(kconfig.definitions("A").len(), SOURCE_DEPTH + 1);
    }
}
