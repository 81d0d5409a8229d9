//! Commands that texts name: each is one that this program takes.

use clap::CommandFactory as _;

/// The commands `mos …` of a text: in lines of scripts and in back quotes, without what is behind `#` or a shell operator.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines() {
        let quoted = line.split('`').skip(1).step_by(2);
        let script = line.trim().trim_start_matches("run: ").trim_start_matches("$ ");
        for piece in quoted.chain([script]) {
            let end = piece.find(['#', '|', ';', '>']).unwrap_or(piece.len());
            let command = piece[..end].split("&&").next().unwrap_or_default().trim();
            if command.starts_with("mos ") && !command.contains('…') {
                found.push(command.to_owned());
            }
        }
    }
    found
}

/// Complains of the first command that this program does not take.
fn check(name: &str, text: &str, at_least: usize) {
    let commands = commands(text);
    assert!(commands.len() >= at_least, "{name}: only {commands:?}");
    for command in commands {
        let words = command.split_whitespace().map(|word| word.trim_matches(['"', '\'']));
        if let Err(error) = crate::Cli::command().try_get_matches_from(words) {
            use clap::error::ErrorKind;
            let fine = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            assert!(fine, "{name}: {command}\n{error}");
        }
    }
}

#[test]
fn workflows_use_commands_that_exist() {
    check("github.yml", mos_config::Ci::GitHub.text(), 5);
    check("forgejo.yml", mos_config::Ci::Forgejo.text(), 5);
}

#[test]
fn the_container_file_uses_commands_that_exist() {
    let text = include_str!("../../../Containerfile");
    assert!(
        text.contains("scripts/deps.sh run") && text.contains("cargo xtask build"),
        "{text}"
    );
    check("Containerfile", &text.replace("mos mos", "\nmos"), 2);
}

#[test]
fn the_reference_of_settings_uses_commands_that_exist() {
    check("config.md", include_str!("../../../docs/config.md"), 4);
}

#[test]
fn the_way_from_mos_builder_is_one_of_commands_that_exist() {
    check(
        "from-mos_builder.md",
        include_str!("../../../docs/from-mos_builder.md"),
        30,
    );
}

/// `NAME in FILE` of the table of mistakes.
fn named_tests(page: &str) -> Vec<(&str, &str)> {
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains("` in `"));
    let words = rows.flat_map(|row| row.rsplit(" | ").next().unwrap_or_default().split(", "));
    words
        .filter_map(|test| test.trim_matches(['`', '|', ' ']).split_once("` in `"))
        .collect()
}

#[test]
fn tests_that_architecture_names_exist() {
    let tests = named_tests(include_str!("../../../ARCHITECTURE.md"));
    assert!(tests.len() >= 11, "{tests:?}");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (name, file) in tests {
        let text = std::fs::read_to_string(root.join(file)).unwrap_or_default();
        assert!(text.contains(&format!("fn {name}()")), "{file} has no test {name}");
    }
}

#[test]
fn commands_are_found_in_texts() {
    let text =
        "run: mos a b # c\n  mos d | mos e\n| `mos f` | `x` or `mos g --h` |\nmosaic\n$ mos i && mos j\n`mos …`\n";
    assert_eq!(commands(text), ["mos a b", "mos d", "mos f", "mos g --h", "mos i"]);
}
