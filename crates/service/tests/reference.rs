//! `docs/services.md` has every key that is read, and its examples are services.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

use mos_service::parse;

const DOCUMENT: &str = include_str!("../../../docs/services.md");
/// Near to no key, so that the reader names them all.
const UNKNOWN: &str = "zzzzzzzzzzzzzzzzzzzz";

/// What the reader itself names to somebody who gives nothing that it knows.
fn valid(text: &str) -> Vec<String> {
    let problems = parse("a.toml", text).problems;
    assert_eq!(problems.len(), 1, "{text}: {problems:?}");
    let hint = problems[0].hint.clone().unwrap();
    let names = hint.strip_prefix("valid keys: ").unwrap_or_else(|| panic!("{hint}"));
    names.split(", ").map(str::to_owned).collect()
}

fn keys(section: &str) -> Vec<String> {
    let unknown = format!("{UNKNOWN} = 1\n");
    match section {
        "service" => valid(&format!("[service]\nexec = \"x\"\n{unknown}")),
        "group" => valid(&format!("[group]\nmembers = [\"x\"]\n{unknown}")),
        "target" => valid(&format!("[target]\n{unknown}")),
        "timer" => valid(&format!(
            "[service]\nexec = \"x\"\noneshot = true\n[timer]\nevery = \"1 s\"\n{unknown}"
        )),
        "proxy" => valid(&format!(
            "[proxy]\nservice = \"a\"\nbackend = \"/x\"\n{unknown}[socket]\nlisten = [\"/y\"]\n"
        )),
        "socket" => valid(&format!(
            "[service]\nexec = \"x\"\n[socket]\nlisten = [\"/x\"]\n{unknown}"
        )),
        "health" => valid(&format!(
            "[service]\nexec = \"x\"\n[health]\ntype = \"tcp\"\ntarget = \":1\"\n{unknown}"
        )),
        section => valid(&format!("[service]\nexec = \"x\"\n[{section}]\n{unknown}")),
    }
}

/// What the document says between a section's heading and the next one.
fn chapter(section: &str) -> &str {
    let heading = format!("\n## `[{section}]`");
    let start = DOCUMENT
        .find(&heading)
        .unwrap_or_else(|| panic!("no heading for [{section}]"));
    let rest = &DOCUMENT[start + 1..];
    &rest[..rest.find("\n## ").unwrap_or(rest.len())]
}

#[test]
fn every_key_is_described_in_the_chapter_of_its_section() {
    let sections = valid(&format!("[service]\nexec = \"x\"\n[{UNKNOWN}]\n"));
    assert!(sections.len() >= 9, "{sections:?}");
    for section in sections {
        for key in keys(&section) {
            assert!(
                chapter(&section).contains(&format!("`{key}`")),
                "docs/services.md does not describe `{key}` in [{section}]"
            );
        }
    }
}

#[test]
fn every_key_of_an_edge_is_described() {
    let edge = format!("[service]\nexec = \"x\"\n[dependencies]\nrequires = [{{ name = \"a\", {UNKNOWN} = 1 }}]\n");
    for key in valid(&edge) {
        assert!(chapter("dependencies").contains(&format!("`{key}`")), "{key}");
    }
}

#[test]
fn examples_are_services() {
    let blocks: Vec<&str> = DOCUMENT.split("```toml\n").skip(1).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let text = block.split("```").next().unwrap();
        let parsed = parse("web.service.toml", text);
        assert_eq!(parsed.problems, [], "{text}");
        assert!(parsed.service.is_some());
    }
}
