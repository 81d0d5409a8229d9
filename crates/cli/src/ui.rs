//! What is said to the user while work goes on: a progress line on a terminal, plain lines otherwise.

use std::io::{IsTerminal as _, Write as _};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::output;

/// How talkative to be; made once from the global options.
#[derive(Debug, Clone)]
pub(crate) struct Ui {
    quiet: bool,
    terminal: bool,
}

/// A piece of work under way. Dropping it clears the progress line.
pub(crate) struct Work {
    ui: Ui,
    bar: Option<ProgressBar>,
}

impl Ui {
    /// `quiet` silences everything but results and errors.
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            quiet,
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// One line that stays.
    pub(crate) fn line(&self, text: impl AsRef<str>) {
        if !self.quiet {
            output::say(text.as_ref());
        }
    }

    /// Begins a piece of work that is shown until it is dropped; nothing of it is shown on a pipe but its lines.
    pub(crate) fn work(&self, text: impl Into<String>) -> Work {
        self.begin(ProgressBar::new_spinner(), "{spinner} {msg} [{elapsed}]", text.into())
    }

    /// Begins a piece of work that is measured in bytes: rate and, when it is known how many there are, time left.
    pub(crate) fn transfer(&self, text: impl Into<String>, total: Option<u64>) -> Work {
        match total {
            Some(total) => self.begin(ProgressBar::new(total), TRANSFER, text.into()),
            None => self.begin(ProgressBar::new_spinner(), COUNT, text.into()),
        }
    }

    fn begin(&self, bar: ProgressBar, template: &str, text: String) -> Work {
        if self.quiet || !self.terminal {
            return Work {
                ui: self.clone(),
                bar: None,
            };
        }
        let style = ProgressStyle::with_template(template).expect("the templates are constants, and a test reads them");
        bar.set_style(style.progress_chars("=> "));
        bar.set_message(text);
        bar.enable_steady_tick(TICK);
        Work {
            ui: self.clone(),
            bar: Some(bar),
        }
    }

    /// Asks for a yes on a terminal; without one nobody is asked, and the answer is no.
    pub(crate) fn confirm(&self, question: &str) -> bool {
        let mut answer = String::new();
        if !self.terminal || !std::io::stdin().is_terminal() {
            return false;
        }
        let asked = write!(std::io::stderr(), "{question} [y/N] ").is_ok();
        asked && std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    }
}

/// How often what is shown changes.
const TICK: Duration = Duration::from_millis(100);

const TRANSFER: &str =
    "{spinner} {msg} [{bar:20}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
const COUNT: &str = "{spinner} {msg} {binary_bytes}, {binary_bytes_per_sec} [{elapsed}]";

impl Work {
    /// One line that stays.
    pub(crate) fn line(&self, text: impl AsRef<str>) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => self.ui.line(text),
        }
    }

    /// So many bytes are done.
    pub(crate) fn reached(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
        }
    }

    /// So many more bytes are done.
    pub(crate) fn advance(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    /// Does something while `bytes` is asked how far it is.
    pub(crate) fn follow<T>(&self, bytes: impl Fn() -> u64 + Send, work: impl FnOnce() -> T) -> T {
        std::thread::scope(|scope| {
            let (end, ended) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || {
                while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(TICK) {
                    self.reached(bytes());
                }
            });
            let result = work();
            drop(end);
            result
        })
    }

    /// There are so many bytes in all.
    pub(crate) fn total(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(bytes);
        }
    }

    /// Says how far it is; only shown on a terminal.
    pub(crate) fn update(&self, text: impl Into<String>) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.into());
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `1 blob`, `2 blobs`.
pub(crate) fn count(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Bytes for people: `12.3 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    HumanBytes(count).to_string()
}

/// A table with two-space gutters; the last column is not padded.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = header
        .iter()
        .enumerate()
        .map(|(column, title)| {
            let cells = rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count());
            cells.chain([title.chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: &[&str]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}", width = *width))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(header)];
    lines.extend(
        rows.iter()
            .map(|row| line(&row.iter().map(String::as_str).collect::<Vec<_>>())),
    );
    lines.join("\n")
}

/// Names and values, one pair per line, the values below each other.
pub(crate) fn pairs(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines = rows.iter().map(|(name, value)| format!("{name:<width$}  {value}"));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_ones() {
        for template in [TRANSFER, COUNT] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
