//! What names and paths in a config repository may look like.

use mos_toml::Position;
use mos_toml::{Item, Problem, Problems};

/// What a name consists of, for messages.
const NAME_RULE: &str = "use lower-case letters, digits, `-`, `_` and `.`, beginning with a letter or digit";

/// True for names of components, environments, groups and services: they become file names and parts of URLs.
pub(crate) fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(plain) && text.chars().all(|c| plain(c) || matches!(c, '-' | '_' | '.'))
}

/// Complains unless the text is a name.
pub(crate) fn check_name(problems: &Problems, what: &str, name: &str, position: Option<Position>) {
    if !is_name(name) {
        let message = format!("`{name}` is not a valid name for {what}");
        problems.push(Problem::error(position, message).with_hint(NAME_RULE));
    }
}

/// True for a relative path that stays below where it starts.
pub(crate) fn is_inner_path(path: &str) -> bool {
    let part_ok = |part: &str| !part.is_empty() && part != "." && part != "..";
    !path.contains('\0') && path.split('/').all(part_ok)
}

/// Complains unless the path is relative and stays inside the repository.
pub(crate) fn check_inner_path(problems: &Problems, path: &Item<String>) -> bool {
    let good = is_inner_path(&path.value);
    if !good {
        let message = format!("`{}` is not a path inside the config repository", path.value);
        let hint = "write it relative to the folder of mos.toml, without `..`";
        problems.push(Problem::error(Some(path.position.clone()), message).with_hint(hint));
    }
    good
}

/// True for the name of a file in the flat layout of a runtime flist.
pub(crate) fn is_file_name(name: &str) -> bool {
    is_inner_path(name) && !name.contains('/') && !name.contains(char::is_control)
}

/// True for what Debian allows as a package name (Debian Policy 5.6.7), optionally followed by `=version`.
pub(crate) fn is_package(text: &str) -> bool {
    let (name, version) = text.split_once('=').map_or((text, None), |(n, v)| (n, Some(v)));
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let version_ok = |v: &str| {
        v.starts_with(|c: char| c.is_ascii_digit())
            && v.chars().all(|c| c.is_ascii_alphanumeric() || "+-.~:".contains(c))
    };
    name.len() >= 2
        && name.starts_with(plain)
        && name.chars().all(|c| plain(c) || "+-.".contains(c))
        && version.is_none_or(version_ok)
}

/// True for a line of what is wanted of Alpine (apk-world(5)): `name`, `name=1.2-r0`, `name@edge`, `!name`.
pub(crate) fn is_apk(text: &str) -> bool {
    text.parse::<mos_alpine::Dependency>().is_ok()
}

/// True for what may be the name of a kernel module, or an alias with a bus, such as `pci:v00008086d000010D3…`; with `!`
/// before it, what is to be kept out.
pub(crate) fn is_module(text: &str) -> bool {
    let name = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let text = text.strip_prefix('!').unwrap_or(text);
    match text.split_once(':') {
        Some((bus, device)) => name(bus) && device.chars().all(|c| c.is_ascii_graphic()),
        None => name(text),
    }
}

/// True for this many lower-case hexadecimal digits.
pub(crate) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_as_files() {
        for good in ["web", "node-metrics", "0-db", "a.b_c"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "..", "-x", "Web", "a/b", "a b", "é"] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn paths_stay_inside() {
        for good in ["files/web.toml", "a"] {
            assert!(is_inner_path(good), "{good}");
        }
        for bad in ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "./a", "a\0"] {
            assert!(!is_inner_path(bad), "{bad}");
        }
    }

    #[test]
    fn packages_follow_debian_policy() {
        for good in ["busybox-static", "libstdc++6", "g++", "0ad", "busybox=1:1.35.0-4+b7"] {
            assert!(is_package(good), "{good}");
        }
        for bad in ["a", "Busybox", "-x", "a_b", "busybox=", "busy box"] {
            assert!(!is_package(bad), "{bad}");
        }
    }
}
