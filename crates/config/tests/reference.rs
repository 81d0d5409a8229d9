//! `docs/config.md`: every example in it is what it says.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The examples: the file that each belongs to (empty for a part of one), and its text.
fn examples() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.md");
    let text = fs::read_to_string(path).unwrap();
    let mut examples = Vec::new();
    for block in text.split("\n```toml").skip(1) {
        let (file, rest) = block.split_once('\n').unwrap();
        let (body, _) = rest.split_once("\n```").unwrap();
        examples.push((file.trim().to_owned(), format!("{body}\n")));
    }
    examples
}

fn write(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// What the files of a repository come to, with what they refer to beside them.
fn problems(files: &BTreeMap<String, String>) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in files {
        write(folder.path(), file, text);
    }
    for file in [
        "files/web/index.html",
        "firmware/x.bin",
        "programs/agent/agent",
        "keys/alpine/x.rsa.pub",
    ] {
        write(folder.path(), file, "");
    }
    write(folder.path(), "keys/dev.pub", "");
    let service = "[service]\nname = \"corex\"\nexec = \"/var/cache/bin/corex\"\n";
    write(folder.path(), "services/corex.service.toml", service);
    match mos_config::load(folder.path()) {
        Ok(loaded) => loaded
            .problems(None)
            .iter()
            .map(|problem| format!("{problem}\n"))
            .collect(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_example_is_sound() {
    let mut files = BTreeMap::new();
    let mut projects = Vec::new();
    for (file, text) in examples() {
        match file.as_str() {
            "" => projects.push(format!("[project]\nname = \"lab\"\n{text}")),
            "mos.toml" => projects.push(text),
            _ => assert_eq!(files.insert(file, text), None, "each file once"),
        }
    }
    assert!(files.len() >= 8 && projects.len() >= 3, "{files:?}");
    for project in projects {
        files.insert("mos.toml".to_owned(), project.clone());
        assert_eq!(problems(&files), "", "{project}");
    }
}

#[test]
fn what_does_not_go_together_is_told() {
    let mut files = BTreeMap::new();
    let project =
        "[project]\nname = \"lab\"\n[kernel]\nsource = \"linux-source-6.12\"\n[image]\ninitramfs = \"embedded\"\n";
    files.insert("mos.toml".to_owned(), project.to_owned());
    let environment =
        "channel = \"http://lab\"\ntrust = \"keys/dev.pub\"\n[image]\npcr_policy = \"keys/secure-boot/pcr\"\n";
    files.insert("environments/dev.toml".to_owned(), environment.to_owned());
    let component =
        "[source]\nkind = \"release\"\nurl = \"files/gone\"\nversion = \"1\"\n[install]\nbinaries = [\"gone\"]\n";
    files.insert("components/gone.toml".to_owned(), component.to_owned());
    let said = problems(&files);
    for expected in [
        "environments/dev.toml:4:14: `pcr_policy` needs a unified kernel image",
        "components/gone.toml:3:7: `files/gone` does not exist",
    ] {
        assert!(said.contains(expected), "{expected} is not in:\n{said}");
    }
}
