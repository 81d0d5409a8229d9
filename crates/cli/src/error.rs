//! The errors of the command line: a kind, which decides the exit code; what happened; and what to do about it. A bug
//! (a panic) is none of these: it ends with [`BUG`].

use std::fmt;
use std::process::ExitCode;

use crate::output;

/// What sort of failure it is. The exit codes are part of the interface (see ARCHITECTURE.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A check found a problem, or a build failed.
    Problem = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// A signature, digest or rule of trust does not hold.
    Trust = 3,
    /// Something is not there, or cannot be reached.
    NotFound = 4,
    /// Something else holds a lock, or two things contradict each other.
    Conflict = 5,
}

impl Kind {
    /// The kind behind an exit code of this program.
    pub(crate) fn of_code(code: i32) -> Self {
        match code {
            2 => Self::Usage,
            3 => Self::Trust,
            4 => Self::NotFound,
            5 => Self::Conflict,
            _ => Self::Problem,
        }
    }
}

/// The exit code of a bug in MOS (EX_SOFTWARE of sysexits.h).
pub(crate) const BUG: u8 = 70;

/// A failure as the user sees it.
#[derive(Debug)]
pub(crate) struct CliError {
    kind: Kind,
    message: String,
    hints: Vec<String>,
}

pub(crate) type Result<T> = std::result::Result<T, CliError>;

impl CliError {
    /// Changes the message line by line.
    pub(crate) fn map_lines(mut self, change: impl Fn(&str) -> String) -> Self {
        self.message = self.message.lines().map(change).collect::<Vec<_>>().join("\n");
        self
    }

    /// Problems of configuration bring the word with them that every error begins with.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            kind,
            message: message.strip_prefix("error: ").map_or(message.clone(), str::to_owned),
            hints: Vec::new(),
        }
    }

    pub(crate) fn problem(message: impl Into<String>) -> Self {
        Self::new(Kind::Problem, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// A failure that has been told already, as its result: only the exit code is left.
    pub(crate) fn said(kind: Kind) -> Self {
        Self::new(kind, "")
    }

    pub(crate) fn is_said(&self) -> bool {
        self.message.is_empty()
    }

    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        self.hints.iter().try_for_each(|hint| write!(f, "\n  hint: {hint}"))
    }
}

/// Every complaint about the config repository, one under the other.
pub(crate) fn problems(problems: &[mos_toml::Problem]) -> CliError {
    let errors = problems
        .iter()
        .filter(|problem| problem.severity == mos_toml::Severity::Error)
        .count();
    for problem in problems {
        output::say(problem);
    }
    found(errors)
}

/// So many errors were printed.
pub(crate) fn found(errors: usize) -> CliError {
    let noun = if errors == 1 { "error" } else { "errors" };
    CliError::problem(format!("the config repository has {errors} {noun}"))
}

impl From<mos_store::StoreError> for CliError {
    fn from(error: mos_store::StoreError) -> Self {
        use mos_store::StoreError as E;
        let kind = match &error {
            E::NotFound { .. } | E::Unreachable { .. } => Kind::NotFound,
            E::Untrusted { .. } | E::OutOfDate { .. } => Kind::Trust,
            E::BadUrl { .. } | E::BadName(_) | E::NoAuthority { .. } => Kind::Usage,
            E::Io { source, .. } => return system(source.kind(), error.to_string()),
            E::Full { .. } => return system(std::io::ErrorKind::StorageFull, error.to_string()),
            _ => Kind::Problem,
        };
        Self::new(kind, error.to_string())
    }
}

/// Adds the path to an I/O error.
pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> CliError + '_ {
    move |error| system(error.kind(), format!("{}: {error}", path.display()))
}

/// An error of the operating system, with what can be done about the usual ones.
pub(crate) fn system(kind: std::io::ErrorKind, message: impl Into<String>) -> CliError {
    use std::io::ErrorKind as E;
    match kind {
        E::NotFound => CliError::not_found(message),
        E::PermissionDenied => CliError::problem(message).with_hint("the user who runs this has no right to do that"),
        E::StorageFull | E::QuotaExceeded => CliError::problem(message).with_hint("make room, or write somewhere else"),
        _ => CliError::problem(message),
    }
}
