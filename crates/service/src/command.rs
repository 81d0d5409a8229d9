//! A command line: words for `execve`, or a line for `/bin/sh`.

use std::fmt;

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    line: Box<str>,
    words: Words,
}

/// The arguments of a command, as far as its line does not say them by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Words {
    /// What is between single spaces.
    AsWritten,
    /// A shell's: it is given the line.
    ForShell,
    /// These, with a NUL between each two.
    Split(Box<str>),
}

/// Why a command line cannot be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandError {
    /// No word in it.
    Empty,
    /// A quote that is never closed.
    OpenQuote(char),
    /// Ends in a lone backslash.
    OpenEscape,
    /// A NUL byte, which no argument can hold.
    Nul,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the command is empty"),
            Self::OpenQuote(quote) => write!(f, "the quote {quote} is never closed"),
            Self::OpenEscape => f.write_str("the command ends in a lone backslash"),
            Self::Nul => f.write_str("the command holds a NUL character"),
        }
    }
}

impl std::error::Error for CommandError {}

/// Unquoted, these mean something to a shell.
const META: &str = "|&;<>()$`*?[]{}\n";

/// These still mean something between double quotes.
const META_IN_DOUBLE_QUOTES: &str = "$`";

/// First words that only a shell can run, because they change or are part of the shell itself.
const SHELL_WORDS: [&str; 18] = [
    ".", ":", "!", "case", "cd", "eval", "exec", "exit", "export", "for", "if", "set", "trap", "ulimit", "umask",
    "until", "wait", "while",
];

impl Command {
    /// Splits `line` as a shell would. With `shell` absent, `/bin/sh -c` is used only for a line that needs it; with
    /// `Some(false)` such characters stand for themselves.
    ///
    /// # Errors
    /// When the line has no word, an open quote, or a NUL character.
    pub fn parse(line: &str, shell: Option<bool>) -> Result<Self, CommandError> {
        if line.contains('\0') {
            return Err(CommandError::Nul);
        }
        let mut splitter = Splitter::default();
        let split = line.chars().try_for_each(|character| splitter.take(character));
        let words = split.and_then(|()| splitter.finish());
        let needs_shell = splitter.meta || words.as_ref().is_ok_and(|words| starts_like_a_shell(words));
        if shell.unwrap_or(needs_shell) {
            return Self::for_shell(line);
        }
        let argv = words?;
        if argv.is_empty() {
            return Err(CommandError::Empty);
        }
        let words = match line.split(' ').eq(argv.iter().map(String::as_str)) {
            true => Words::AsWritten,
            false => Words::Split(argv.join("\0").into()),
        };
        Ok(Self {
            line: line.into(),
            words,
        })
    }

    fn for_shell(line: &str) -> Result<Self, CommandError> {
        if line.trim().is_empty() {
            return Err(CommandError::Empty);
        }
        Ok(Self {
            line: line.into(),
            words: Words::ForShell,
        })
    }

    /// As written.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The arguments, at least one. The first may lack a slash: then it is looked for in `PATH`.
    pub fn argv(&self) -> Vec<&str> {
        match &self.words {
            Words::AsWritten => self.line.split(' ').collect(),
            Words::ForShell => vec!["/bin/sh", "-c", &self.line],
            Words::Split(words) => words.split('\0').collect(),
        }
    }
}

fn starts_like_a_shell(words: &[String]) -> bool {
    let Some(first) = words.first() else { return false };
    let assigns = first.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    });
    assigns || SHELL_WORDS.contains(&first.as_str())
}

#[derive(Debug, Default)]
struct Splitter {
    words: Vec<String>,
    /// The word being read; `Some("")` after an empty pair of quotes.
    word: Option<String>,
    quote: Option<char>,
    escaped: bool,
    meta: bool,
}

impl Splitter {
    fn take(&mut self, character: char) -> Result<(), CommandError> {
        if self.escaped {
            self.escaped = false;
            self.take_escaped(character);
            return Ok(());
        }
        match (self.quote, character) {
            (Some('\''), '\'') | (Some('"'), '"') => self.quote = None,
            (Some('\''), _) => self.add(character),
            (_, '\\') => self.escaped = true,
            (Some(_), _) => {
                self.meta |= META_IN_DOUBLE_QUOTES.contains(character);
                self.add(character);
            }
            (None, '\'' | '"') => {
                self.quote = Some(character);
                self.word.get_or_insert_default();
            }
            (None, ' ' | '\t') => self.words.extend(self.word.take()),
            (None, _) => {
                let starts_word = self.word.is_none() && "~#".contains(character);
                self.meta |= starts_word || META.contains(character);
                self.add(character);
            }
        }
        Ok(())
    }

    /// Between double quotes a backslash only escapes what is special there (POSIX, 2.2.3).
    fn take_escaped(&mut self, character: char) {
        if self.quote == Some('"') && !"$`\"\\\n".contains(character) {
            self.add('\\');
        }
        self.add(character);
    }

    fn add(&mut self, character: char) {
        self.word.get_or_insert_default().push(character);
    }

    fn finish(&mut self) -> Result<Vec<String>, CommandError> {
        if let Some(quote) = self.quote {
            return Err(CommandError::OpenQuote(quote));
        }
        if self.escaped {
            return Err(CommandError::OpenEscape);
        }
        self.words.extend(self.word.take());
        Ok(std::mem::take(&mut self.words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn argv(line: &str) -> Vec<String> {
        let command = Command::parse(line, None).expect("a command");
        command.argv().into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn words_need_no_shell() {
        assert_eq!(argv("/bin/web  --port 80\t-v"), ["/bin/web", "--port", "80", "-v"]);
        assert_eq!(
            argv(r#"web 'a b' "c \"d\" \e" f\ g '' x=y"#),
            ["web", "a b", r#"c "d" \e"#, "f g", "", "x=y"]
        );
        assert_eq!(argv("web '$HOME;'"), ["web", "$HOME;"]);
    }

    #[test]
    fn metacharacters_and_shell_words_do() {
        for line in [
            "a | b",
            "a; b",
            "echo \"$HOME\"",
            "ls *.c",
            "X=1 web",
            "exec web",
            "echo ~",
            "a # b",
            "a\nb",
        ] {
            assert_eq!(argv(line), ["/bin/sh", "-c", line]);
        }
    }

    #[test]
    fn the_file_may_decide() {
        let forced = Command::parse("web -v", Some(true)).unwrap();
        assert_eq!(forced.argv(), ["/bin/sh", "-c", "web -v"]);
        let literal = Command::parse("web a*b $c", Some(false)).unwrap();
        assert_eq!(literal.argv(), ["web", "a*b", "$c"]);
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Command::parse("  ", None), Err(CommandError::Empty));
        assert_eq!(Command::parse(" ", Some(true)), Err(CommandError::Empty));
        assert_eq!(Command::parse("a 'b", None), Err(CommandError::OpenQuote('\'')));
        assert_eq!(Command::parse("a \\", None), Err(CommandError::OpenEscape));
        assert_eq!(Command::parse("a\0b", None), Err(CommandError::Nul));
    }

    proptest! {
        #[test]
        fn single_quotes_carry_anything(words in proptest::collection::vec("[^'\0]{0,9}", 1..5)) {
            let line = format!("prog {}", words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "));
            prop_assert_eq!(&argv(&line)[1..], &words[..]);
        }

        #[test]
        fn never_panics(line in "\\PC*") {
            let _ = Command::parse(&line, None);
        }
    }
}
