//! Conditions: what has to be so for a service to make sense on a node.

use std::fmt;

/// One condition. All conditions of a service have to hold when it starts, or it is skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// There is such a file, directory or device.
    PathExists(String),
    /// There is none.
    PathNotExists(String),
    /// There is such a directory, and something in it.
    DirectoryNotEmpty(String),
    /// The kernel was given this argument.
    KernelArgument(Argument),
    /// The kernel was not given this argument.
    NoKernelArgument(Argument),
}

/// An argument of the kernel: with a value, or with any or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    name: String,
    value: Option<String>,
}

impl Argument {
    /// Reads `name` or `name=value`; `None` for what cannot be one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let good = !name.is_empty() && !name.contains(char::is_whitespace);
        good.then(|| Self {
            name: name.to_owned(),
            value,
        })
    }

    /// True when this word of the kernel command line is it.
    pub fn is(&self, word: &str) -> bool {
        let (name, value) = word
            .split_once('=')
            .map_or((word, None), |(name, value)| (name, Some(value)));
        name == self.name && (self.value.is_none() || self.value.as_deref() == value)
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl Condition {
    /// What is so when it does not hold, in words.
    pub fn unmet(&self) -> String {
        match self {
            Self::PathExists(path) => format!("{path} does not exist"),
            Self::PathNotExists(path) => format!("{path} exists"),
            Self::DirectoryNotEmpty(path) => format!("{path} is no directory, or empty"),
            Self::KernelArgument(argument) => format!("the kernel was started without {argument}"),
            Self::NoKernelArgument(argument) => format!("the kernel was started with {argument}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Argument;

    #[test]
    fn an_argument_is_a_name_or_a_name_with_its_value() {
        let is = |argument: &str, word: &str| Argument::parse(argument).is_some_and(|argument| argument.is(word));
        assert!(is("debug", "debug") && is("debug", "debug=1") && is("debug=1", "debug=1") && is("a=", "a="));
        assert!(!is("debug=1", "debug") && !is("debug=1", "debug=10") && !is("debug", "debugger"));
        assert_eq!((Argument::parse("=1"), Argument::parse("a b")), (None, None));
    }
}
