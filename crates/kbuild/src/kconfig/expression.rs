//! Conditions of Kconfig (`Documentation/kbuild/kconfig-language.rst`, "Menu dependencies"): three values, `!`, `&&`, `||`,
//! comparisons.

use crate::dotconfig::Values;

/// No condition of the kernel is nested as deep.
const DEPTH_MAX: usize = 64;

/// Off, a module, or built in; also whatever else is not off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tristate {
    /// `n`
    No,
    /// `m`
    Module,
    /// `y`
    Yes,
}

impl Tristate {
    /// That of a value in a `.config`; strings and numbers are on.
    pub(crate) fn of(value: Option<&str>) -> Self {
        match value {
            None | Some("n") => Self::No,
            Some("m") => Self::Module,
            Some(_) => Self::Yes,
        }
    }

    fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Module => Self::Module,
            Self::Yes => Self::No,
        }
    }
}

/// What a condition comes to with these values. What only the kernel's make can tell (`$(cc-option,…)`), or what cannot be
/// read, counts as fulfilled: this is for explanations.
pub(crate) fn evaluate(text: &str, values: &Values) -> Tristate {
    let tokens = tokens(text);
    let mut reader = Reader {
        tokens: &tokens,
        values,
    };
    reader.or(0).unwrap_or(Tristate::Yes)
}

/// The parts of a condition that must all hold: it is taken apart at each `&&` outside of parentheses, unless an `||` is
/// there too.
pub(crate) fn conjuncts(text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let mut depth = 0_i32;
    let mut parts: Vec<Vec<&str>> = vec![Vec::new()];
    for token in &tokens {
        match *token {
            "(" => depth += 1,
            ")" => depth -= 1,
            "||" if depth == 0 => return vec![text.trim().to_owned()],
            "&&" if depth == 0 => {
                parts.push(Vec::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(token);
        }
    }
    parts.iter().map(|part| shown(part)).collect()
}

/// Tokens as the kernel writes them: `A && !(B || C=y)`.
fn shown(tokens: &[&str]) -> String {
    let mut text = String::new();
    for token in tokens {
        if matches!(*token, "&&" | "||") {
            text.push_str(&format!(" {token} "));
        } else {
            text.push_str(token);
        }
    }
    text
}

/// Symbols, strings with their quotes, macros as a whole, operators.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' | '\'' => rest[1..].find(first).map_or(rest.len(), |end| end + 2),
            '$' => macro_length(rest),
            _ => operator(rest).map_or_else(|| word(rest), str::len),
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}

fn operator(text: &str) -> Option<&'static str> {
    let known = ["&&", "||", "!=", "<=", ">=", "(", ")", "!", "=", "<", ">"];
    known.into_iter().find(|operator| text.starts_with(operator))
}

fn word(text: &str) -> usize {
    let end = |c: char| c.is_whitespace() || "&|!=<>()\"'$".contains(c);
    match text.find(end) {
        // A character that begins nothing is a token by itself.
        Some(0) => text.chars().next().map_or(1, char::len_utf8),
        Some(length) => length,
        None => text.len(),
    }
}

/// The length of `$(name,…)` with all parentheses in it, or of the `$` alone.
fn macro_length(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            '(' => depth += 1,
            ')' if depth == 1 => return at + 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => return 1,
            _ => {}
        }
    }
    text.len()
}

struct Reader<'r> {
    tokens: &'r [&'r str],
    values: &'r Values,
}

impl<'r> Reader<'r> {
    fn next_is(&mut self, token: &str) -> bool {
        match self.tokens.split_first() {
            Some((first, rest)) if *first == token => {
                self.tokens = rest;
                true
            }
            _ => false,
        }
    }

    fn or(&mut self, depth: usize) -> Option<Tristate> {
        let mut value = self.and(depth)?;
        while self.next_is("||") {
            value = value.max(self.and(depth)?);
        }
        Some(value)
    }

    fn and(&mut self, depth: usize) -> Option<Tristate> {
        let mut value = self.unary(depth)?;
        while self.next_is("&&") {
            value = value.min(self.unary(depth)?);
        }
        Some(value)
    }

