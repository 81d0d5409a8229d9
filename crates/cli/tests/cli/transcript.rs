//! What a run printed, as a text that is the same on every machine.

use std::path::Path;
use std::process::Command;

/// Whoever comes first downloads a package; the tests share their downloads.
const DOWNLOAD: &str = "downloading ";
/// Hexadecimal digits from which on a word is a digest.
const DIGEST: usize = 12;
const UNITS: [&str; 5] = ["B", "bytes", "KiB", "MiB", "GiB"];

/// Runs a command: standard output as it is, standard error behind `! `, and the exit code unless it is 0.
///
/// Downloads are left out; the folder is written `[HERE]`, digests `[HEX]`, sizes `[SIZE]`; columns are two spaces apart.
pub(crate) fn transcript(command: &mut Command, here: &Path) -> String {
    let output = command.output().unwrap();
    let mut text = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    for line in said.lines().filter(|line| !line.starts_with(DOWNLOAD)) {
        text.push_str(format!("! {line}").trim_end());
        text.push('\n');
    }
    match output.status.code() {
        Some(0) => {}
        Some(code) => text.push_str(&format!("[exit {code}]\n")),
        None => text.push_str(&format!("[{}]\n", output.status)),
    }
    normal(&text.replace(here.to_str().unwrap(), "[HERE]"))
}

/// Replaces what differs from run to run.
fn normal(text: &str) -> String {
    text.lines().map(|line| normal_line(line) + "\n").collect()
}

fn normal_line(line: &str) -> String {
    let body = line.trim_start_matches(' ');
    let indent = &line[..line.len() - body.len()];
    let cells = body.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
    let cells: Vec<String> = cells.map(|cell| sizes(&digests(cell))).collect();
    format!("{indent}{}", cells.join("  "))
}

/// Digests, wherever they stand in a line.
fn digests(cell: &str) -> String {
    let mut text = String::new();
    let mut word = String::new();
    // The character at the end only closes the last word.
    for character in cell.chars().chain(['\n']) {
        if character.is_ascii_alphanumeric() {
            word.push(character);
            continue;
        }
        let digest = word.len() >= DIGEST && word.chars().all(|digit| digit.is_ascii_hexdigit());
        text.push_str(if digest { "[HEX]" } else { &word });
        word.clear();
        text.push(character);
    }
    text.trim_end_matches('\n').to_owned()
}

/// A number and a unit, whatever brackets and commas are around them.
fn sizes(cell: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in cell.split(' ') {
        let unit = word.trim_end_matches([',', '.', ';', ')']);
        let number = words.last().map(|last| last.trim_start_matches('('));
        if UNITS.contains(&unit) && number.is_some_and(|number| number.parse::<f64>().is_ok()) {
            let bracket = if words.pop().is_some_and(|last| last.starts_with('(')) {
                "("
            } else {
                ""
            };
            words.push(format!("{bracket}[SIZE]{}", &word[unit.len()..]));
        } else {
            words.push(word.to_owned());
        }
    }
    words.join(" ")
}

#[test]
fn what_differs_is_replaced_and_nothing_else() {
    let digest = "0123456789abcdef";
    let line = format!("  sha256:{digest}  12.5 KiB, (7 bytes) in   3 files, port 8480, deadbeef.");
    assert_eq!(
        normal(&line),
        "  sha256:[HEX]  [SIZE], ([SIZE]) in  3 files, port 8480, deadbeef.\n"
    );
}
