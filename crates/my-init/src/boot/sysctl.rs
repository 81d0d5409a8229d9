//! `sysctl.d`: settings of the kernel (sysctl.d(5)).
//!
//! `key = value`; a key is written with dots or with slashes, the first of either says which separates. A `-` before the
//! key makes an error nobody's business, `*`, `?` and `[…]` stand for parts of a path, and a key without a value, with `-`,
//! is taken out of what patterns set. Of several values for a key the last one counts.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::fragments;
use super::glob;

/// A line, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    /// `path:line`.
    place: String,
    /// The path below `/proc/sys`.
    key: String,
    /// `None` takes the key out of what patterns set.
    value: Option<String>,
    may_fail: bool,
}

/// Applies the fragments below `root` to the tree at `kernel` (`/proc/sys`). Returns what went wrong; nothing of that
/// stops the rest.
pub fn apply(root: &Path, kernel: &Path) -> Vec<String> {
    let (fragments, mut problems) = fragments::read(root, "sysctl.d");
    let mut settings = Vec::new();
    for (place, line) in fragments.iter().flat_map(fragments::Fragment::lines) {
        match parse(place.clone(), line) {
            Some(setting) => settings.push(setting),
            None => problems.push(format!("{place}: `{line}` is not `key = value`")),
        }
    }
    let named: BTreeSet<&str> = settings
        .iter()
        .map(|one| &*one.key)
        .filter(|key| !glob::is_pattern(key))
        .collect();
    for (index, setting) in settings.iter().enumerate() {
        let later = || settings[index + 1..].iter().any(|other| other.key == setting.key);
        if setting.value.is_some() && !later() {
            problems.extend(write(setting, kernel, &named));
        }
    }
    problems
}

fn parse(place: String, line: &str) -> Option<Setting> {
    let (may_fail, line) = match line.strip_prefix('-') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, line),
    };
    let (key, value) = match line.split_once('=') {
        Some((key, value)) => (key.trim(), Some(value.trim().to_owned())),
        None if may_fail => (line, None),
        None => return None,
    };
    let key = path_of(key);
    let sound = !key.is_empty() && !key.split('/').any(|part| part.is_empty() || part == "..");
    sound.then_some(Setting {
        place,
        key,
        value,
        may_fail,
    })
}

/// With dots as separators a slash stands for a dot (`net.ipv4.conf.eth0/100.rp_filter`).
fn path_of(key: &str) -> String {
    if key.find(['.', '/']).is_some_and(|first| key.as_bytes()[first] == b'/') {
        return key.to_owned();
    }
    let swap = |character| match character {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    key.chars().map(swap).collect()
}

fn write(setting: &Setting, kernel: &Path, named: &BTreeSet<&str>) -> Vec<String> {
    let Some(value) = &setting.value else { return Vec::new() };
    let keys = match glob::is_pattern(&setting.key) {
        false => vec![setting.key.clone()],
        true => glob::expand(kernel, &setting.key)
            .into_iter()
            .filter(|key| !named.contains(&**key))
            .collect(),
    };
    let failed = |key: &String| {
        let error = fs::write(kernel.join(key), format!("{value}\n")).err()?;
        Some(format!("{}: {key}: {error}", setting.place))
    };
    let mut problems: Vec<String> = keys.iter().filter_map(failed).collect();
    if setting.may_fail {
        problems.clear();
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn keys_are_written_with_dots_or_slashes() {
        for (key, path) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
            ("net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
            ("net/ipv4/conf/eth0.100/rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        ] {
            assert_eq!(path_of(key), path);
        }
    }

    #[test]
    fn the_last_value_counts_patterns_spare_what_is_named_and_errors_have_their_place() {
        let kernel = tree(&[("a/x", ""), ("a/y", ""), ("a/z", ""), ("a/w", ""), ("one", "")]);
        let text = "one = 1\na.* = all\na.x=only  x\n-a.y\n-no.such = 1\nno.other = 1\nnonsense\n../etc/x = 1\none=2\n";
        let root = tree(&[("etc/sysctl.d/a.conf", text)]);
        let problems = apply(root.path(), kernel.path());
        let read = |name: &str| fs::read_to_string(kernel.path().join(name)).unwrap();
        let values = ["one", "a/x", "a/y", "a/z", "a/w"].map(read);
        assert_eq!(values, ["2\n", "only  x\n", "", "all\n", "all\n"]);
        let file = root.path().join("etc/sysctl.d/a.conf");
        let places: Vec<String> = problems
            .iter()
            .map(|one| one.replace(&*file.to_string_lossy(), "F"))
            .collect();
        assert_eq!(places[0], "F:7: `nonsense` is not `key = value`");
        assert_eq!(places[1], "F:8: `../etc/x = 1` is not `key = value`");
        assert!(places[2].starts_with("F:6: no/other: No such file"), "{places:?}");
        assert_eq!(places.len(), 3);
    }
}
