//! `docs/cli.md`: every help text in one file, made from the same definitions that the program parses with.

use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};

const HEAD: &str = "\
# Command line

Every verb of `mos` as `mos VERB --help` prints it. Generated; after a change of a help text, write it anew with

    UPDATE_EXPECT=1 cargo test -p mos --bin mos reference

Results go to standard output and everything else to standard error, so that every result can be piped; `--json` gives
it to programs.
";

/// The reference as Markdown.
fn markdown() -> String {
    let mut root = crate::Cli::command().term_width(100);
    root.build();
    let mut text = HEAD.to_owned();
    section(&mut root, &mut text);
    text
}

/// One command, then those below it; `help` is described by all others.
fn section(command: &mut Command, text: &mut String) {
    let name = command.get_bin_name().unwrap_or("mos").to_owned();
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
    let _ = write!(text, "\n## {name}\n\n```text\n{}\n```\n", lines.join("\n"));
    for verb in command.get_subcommands_mut().filter(|verb| verb.get_name() != "help") {
        section(verb, text);
    }
}

#[test]
fn reference_is_up_to_date() {
    expect_test::expect_file!["../../../docs/cli.md"].assert_eq(&markdown());
}

#[test]
fn definitions_make_sense() {
    crate::Cli::command().debug_assert();
}
