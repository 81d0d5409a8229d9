//! Names of modules, and the lists that a kernel build leaves beside them.

use std::collections::{BTreeMap, BTreeSet};

/// The name as the kernel compares it: `-` and `_` are the same.
pub(crate) fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// The module's name from its path: `kernel/fs/ext4/ext4.ko.xz` is `ext4`.
pub(crate) fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (plain, _) = mos_packages::compression::Compression::split_name(file.as_bytes());
    let plain = std::str::from_utf8(plain).ok()?;
    plain.strip_suffix(".ko").map(normal)
}

/// Names in `modules.builtin` or `modules.order`: a path a line.
pub(crate) fn names(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter_map(|line| module_name(line.trim()))
}

/// All modules, those of `modules.order` first and in its order, by which `modprobe` decides between modules with the same
/// alias.
pub(crate) fn in_order<'m, T>(modules: &'m BTreeMap<String, T>, order: &[u8]) -> Vec<(&'m str, &'m T)> {
    let order = String::from_utf8_lossy(order);
    let mut seen = BTreeSet::new();
    let listed = names(&order).filter_map(|name| modules.get_key_value(&name));
    let all = listed.chain(modules).filter(|(name, _)| seen.insert(name.as_str()));
    all.map(|(name, module)| (name.as_str(), module)).collect()
}

/// Modules that are built in and their aliases, from `modules.builtin.modinfo`: strings `NAME.alias=PATTERN`, each with
/// its NUL.
pub(crate) fn builtin_aliases(bytes: &[u8]) -> Vec<(String, String)> {
    bytes
        .split(|byte| *byte == 0)
        .filter_map(|text| {
            let (key, value) = std::str::from_utf8(text).ok()?.split_once('=')?;
            Some((normal(key.strip_suffix(".alias")?), value.to_owned()))
        })
        .collect()
}

/// Matches a name against an alias pattern: `*`, `?`, `[a-z]` as in fnmatch(3), `-` and `_` equal outside brackets.
/// The time is at most the product of the lengths.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let plain = pattern.bytes().take_while(|byte| !matches!(byte, b'*' | b'?' | b'['));
    let same = |(left, right): (u8, u8)| left == right || matches!((left, right), (b'-', b'_') | (b'_', b'-'));
    if !plain.zip(name.bytes()).all(same) {
        return false;
    }
    wild(&normal_pattern(pattern), &normal(name))
}

/// The same letter by letter.
pub(crate) fn wild(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
        } else if let Some(next) = one(&pattern, p, name[n]) {
            p = next;
            n += 1;
        } else if let Some((star_p, star_n)) = star {
            star = Some((star_p, star_n + 1));
            p = star_p + 1;
            n = star_n + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Where the pattern goes on after it matched this one letter at `p`.
fn one(pattern: &[char], p: usize, letter: char) -> Option<usize> {
    match pattern.get(p)? {
        '?' => Some(p + 1),
        '[' => {
            let end = p + 1 + pattern[p + 1..].iter().position(|c| *c == ']')?;
            in_set(&pattern[p + 1..end], letter).then_some(end + 1)
        }
        other => (*other == letter).then_some(p + 1),
    }
}

fn in_set(set: &[char], letter: char) -> bool {
    let mut rest = set;
    loop {
        match rest {
            [low, '-', high, ..] => {
                if (*low..=*high).contains(&letter) {
                    return true;
                }
                rest = &rest[3..];
            }
            [one, ..] => {
                if *one == letter {
                    return true;
                }
                rest = &rest[1..];
            }
            [] => return false,
        }
    }
}

/// The pattern with `_` for `-`, but inside brackets, where `-` makes a range.
pub(crate) fn normal_pattern(pattern: &str) -> String {
    let mut inside = false;
    let replace = |letter| {
        inside = (inside || letter == '[') && letter != ']';
        if letter == '-' && !inside { '_' } else { letter }
    };
    pattern.chars().map(replace).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths() {
        assert_eq!(
            module_name("kernel/crypto/crc32c-intel.ko.xz").as_deref(),
            Some("crc32c_intel")
        );
        assert_eq!(module_name("kernel/README"), None);
        assert_eq!(names("kernel/a.ko\nkernel/b-c.ko\n").collect::<Vec<_>>(), ["a", "b_c"]);
        assert_eq!(
            builtin_aliases(b"ext4.alias=fs-ext4\0ext4.license=GPL\0"),
            [("ext4".to_owned(), "fs-ext4".to_owned())]
        );
    }

    #[test]
    fn patterns() {
        assert!(matches("crypto-crc32c", "crypto_crc32c"));
        assert!(matches("virtio:d00000001v*", "virtio:d00000001v00001af4"));
        assert!(matches("a[0-9]?*z", "a5xyz"));
        assert!(!matches("a[0-9]z", "axz"));
        assert!(!matches("fs-ext4", "fs-ext"));
        assert!(!matches(&"*a".repeat(200), &"b".repeat(4000)));
    }
}
