//! Patterns as the shell has them: `*`, `?`, `[a-z]`, `[!a-z]`.

use std::fs;
use std::path::{Path, PathBuf};

/// True when the whole text matches. `*` matches anything, a slash as well: callers who mind split at slashes first.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut place) = (0, 0);
    // Where to go on when what follows the last star does not fit: one byte further.
    let mut star: Option<(usize, usize)> = None;
    loop {
        match pattern.get(at) {
            None if place == text.len() => return true,
            Some(b'*') => {
                at += 1;
                star = Some((at, place));
                continue;
            }
            Some(_) if place < text.len() => {
                if let Some(next) = one(pattern, at, text[place]) {
                    (at, place) = (next, place + 1);
                    continue;
                }
            }
            _ => {}
        }
        match star {
            Some((after, begun)) if begun < text.len() => {
                (at, place) = (after, begun + 1);
                star = Some((after, begun + 1));
            }
            _ => return false,
        }
    }
}

/// Matches one byte; returns where the pattern goes on.
fn one(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match pattern[at] {
        b'?' => Some(at + 1),
        b'[' => set(pattern, at + 1, byte),
        literal => (literal == byte).then_some(at + 1),
    }
}

/// Matches a set whose content begins at `at`. Without an end it matches nothing.
fn set(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    let negated = matches!(pattern.get(at), Some(b'!' | b'^'));
    let first = at + usize::from(negated);
    // A bracket that comes first is one of the set.
    let end = pattern.iter().skip(first + 1).position(|one| *one == b']')? + first + 1;
    let content = &pattern[first..end];
    let mut inside = false;
    let mut place = 0;
    while place < content.len() {
        let range = content.get(place + 1) == Some(&b'-') && place + 2 < content.len();
        let last = if range { content[place + 2] } else { content[place] };
        inside |= (content[place]..=last).contains(&byte);
        place += if range { 3 } else { 1 };
    }
    (inside != negated).then_some(end + 1)
}

/// True when the text is a pattern and not only itself.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The paths below `root` that match, each part by itself.
pub fn expand(root: &Path, pattern: &str) -> Vec<String> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        found = match is_pattern(part) {
            false => found
                .iter()
                .map(|path| path.join(part))
                .filter(|path| root.join(path).symlink_metadata().is_ok())
                .collect(),
            true => found.iter().flat_map(|path| matching(root, path, part)).collect(),
        };
    }
    let mut paths: Vec<String> = found
        .iter()
        .filter_map(|path| path.to_str().map(str::to_owned))
        .collect();
    paths.sort();
    paths
}

fn matching(root: &Path, path: &Path, part: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root.join(path)) else {
        return Vec::new();
    };
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    // As in the shell, a star does not stand for what is hidden.
    let fits = |name: &String| matches(part, name) && name.starts_with('.') == part.starts_with('.');
    names.filter(fits).map(|name| path.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_match_as_in_the_shell() {
        for (pattern, text, expected) in [
            (
                "pci:v00001AF4d00001000sv*sd*bc*sc*i*",
                "pci:v00001AF4d00001000sv1sd2bc02sc00i00",
                true,
            ),
            (
                "usb:v*p*d*dc*dsc*dp*ic08isc0[1-6]ip*in*",
                "usb:v1p2d3dc0dsc0dp0ic08isc06ip50in0",
                true,
            ),
            ("usb:v*ic08isc0[1-6]", "usb:v1ic08isc07", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("tty[!S]*", "ttyS0", false),
            ("tty[0-9]*", "tty12", true),
            ("a]", "a]", true),
            ("[]x]", "]", true),
            ("[", "[", false),
            ("?", "", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn without_special_bytes_only_the_text_itself_matches(pattern in "[a-z:/.]{0,8}", text in "[a-z:/.]{0,8}") {
            prop_assert_eq!(matches(&pattern, &text), pattern == text);
        }

        #[test]
        fn no_pattern_makes_it_panic(pattern in "[]\\[*?!^a-c-]{0,12}", text in "[]a-c*-]{0,12}") {
            let _ = matches(&pattern, &text);
            let any = text.replace(['*', '[', ']'], "?");
            prop_assert!(matches(&["*", &*any].concat(), &text));
        }
    }
}
