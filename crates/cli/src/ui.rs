//! What is said to the user while work goes on: a progress line on a terminal, plain lines otherwise.

use std::io::IsTerminal as _;
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
        let text = text.into();
        if self.quiet || !self.terminal {
            return Work {
                ui: self.clone(),
                bar: None,
            };
        }
        let style = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]");
        let bar = ProgressBar::new_spinner().with_message(text);
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Work {
            ui: self.clone(),
            bar: Some(bar),
        }
    }
}

impl Work {
    /// One line that stays.
    pub(crate) fn line(&self, text: impl AsRef<str>) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => self.ui.line(text),
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
