//! The clean-up: what packages bring and a node has no use for, removed by rules with names.
//!
//! A rule is a list of patterns ([`mos_kernel::glob`]); a pattern that is as a folder says covers all below it. A file goes
//! when a rule or `[image] remove` covers it and `[image] keep` does not; folders that become empty by that go too.
//! The licences of packages are read before their texts are removed, and stand in the bill of materials.

use std::collections::BTreeSet;

use mos_kernel::glob;
use mos_tree::{InodeId, Kind, Tree};

use crate::contents::Contents;

/// What is removed, and what of that is not.
#[derive(Debug)]
struct Rule {
    name: &'static str,
    removed: &'static [&'static str],
    kept: &'static [&'static str],
}

/// The name under which what `[image] remove` covers is counted.
const OWN_RULE: &str = "[image] remove";

/// Paths of Debian and Alpine, after the Filesystem Hierarchy Standard 3.0.
const RULES: [Rule; 9] = [
    Rule {
        name: "documentation",
        removed: &[
            "usr/share/doc",
            "usr/share/info",
            "usr/share/gtk-doc",
            "usr/share/doc-base",
            "usr/share/lintian",
            "usr/share/bug",
            "usr/local/share/doc",
        ],
        kept: &[],
    },
    Rule {
        name: "manual pages",
        removed: &["usr/share/man", "usr/local/share/man"],
        kept: &[],
    },
    Rule {
        name: "locales but C",
        removed: &["usr/share/locale", "usr/share/i18n", "usr/lib/locale"],
        kept: &[
            "usr/lib/locale/C",
            "usr/lib/locale/C.*",
            "usr/share/i18n/charmaps/UTF-8*",
        ],
    },
    Rule {
        name: "headers",
        removed: &["usr/include", "usr/local/include"],
        kept: &[],
    },
    Rule {
        name: "package caches",
        removed: &[
            "etc/apk/cache/*",
            "var/cache/apk/*",
            "var/cache/apt",
            "var/cache/debconf",
            "var/cache/man",
            "var/lib/apt/lists",
            "var/log/apt",
            "var/log/dpkg.log",
        ],
        kept: &[],
    },
    Rule {
        name: "static libraries",
        removed: &[
            "lib/**/*.a",
            "lib/**/*.la",
            "usr/lib/**/*.a",
            "usr/lib/**/*.la",
            "usr/local/lib/**/*.a",
        ],
        kept: &[],
    },
    Rule {
        name: "pkg-config and build files",
        removed: &[
            "usr/lib/**/pkgconfig",
            "usr/lib/**/cmake",
            "usr/share/aclocal",
            "usr/share/cmake",
            "usr/share/pkgconfig",
        ],
        kept: &[],
    },
    Rule {
        name: "shell completions",
        removed: &[
            "etc/bash_completion.d",
            "usr/share/bash-completion",
            "usr/share/elvish",
            "usr/share/fish",
            "usr/share/zsh",
        ],
        kept: &[],
    },
    Rule {
        name: "hooks of other image builders",
        removed: &[
            "etc/initramfs-tools",
            "etc/mkinitfs",
            "usr/lib/dracut",
            "usr/share/initramfs-tools",
            "usr/share/mkinitfs",
        ],
        kept: &[],
    },
];

/// The clean-up of one image.
#[derive(Debug)]
pub(crate) struct CleanUp<'p> {
    keep: &'p [String],
    remove: &'p [String],
    /// The patterns that covered something.
    used: BTreeSet<&'p str>,
}

impl<'p> CleanUp<'p> {
    /// With what the settings keep and remove.
    pub(crate) fn new(keep: &'p [String], remove: &'p [String]) -> Self {
        Self {
            keep,
            remove,
            used: BTreeSet::new(),
        }
    }

    /// Removes what packages brought, `part` telling which one brought a path, and takes note of it.
    pub(crate) fn apply(&mut self, tree: &mut Tree, contents: &mut Contents, part: impl Fn(&str) -> String) {
        let mut doomed = Vec::new();
        self.search(tree, Tree::ROOT, "", None, &mut doomed);
        for (path, rule) in &doomed {
            if let Some(inode) = tree.get(path) {
                contents.note_removed(path, &inode.kind, &part(path), rule);
            }
            // It was found there a moment ago.
            let _ = tree.remove(path);
        }
        doomed.iter().for_each(|(path, _)| remove_empty(tree, path));
    }

