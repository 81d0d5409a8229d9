//! The kernel's `.config`: read, and written with other values on top.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mos_config::KernelSetting;

/// What every name begins with.
const PREFIX: &str = "CONFIG_";

/// The settings of a kernel by name, without `CONFIG_`; what is off is not there.
pub(crate) type Values = BTreeMap<String, String>;

/// Reads a `.config`. Its lines are the kernel's own: what is no setting is a comment.
pub(crate) fn parse(text: &str) -> Values {
    let settings = text
        .lines()
        .filter_map(|line| line.strip_prefix(PREFIX)?.split_once('='));
    let on = settings.filter(|(_, value)| *value != "n");
    on.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The text of a `.config` with these settings in place of what it says about them.
pub(crate) fn merge(base: &str, settings: &[KernelSetting]) -> String {
    let names: Vec<&str> = settings.iter().map(|setting| setting.name.as_str()).collect();
    let is_kept = |line: &&str| !name_of(line).is_some_and(|name| names.contains(&name));
    let mut text: String = base.lines().filter(is_kept).map(|line| format!("{line}\n")).collect();
    text.push_str(&lines(settings));
    text
}

/// The settings as lines of a `.config`.
pub(crate) fn lines(settings: &[KernelSetting]) -> String {
    let mut text = String::new();
    for setting in settings {
        let KernelSetting { name, value, .. } = setting;
        // Writing to a string cannot fail.
        let _ = match value.as_str() {
            "n" => writeln!(text, "# {PREFIX}{name} is not set"),
            value => writeln!(text, "{PREFIX}{name}={value}"),
        };
    }
    text
}

/// The name that a line is about, set or not set.
fn name_of(line: &str) -> Option<&str> {
    let unset = || {
        line.strip_prefix("# ")?
            .strip_suffix(" is not set")?
            .strip_prefix(PREFIX)
    };
    let set = || Some(line.strip_prefix(PREFIX)?.split_once('=')?.0);
    set().or_else(unset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_replace_what_the_base_says() {
        let setting = |name: &str, value: &str| KernelSetting {
            name: name.into(),
            value: value.into(),
            place: "here:1".into(),
        };
        let base = "#\n# General\n#\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_AB=\"x=y\"\nCONFIG_C=m\n";
        let merged = merge(base, &[setting("A", "n"), setting("B", "m")]);
        assert_eq!(
            merged,
            "#\n# General\n#\nCONFIG_AB=\"x=y\"\nCONFIG_C=m\n# CONFIG_A is not set\nCONFIG_B=m\n"
        );
        let values = parse(&merged);
        let shown: Vec<String> = values.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(shown, ["AB=\"x=y\"", "B=m", "C=m"]);
    }
}
