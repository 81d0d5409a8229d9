//! Licences as SPDX expressions (SPDX 2.3, annex D), from what packages say.
//!
//! A name that SPDX does not know becomes `LicenseRef-…`, which the documents explain. Names of Debian's copyright files
//! (the machine-readable format 1.0, section 7.1) are translated.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// A licence, or several with AND and OR.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Licence {
    /// The SPDX expression.
    pub expression: String,
    /// What each `LicenseRef-…` in it is called by the package.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub references: BTreeMap<String, String>,
}

/// Identifiers of the SPDX licence list (3.24) that packages of a small system have.
const KNOWN: [&str; 84] = [
    "0BSD",
    "AGPL-3.0-only",
    "AGPL-3.0-or-later",
    "Apache-1.1",
    "Apache-2.0",
    "Artistic-1.0",
    "Artistic-1.0-Perl",
    "Artistic-2.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-2-Clause-Patent",
    "BSD-3-Clause",
    "BSD-3-Clause-Clear",
    "BSD-4-Clause",
    "BSD-4-Clause-UC",
    "BSL-1.0",
    "Beerware",
    "BlueOak-1.0.0",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC-BY-SA-3.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "CDDL-1.0",
    "CPL-1.0",
    "EPL-1.0",
    "EPL-2.0",
    "EUPL-1.2",
    "FSFAP",
    "FSFUL",
    "FSFULLR",
    "FTL",
    "GFDL-1.1-or-later",
    "GFDL-1.2-only",
    "GFDL-1.2-or-later",
    "GFDL-1.3-only",
    "GFDL-1.3-or-later",
    "GFDL-1.3-no-invariants-or-later",
    "GPL-1.0-only",
    "GPL-1.0-or-later",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "HPND",
    "ICU",
    "IJG",
    "ISC",
    "LGPL-2.0-only",
    "LGPL-2.0-or-later",
    "LGPL-2.1-only",
    "LGPL-2.1-or-later",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
    "LPPL-1.3c",
    "Libpng",
    "Linux-OpenIB",
    "MIT",
    "MIT-0",
    "MPL-1.1",
    "MPL-2.0",
    "MS-PL",
    "NCSA",
    "NTP",
    "OFL-1.1",
    "OLDAP-2.8",
    "OpenSSL",
    "PHP-3.01",
    "PSF-2.0",
    "PostgreSQL",
    "Python-2.0",
    "Ruby",
    "SMLNJ",
    "SSH-OpenSSH",
    "TCL",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "Vim",
    "W3C",
    "X11",
    "Zlib",
    "bzip2-1.0.6",
    "curl",
];

/// Exceptions of the SPDX list.
const EXCEPTIONS: [&str; 8] = [
    "Autoconf-exception-3.0",
    "Bison-exception-2.2",
    "Classpath-exception-2.0",
    "GCC-exception-3.1",
    "LLVM-exception",
    "Linux-syscall-note",
    "OpenSSL-exception",
    "u-boot-exception-2.0",
];

/// Names in Debian's copyright files that are spelt in another way, without a version's `+`.
const OF_DEBIAN: [(&str, &str); 17] = [
    ("apache-2", "Apache-2.0"),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("bsd-4-clause", "BSD-4-Clause"),
    ("cc0", "CC0-1.0"),
    ("expat", "MIT"),
    ("agpl-3", "AGPL-3.0"),
    ("gfdl-1.2", "GFDL-1.2"),
    ("gfdl-1.3", "GFDL-1.3"),
    ("gpl-1", "GPL-1.0"),
    ("gpl-2", "GPL-2.0"),
    ("gpl-3", "GPL-3.0"),
    ("lgpl-2", "LGPL-2.0"),
    ("lgpl-2.1", "LGPL-2.1"),
    ("lgpl-3", "LGPL-3.0"),
    ("psf-2", "PSF-2.0"),
    ("zlib", "Zlib"),
];

impl Licence {
    /// From an expression as Alpine's packages and crates have it; `A/B`, which old crates have, means OR.
    pub fn of_expression(text: &str) -> Self {
        let mut licence = Self::default();
        licence.expression = licence.translated(&text.replace('/', " OR "));
        licence
    }

    /// From a Debian copyright file: everything that its paragraphs name, with AND. None when it is not machine-readable.
    pub fn of_copyright(text: &str) -> Option<Self> {
        let first = text.lines().find(|line| !line.trim().is_empty())?;
        let is_format = first.starts_with("Format:") && first.contains("copyright-format/1");
        let named = is_format.then(|| text.lines().filter_map(|line| line.strip_prefix("License:")))?;
        let names: BTreeSet<&str> = named.map(str::trim).filter(|name| !name.is_empty()).collect();
        let mut licence = Self::default();
        let parts: BTreeSet<String> = names.into_iter().map(|name| licence.of_debian(name)).collect();
        licence.expression = match parts.len() {
            0 => return None,
            1 => parts.into_iter().collect(),
            _ => {
                let bracketed = parts
                    .into_iter()
                    .map(|part| if part.contains(' ') { format!("({part})") } else { part });
                bracketed.collect::<Vec<_>>().join(" AND ")
            }
        };
        Some(licence)
    }