    /// Each pattern of the settings that covered nothing, as a warning.
    pub(crate) fn unused(&self) -> Vec<String> {
        let lists = [("keep", self.keep), ("remove", self.remove)];
        let patterns = lists
            .into_iter()
            .flat_map(|(name, list)| list.iter().map(move |pattern| (name, pattern)));
        patterns
            .filter(|(_, pattern)| !self.used.contains(pattern.as_str()))
            .map(|(name, pattern)| format!("warning: [image] {name}: `{pattern}` covers nothing that packages bring"))
            .collect()
    }

    /// Finds what goes, below a folder that a rule covers already or none does.
    fn search(
        &mut self,
        tree: &Tree,
        folder: InodeId,
        prefix: &str,
        covered: Option<&'static str>,
        doomed: &mut Vec<(String, &'static str)>,
    ) {
        let Kind::Directory(entries) = &tree.inode(folder).kind else {
            return;
        };
        for (name, id) in entries {
            // A name that is no UTF-8 is covered by no pattern, and no pattern of ours means it.
            let Ok(name) = std::str::from_utf8(name.as_bytes()) else {
                continue;
            };
            let path = if prefix.is_empty() {
                name.to_owned()
            } else {
                format!("{prefix}/{name}")
            };
            let rule = self.rule(&path, covered);
            let wanted = first(self.keep, &path);
            self.used.extend(wanted);
            if wanted.is_some() {
                continue;
            }
            match (&tree.inode(*id).kind, rule) {
                (Kind::Directory(_), _) => self.search(tree, *id, &path, rule, doomed),
                (_, Some(rule)) => doomed.push((path, rule)),
                (_, None) => {}
            }
        }
    }

    /// The rule that covers a path, given that of the folder that it is in.
    fn rule(&mut self, path: &str, covered: Option<&'static str>) -> Option<&'static str> {
        if RULES.iter().any(|rule| any(rule.kept, path)) {
            return None;
        }
        let own = first(self.remove, path);
        self.used.extend(own);
        covered
            .or_else(|| RULES.iter().find(|rule| any(rule.removed, path)).map(|rule| rule.name))
            .or_else(|| own.map(|_| OWN_RULE))
    }
}

/// The first of these patterns that is as the path says.
fn first<'p>(patterns: &'p [String], path: &str) -> Option<&'p str> {
    patterns
        .iter()
        .map(String::as_str)
        .find(|pattern| matches(pattern, path))
}

fn any(patterns: &[&str], path: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, path))
}

/// As [`glob::matches`], which is asked only when what comes before the first wildcard fits: nearly always it does not.
fn matches(pattern: &str, path: &str) -> bool {
    let literal = pattern.split(['*', '?', '[']).next().unwrap_or_default();
    // `usr/lib/**/x` is `usr/lib/x` too: the slash before a wildcard may be missing.
    let literal = literal.trim_end_matches('/');
    path.starts_with(literal) && (path == pattern || glob::matches(pattern, path))
}

