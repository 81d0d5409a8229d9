//! Settings of a kernel: `image/kernel.config` and `image/kernel.d/*.config`, in the form of the kernel's own `.config`.
//!
//! ```text
//! # a comment
//! CONFIG_EXT4_FS=y
//! # CONFIG_SOUND is not set
//! CONFIG_LOG_BUF_SHIFT=14
//! ```
//!
//! Files count in the order of their names, `kernel.config` first; a later one has the last word.

use std::collections::BTreeMap;

use mos_toml::{Position, Problem, Problems};
use serde::Serialize;

/// What every name begins with in a file.
const PREFIX: &str = "CONFIG_";

/// One setting that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KernelSetting {
    /// Without `CONFIG_`.
    pub name: String,
    /// As a `.config` has it: `y`, `m`, `n` (also for "is not set"), a number, a string with its quotes.
    pub value: String,
    /// Where it is asked for: file and line.
    pub place: String,
}

/// The settings that the files of a repository ask for, by file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelConfig {
    files: BTreeMap<String, Vec<KernelSetting>>,
}

impl KernelConfig {
    /// The file that counts first.
    pub const MAIN: &str = "image/kernel.config";
    /// The folder of those that follow.
    pub const FOLDER: &str = "image/kernel.d/";

    /// Reads the files among the texts of a repository.
    pub(crate) fn read(texts: &BTreeMap<String, String>, problems: &Problems) -> Self {
        let files = texts.iter().filter(|(path, _)| path.ends_with(".config"));
        let read = |(path, text): (&String, &String)| (path.clone(), read_settings(path, text, problems));
        Self {
            files: files.map(read).collect(),
        }
    }

    /// What a file says; `None` when there is no such file.
    pub(crate) fn file(&self, path: &str) -> Option<&[KernelSetting]> {
        self.files.get(path).map(Vec::as_slice)
    }

    /// The paths of all files.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// The files that are laid over the base, in the order in which they count.
    fn fragments(&self) -> impl Iterator<Item = &KernelSetting> {
        let later = self.files.iter().filter(|(path, _)| path.starts_with(Self::FOLDER));
        let later = later.map(|(_, settings)| settings.as_slice());
        let all = self.file(Self::MAIN).into_iter().chain(later);
        all.flatten()
    }

    /// What is wanted in the end, sorted by name.
    pub(crate) fn wanted(&self) -> Vec<KernelSetting> {
        last_word(self.fragments())
    }
}

/// True for a file that is laid over the base.
pub(crate) fn is_fragment(path: &str) -> bool {
    path == KernelConfig::MAIN || path.starts_with(KernelConfig::FOLDER)
}

/// Each name once, with the value that stands last.
pub(crate) fn last_word<'s>(settings: impl Iterator<Item = &'s KernelSetting>) -> Vec<KernelSetting> {
    let by_name: BTreeMap<&str, &KernelSetting> = settings.map(|setting| (setting.name.as_str(), setting)).collect();
    by_name.into_values().cloned().collect()
}

fn read_settings(path: &str, text: &str, problems: &Problems) -> Vec<KernelSetting> {
    let mut settings: Vec<KernelSetting> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let position = Position {
            file: path.to_owned(),
            line: index + 1,
            column: 1,
        };
        match parse_line(line.trim_end()) {
            Ok(None) => {}
            Err((message, hint)) => problems.push(Problem::error(Some(position), message).with_hint(hint)),
            Ok(Some((name, value))) => {
                if let Some(first) = settings.iter().find(|first| first.name == name) {
                    let message = format!("{PREFIX}{name} stands already at {}", first.place);
                    problems.push(Problem::warning(Some(position), message));
                }
                settings.push(KernelSetting {
                    name: name.to_owned(),
                    value: value.to_owned(),
                    place: format!("{path}:{}", index + 1),
                });
            }
        }
    }
    settings
}

