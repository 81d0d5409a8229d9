//! `/etc/mos/node.toml`: what the signed boot image says about its channel.

use std::time::Duration;

use mos_toml::{Document, Problem, Problems, Table};

/// How long to try a channel before starting what is on the disk.
const OFFLINE_AFTER: i64 = 20;
/// Longest such time, in seconds.
const LONGEST: i64 = 24 * 3600;
/// The last second that a time stamp can be, in the year 9999.
const LAST_SECOND: i64 = 253_402_207_200;

/// The settings of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The environment whose releases are wanted.
    pub environment: String,
    /// The channel's URL.
    pub channel: String,
    /// Files with public keys.
    pub trust: Vec<String>,
    /// When the image was built, in seconds since 1970.
    pub built: i64,
    /// How long an unreachable channel is tried before the last good generation starts.
    pub offline_after: Duration,
}

impl Settings {
    /// Reads the settings; `file` is only used in messages.
    ///
    /// # Errors
    /// Every problem with its place.
    pub fn parse(file: &str, text: &str) -> Result<Self, String> {
        let document = Document::parse(file, text).map_err(|problem| problem.to_string())?;
        let problems = Problems::default();
        let root = document.root(&problems);
        let settings = read(&root);
        root.finish();
        match settings {
            Some(settings) if !problems.any_error() => Ok(settings),
            _ => Err(problems.to_string()),
        }
    }
}

fn read(root: &Table<'_>) -> Option<Settings> {
    let environment = root.required_string("environment");
    let channel = root.required_string("channel");
    let trust: Vec<String> = root.string_list("trust").into_iter().map(|item| item.value).collect();
    if trust.is_empty() {
        let problem = Problem::error(Some(root.position_of("trust")), "`trust` names no public key");
        root.report(problem.with_hint("name the files with the keys that releases must be signed with"));
    }
    let built = root.integer("built", 0..=LAST_SECOND);
    let offline_after = root.integer("offline_after", 0..=LONGEST).unwrap_or(OFFLINE_AFTER);
    Some(Settings {
        environment: environment?.value,
        channel: channel?.value,
        trust,
        built: built.unwrap_or(0),
        offline_after: Duration::from_secs(offline_after.unsigned_abs()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_image_builder_writes() {
        let text =
            "environment = \"dev\"\nchannel = \"http://c\"\ntrust = [\"/etc/mos/trust/dev.pub\"]\nbuilt = 1790000000\n";
        let settings = Settings::parse("node.toml", text).unwrap();
        assert_eq!(settings.trust, ["/etc/mos/trust/dev.pub"]);
        assert_eq!((settings.built, settings.offline_after.as_secs()), (1_790_000_000, 20));
    }

    #[test]
    fn says_what_is_missing_or_unknown() {
        let error = Settings::parse("node.toml", "channel = \"http://c\"\nbuild = 3\n").unwrap_err();
        assert!(error.contains("missing key `environment`"), "{error}");
        assert!(error.contains("`trust` names no public key"), "{error}");
        assert!(
            error.contains("node.toml:2:1: unknown key `build`\n  hint: did you mean `built`?"),
            "{error}"
        );
    }
}