/// Removes the folders above a path that have nothing in them any more.
fn remove_empty(tree: &mut Tree, path: &str) {
    let mut rest = path;
    while let Some((folder, _)) = rest.rsplit_once('/') {
        let is_empty =
            matches!(tree.get(folder).map(|inode| &inode.kind), Some(Kind::Directory(names)) if names.is_empty());
        if !is_empty || tree.remove(folder).is_err() {
            return;
        }
        rest = folder;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROUGHT: [&str; 14] = [
        "bin/tool",
        "etc/bash_completion.d/tool",
        "lib/modules/a.ko",
        "usr/include/stdio.h",
        "usr/lib/libx.a",
        "usr/lib/libx.so",
        "usr/lib/locale/C.utf8/LC_CTYPE",
        "usr/lib/locale/de_DE/LC_CTYPE",
        "usr/lib/x86_64-linux-gnu/pkgconfig/x.pc",
        "usr/share/doc/tool/changelog.gz",
        "usr/share/doc/tool/copyright",
        "usr/share/docs",
        "usr/share/games/x",
        "usr/share/man/man1/tool.1.gz",
    ];

    fn cleaned(keep: &[&str], remove: &[&str]) -> (Tree, Contents, Vec<String>) {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let (keep, remove) = (owned(keep), owned(remove));
        let mut tree = Tree::default();
        for path in BROUGHT {
            tree.insert_file(path, 0o644, "12345").unwrap();
        }
        tree.insert_directory("var/lib/empty", 0o755).unwrap();
        let mut contents = Contents::default();
        let mut clean_up = CleanUp::new(&keep, &remove);
        clean_up.apply(&mut tree, &mut contents, |_| "package tool".to_owned());
        let unused = clean_up.unused();
        (tree, contents, unused)
    }

    fn left(tree: &Tree) -> Vec<String> {
        let files = tree.walk().filter(|entry| matches!(entry.inode.kind, Kind::File(_)));
        files.map(|entry| String::from_utf8(entry.path).unwrap()).collect()
    }

    #[test]
    fn every_rule_removes_its_own_and_nothing_else() {
        let (tree, contents, unused) = cleaned(&[], &[]);
        let expected = [
            "bin/tool",
            "lib/modules/a.ko",
            "usr/lib/libx.so",
            "usr/lib/locale/C.utf8/LC_CTYPE",
            "usr/share/docs",
            "usr/share/games/x",
        ];
        assert_eq!(left(&tree), expected);
        let removed: Vec<(&str, &str)> = contents
            .removed
            .iter()
            .map(|it| (it.path.as_str(), it.rule.as_str()))
            .collect();
        let expected = [
            ("etc/bash_completion.d/tool", "shell completions"),
            ("usr/include/stdio.h", "headers"),
            ("usr/lib/libx.a", "static libraries"),
            ("usr/lib/locale/de_DE/LC_CTYPE", "locales but C"),
            ("usr/lib/x86_64-linux-gnu/pkgconfig/x.pc", "pkg-config and build files"),
            ("usr/share/doc/tool/changelog.gz", "documentation"),
            ("usr/share/doc/tool/copyright", "documentation"),
            ("usr/share/man/man1/tool.1.gz", "manual pages"),
        ];
        assert_eq!(removed, expected);
        assert_eq!(
            (contents.removed[0].bytes, contents.removed[0].part.as_str()),
            (5, "package tool")
        );
        for gone in ["usr/include", "usr/share/doc", "usr/lib/x86_64-linux-gnu", "etc"] {
            assert!(tree.get(gone).is_none(), "{gone}");
        }
        assert!(tree.get("var/lib/empty").is_some(), "it was empty before");
        assert!(unused.is_empty());
    }

    #[test]
    fn settings_keep_and_remove_and_what_covers_nothing_is_told() {
        let (tree, contents, unused) = cleaned(
            &["usr/share/doc/*/copyright", "usr/share/man", "usr/share/nothing"],
            &["usr/share/games", "**/*.so", "bin/none"],
        );
        let expected = [
            "bin/tool",
            "lib/modules/a.ko",
            "usr/lib/locale/C.utf8/LC_CTYPE",
            "usr/share/doc/tool/copyright",
            "usr/share/docs",
            "usr/share/man/man1/tool.1.gz",
        ];
        assert_eq!(left(&tree), expected);
        let own = contents.removed.iter().filter(|it| it.rule == OWN_RULE);
        assert_eq!(
            own.map(|it| it.path.as_str()).collect::<Vec<_>>(),
            ["usr/lib/libx.so", "usr/share/games/x"]
        );
        assert_eq!(
            unused,
            [
                "warning: [image] keep: `usr/share/nothing` covers nothing that packages bring",
                "warning: [image] remove: `bin/none` covers nothing that packages bring"
            ]
        );
    }

    #[test]
    fn a_pattern_with_wildcards_is_found_without_what_stands_for_none() {
        assert!(matches("usr/lib/**/*.a", "usr/lib/libx.a") && matches("usr/lib/**/*.a", "usr/lib/a/b/libx.a"));
        assert!(matches("**/x", "x") && !matches("usr/lib", "usr/libexec"));
    }
}