/// Name and value of a line; nothing for a comment.
fn parse_line(line: &str) -> Result<Option<(&str, &str)>, (String, &'static str)> {
    if let Some(comment) = line.strip_prefix('#') {
        let unset = comment.trim().strip_suffix(" is not set");
        let name = unset.and_then(|name| name.trim().strip_prefix(PREFIX));
        return Ok(name.filter(|name| is_symbol(name)).map(|name| (name, "n")));
    }
    if line.is_empty() {
        return Ok(None);
    }
    let form = "write CONFIG_NAME=y, =m, =n, a number or a \"string\"; comments stand on lines of their own";
    let setting = line.strip_prefix(PREFIX).and_then(|line| line.split_once('='));
    match setting {
        Some((name, value)) if is_symbol(name) && is_value(value) => Ok(Some((name, value))),
        Some((name, value)) if is_symbol(name) => Err((format!("`{value}` is not a value of a setting"), form)),
        _ => Err((format!("`{line}` is not a setting of the kernel"), form)),
    }
}

/// True for the name of a setting (the kernel's `Documentation/kbuild/kconfig-language.rst`).
fn is_symbol(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_value(value: &str) -> bool {
    let number = value.strip_prefix('-').unwrap_or(value);
    let hexadecimal = number.strip_prefix("0x").or_else(|| number.strip_prefix("0X"));
    let digits = |text: &str, radix| !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    matches!(value, "y" | "m" | "n")
        || hexadecimal.is_some_and(|text| digits(text, 16))
        || digits(number, 10)
        || is_quoted(value)
}

/// True for a string in quotes in which quotes and backslashes have a backslash before them.
fn is_quoted(value: &str) -> bool {
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let Some(inner) = inner else { return false };
    let mut escaped = false;
    for character in inner.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return false,
            control if control.is_control() => return false,
            _ => {}
        }
    }
    !escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> (KernelConfig, String) {
        let texts = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        let problems = Problems::default();
        let config = KernelConfig::read(&texts.collect(), &problems);
        (config, problems.to_string())
    }

    #[test]
    fn the_last_file_has_the_last_word_and_its_place_is_told() {
        let (config, problems) = read(&[
            ("image/kernel.d/20-lab.config", "# CONFIG_NET is not set\n"),
            (
                "image/kernel.config",
                "# a node\nCONFIG_NET=y\nCONFIG_HZ=250\nCONFIG_CMDLINE=\"a \\\"b\\\"\"\n\n# CONFIG of sorts\n",
            ),
            ("image/other.config", "CONFIG_HZ=100\n"),
        ]);
        assert_eq!(problems, "");
        let wanted: Vec<String> = config
            .wanted()
            .iter()
            .map(|it| format!("{} {}={}", it.place, it.name, it.value))
            .collect();
        assert_eq!(
            wanted,
            [
                "image/kernel.config:4 CMDLINE=\"a \\\"b\\\"\"",
                "image/kernel.config:3 HZ=250",
                "image/kernel.d/20-lab.config:1 NET=n",
            ]
        );
        assert_eq!(config.file("image/other.config").unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_setting_is_named_with_its_line() {
        let (_, problems) = read(&[(
            "image/kernel.config",
            "CONFIG_A=y # yes\nNET=y\nCONFIG_B=\"x\" \"\nCONFIG_C=y\nCONFIG_C=m\nCONFIG_D=0x\nCONFIG-E=y\nCONFIG_F=\"\\\"\n",
        )]);
        for expected in [
            "kernel.config:1:1: `y # yes` is not a value",
            "kernel.config:2:1: `NET=y` is not a setting",
            "kernel.config:3:1: `\"x\" \"` is not a value",
            "warning: image/kernel.config:5:1: CONFIG_C stands already at image/kernel.config:4",
            "kernel.config:6:1: `0x`",
            "kernel.config:7:1: `CONFIG-E=y`",
            "kernel.config:8:1: ",
        ] {
            assert!(problems.contains(expected), "{expected}: {problems}");
        }
    }
}