    fn unary(&mut self, depth: usize) -> Option<Tristate> {
        if depth > DEPTH_MAX {
            return None;
        }
        if self.next_is("!") {
            return self.unary(depth + 1).map(Tristate::not);
        }
        if self.next_is("(") {
            let value = self.or(depth + 1)?;
            return self.next_is(")").then_some(value);
        }
        self.comparison()
    }

    /// A symbol by itself, or two that are compared.
    fn comparison(&mut self) -> Option<Tristate> {
        let left = self.operand()?;
        let verdict = |holds| if holds { Tristate::Yes } else { Tristate::No };
        for (operator, equal) in [("=", true), ("!=", false)] {
            if self.next_is(operator) {
                let right = self.operand()?;
                return Some(match (left, right) {
                    (Operand::Unknown, _) | (_, Operand::Unknown) => Tristate::Yes,
                    (left, right) => verdict((left.text(self.values) == right.text(self.values)) == equal),
                });
            }
        }
        if matches!(self.tokens.first(), Some(&("<" | ">" | "<=" | ">="))) {
            self.tokens = &self.tokens[1..];
            self.operand()?;
            return Some(Tristate::Yes);
        }
        Some(match left {
            Operand::Unknown => Tristate::Yes,
            Operand::Constant(text) => Tristate::of(Some(text)),
            Operand::Symbol(name) => Tristate::of(self.values.get(name).map(String::as_str)),
        })
    }

    fn operand(&mut self) -> Option<Operand<'r>> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(match first.chars().next()? {
            '$' => Operand::Unknown,
            '"' | '\'' => Operand::Constant(first.trim_matches(['"', '\''])),
            _ if matches!(*first, "y" | "m" | "n") => Operand::Constant(first),
            _ if operator(first).is_some() => return None,
            digit if digit.is_ascii_digit() && first.chars().all(|c| c.is_ascii_hexdigit() || c == 'x') => {
                Operand::Constant(first)
            }
            _ => Operand::Symbol(first),
        })
    }
}

#[derive(Clone, Copy)]
enum Operand<'r> {
    Symbol(&'r str),
    Constant(&'r str),
    Unknown,
}

impl<'r> Operand<'r> {
    /// As text, without quotes; a symbol that is off is `n`.
    fn text(self, values: &'r Values) -> &'r str {
        match self {
            Self::Symbol(name) => values.get(name).map_or("n", |value| value.trim_matches('"')),
            Self::Constant(text) => text,
            Self::Unknown => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tristate::{Module, No, Yes};
    use super::*;

    #[test]
    fn conditions_come_to_what_the_kernels_own_tool_says() {
        let pairs = [("A", "y"), ("B", "m"), ("S", "\"x86\""), ("N", "64")];
        let values: Values = pairs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        for (text, expected) in [
            ("A", Yes),
            ("B", Module),
            ("C", No),
            ("!C", Yes),
            ("!B", Module),
            ("A && B", Module),
            ("A && B && C", No),
            ("C || B", Module),
            ("C || (A && !C)", Yes),
            ("B=m && A!=n", Yes),
            ("B=y || B=n", No),
            ("S=\"x86\"", Yes),
            ("S != 'arm'", Yes),
            ("N=64", Yes),
            ("N=32", No),
            ("C=n", Yes),
            ("m", Module),
            ("$(cc-option,-mfoo (a))", Yes),
            ("$(success,x) && C", No),
            ("GCC_VERSION >= 120000", Yes),
            ("A &&", Yes),
            ("(C", Yes),
            ("", Yes),
            ("é", No),
        ] {
            assert_eq!(evaluate(text, &values), expected, "{text}");
        }
        assert_eq!(evaluate(&"(".repeat(10_000), &values), Yes);
    }

    #[test]
    fn what_must_all_hold_is_taken_apart() {
        assert_eq!(conjuncts("A && (B || C=y) && !D"), ["A", "(B || C=y)", "!D"]);
        assert_eq!(conjuncts("A && B || C"), ["A && B || C"]);
        assert_eq!(conjuncts("$(m,a && b) && C"), ["$(m,a && b)", "C"]);
    }
}
