//! `docs/pid1.md` names every signal and every word of the kernel command line that PID 1 knows, and no other.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use my_init::signals::SIGNALS;

const PAGE: &str = include_str!("../../../docs/pid1.md");
const SOURCE: &str = include_str!("../src/boot/command_line.rs");

/// Everything that begins like this and goes on with letters.
fn words(text: &str, begin: &str) -> BTreeSet<String> {
    let ends = |character: char| !(character.is_ascii_alphanumeric() || "_.+".contains(character));
    let found = text.match_indices(begin).map(|(at, _)| {
        let word = &text[at..];
        word[..word.find(ends).unwrap_or(word.len())]
            .trim_end_matches('.')
            .to_owned()
    });
    found.filter(|word| word != begin).collect()
}

#[test]
fn every_word_of_the_kernel_command_line_is_described() {
    let known = words(SOURCE, "my_init.");
    let described: BTreeSet<String> = words(PAGE, "my_init.");
    assert!(known.len() > 8, "{known:?}");
    assert_eq!(known, described);
}

#[test]
fn every_signal_is_described() {
    let table = PAGE.split("## Signals").nth(1).unwrap().split("## ").next().unwrap();
    for (_, _, name) in SIGNALS {
        let name = name.split(',').next().unwrap();
        assert!(table.contains(&format!("`{name}`")), "{name}");
    }
}