    /// `GPL-2+ or Artistic-2.0, and Expat`: a comma closes what stands before it.
    fn of_debian(&mut self, text: &str) -> String {
        let mut whole = String::new();
        for part in text.split(',') {
            let part = part.trim();
            let (operator, rest) = match part.split_once(' ') {
                Some((word @ ("and" | "or"), rest)) if !whole.is_empty() => (word, rest),
                _ => ("and", part),
            };
            // `GPL-2+ with Bison exception` is one name: SPDX may not know the exception.
            let translated = if rest.contains(" with ") {
                self.reference(rest)
            } else {
                self.translated(rest)
            };
            whole = match whole.is_empty() {
                true => translated,
                false => format!("({whole}) {} {translated}", operator.to_uppercase()),
            };
        }
        whole
    }

    /// An expression with every name in it translated.
    fn translated(&mut self, text: &str) -> String {
        let spaced = text.replace('(', " ( ").replace(')', " ) ");
        let mut words: Vec<String> = Vec::new();
        for word in spaced.split_whitespace() {
            let operand_before = words
                .last()
                .is_some_and(|last| !matches!(last.as_str(), "AND" | "OR" | "WITH" | "("));
            let after_with = words.last().is_some_and(|last| last == "WITH");
            let word = match word {
                "(" | ")" => word.to_owned(),
                _ if matches!(word.to_uppercase().as_str(), "AND" | "OR" | "WITH") => word.to_uppercase(),
                _ if after_with && EXCEPTIONS.contains(&word) => word.to_owned(),
                _ => self.name(word),
            };
            // A list of names without a word between them means all of them.
            if operand_before && !matches!(word.as_str(), "AND" | "OR" | "WITH" | ")") {
                words.push("AND".to_owned());
            }
            words.push(word);
        }
        if is_sound(&words) {
            words.join(" ").replace("( ", "(").replace(" )", ")")
        } else {
            self.reference(text.trim())
        }
    }

    /// One licence's name.
    fn name(&mut self, word: &str) -> String {
        if KNOWN.contains(&word) {
            return word.to_owned();
        }
        let (stem, or_later) = match word.strip_suffix('+') {
            Some(stem) => (stem, true),
            None => (word, false),
        };
        let lower = stem.to_lowercase();
        // Debian writes GPL-2 and GPL-2.0 alike.
        let short = lower.strip_suffix(".0").unwrap_or(&lower);
        let known = OF_DEBIAN.iter().find(|(name, _)| *name == lower || *name == short);
        if let Some((_, spdx)) = known {
            let version = if or_later { "or-later" } else { "only" };
            let full = format!("{spdx}-{version}");
            if KNOWN.contains(&full.as_str()) {
                return full;
            }
            if KNOWN.contains(spdx) && !or_later {
                return (*spdx).to_owned();
            }
        }
        self.reference(word)
    }

    /// A name that SPDX does not know.
    fn reference(&mut self, name: &str) -> String {
        let reference = match name.strip_prefix("LicenseRef-") {
            Some(rest) => format!("LicenseRef-{}", crate::identifier(rest)),
            None => format!("LicenseRef-{}", crate::identifier(name)),
        };
        self.references.insert(reference.clone(), name.to_owned());
        reference
    }
}

/// Names and operators take turns, and brackets close.
fn is_sound(words: &[String]) -> bool {
    let (mut depth, mut wants_name) = (0_usize, true);
    for word in words {
        match (word.as_str(), wants_name) {
            ("(", true) => depth += 1,
            (")", false) if depth > 0 => depth -= 1,
            ("AND" | "OR" | "WITH", false) => wants_name = true,
            ("AND" | "OR" | "WITH" | "(" | ")", _) => return false,
            (_, true) => wants_name = false,
            (_, false) => return false,
        }
    }
    depth == 0 && !wants_name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_of_alpine_and_crates() {
        for (text, expected) in [
            ("GPL-2.0-only", "GPL-2.0-only"),
            ("MIT/Apache-2.0", "MIT OR Apache-2.0"),
            (
                "(MIT OR Apache-2.0) AND Unicode-3.0",
                "(MIT OR Apache-2.0) AND Unicode-3.0",
            ),
            (
                "Apache-2.0 WITH LLVM-exception OR MIT",
                "Apache-2.0 WITH LLVM-exception OR MIT",
            ),
            ("MIT BSD-3-Clause", "MIT AND BSD-3-Clause"),
            ("custom", "LicenseRef-custom"),
            ("MIT AND", "LicenseRef-MIT-AND"),
            ("((MIT", "LicenseRef---MIT"),
        ] {
            assert_eq!(Licence::of_expression(text).expression, expected, "{text}");
        }
        let odd = Licence::of_expression("MIT AND Odd_1");
        assert_eq!(odd.references["LicenseRef-Odd-1"], "Odd_1");
    }

    #[test]
    fn copyright_files_of_debian() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: GPL-2+\n text\n\n\
                    Files: a\nLicense: Expat or BSD-3-clause, and LGPL-2.1\n\nLicense: public-domain\n none\n\n\
                    Files: b\nLicense: GPL-2+ with Bison exception\n";
        let licence = Licence::of_copyright(text).unwrap();
        assert_eq!(
            licence.expression,
            "((MIT OR BSD-3-Clause) AND LGPL-2.1-only) AND GPL-2.0-or-later AND \
             LicenseRef-GPL-2--with-Bison-exception AND LicenseRef-public-domain"
        );
        assert_eq!(licence.references.len(), 2);
        assert_eq!(Licence::of_copyright("This is free software.\nLicense: GPL\n"), None);
        assert_eq!(Licence::of_copyright(""), None);
        let one = "Format: copyright-format/1.0\nLicense: zlib\n";
        assert_eq!(Licence::of_copyright(one).unwrap().expression, "Zlib");
    }
}
