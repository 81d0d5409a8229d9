//! Patterns for paths: `*`, `?` and `[a-z]` within one part of a path, `**` for any parts.

use crate::lists;

/// True when a path, or a folder that it lies in, is as the pattern says.
pub fn covers(pattern: &str, path: &str) -> bool {
    let (pattern, path) = (parts(pattern), parts(path));
    (1..=path.len()).any(|length| same(&pattern, &path[..length]))
}

/// True when the path is as the pattern says.
pub fn matches(pattern: &str, path: &str) -> bool {
    same(&parts(pattern), &parts(path))
}

/// True when there is anything in it to match.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

fn parts(text: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    // Two say no more than one, and would take longer.
    parts.dedup_by(|next, last| *next == "**" && *last == "**");
    parts
}

/// Each part against each in a table of those that match so far: the time is at most the product of the lengths.
fn same(pattern: &[&str], path: &[&str]) -> bool {
    let mut reached = vec![false; path.len() + 1];
    reached[0] = true;
    for part in pattern {
        let mut next = vec![false; path.len() + 1];
        for at in 0..=path.len() {
            next[at] = if *part == "**" {
                reached[at] || (at > 0 && next[at - 1])
            } else {
                at > 0 && reached[at - 1] && lists::wild(part, path[at - 1])
            };
        }
        reached = next;
    }
    reached[path.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_folders() {
        assert!(matches("rtl_nic/rtl8168*.fw", "rtl_nic/rtl8168h-2.fw"));
        assert!(!matches("*", "rtl_nic/rtl8168h-2.fw"));
        assert!(!matches("a_b", "a-b"));
        assert!(matches("**/a[0-9].bin", "a1.bin") && matches("**/a?.bin", "x/y/a1.bin"));
        assert!(covers("amdgpu", "amdgpu/x/y.bin") && !matches("amdgpu", "amdgpu/x/y.bin"));
        assert!(!covers("amdgp", "amdgpu/x"));
        let deep = "a/".repeat(200);
        assert!(!matches(&format!("{}b", "**/a/".repeat(100)), &deep));
        assert!(is_pattern("a*") && !is_pattern("a/b.bin"));
    }
}
