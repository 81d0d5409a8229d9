//! What is known of a package: the fields of `APKINDEX`, of `.PKGINFO` and of `lib/apk/db/installed`.

use std::fmt::Write as _;

use crate::dependency::{parse_list, show_list};
use crate::{Checksum, Dependency};

/// A package of one version, as an index describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// `C:` digest of the compressed control part of the file: what tells one package from another.
    pub checksum: Checksum,
    /// `P:`
    pub name: String,
    /// `V:`
    pub version: String,
    /// `A:` `x86_64`, `aarch64`, `noarch`.
    pub architecture: String,
    /// `S:` bytes of the file.
    pub size: u64,
    /// `I:` bytes when installed.
    pub installed_size: u64,
    /// `T:`
    pub description: String,
    /// `U:`
    pub url: String,
    /// `L:` an SPDX expression.
    pub license: String,
    /// `o:` the package that this one was built with.
    pub origin: String,
    /// `m:` name and address.
    pub maintainer: String,
    /// `t:` seconds since 1970; 0 when unknown.
    pub build_time: u64,
    /// `c:` of the build recipes.
    pub commit: String,
    /// `k:` which provider of a virtual name comes first; without one, none is chosen on its own.
    pub provider_priority: u64,
    /// `D:` with conflicts.
    pub depends: Vec<Dependency>,
    /// `p:`
    pub provides: Vec<Dependency>,
    /// `i:` installed on its own when all of these are.
    pub install_if: Vec<Dependency>,
    /// `r:` packages whose files this one may overwrite.
    pub replaces: Vec<Dependency>,
    /// `q:` who wins when two packages replace each other.
    pub replaces_priority: u64,
    /// A field of a later format, which says that this program must not install the package.
    pub unsupported: Option<char>,
}

impl Default for Package {
    fn default() -> Self {
        Self {
            checksum: Checksum::Sha1([0; 20]),
            name: String::new(),
            version: String::new(),
            architecture: String::new(),
            size: 0,
            installed_size: 0,
            description: String::new(),
            url: String::new(),
            license: String::new(),
            origin: String::new(),
            maintainer: String::new(),
            build_time: 0,
            commit: String::new(),
            provider_priority: 0,
            depends: Vec::new(),
            provides: Vec::new(),
            install_if: Vec::new(),
            replaces: Vec::new(),
            replaces_priority: 0,
            unsupported: None,
        }
    }
}

impl Package {
    /// `busybox-1.36.1-r29`.
    pub fn full_name(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    /// The name of the file in a repository.
    pub fn file_name(&self) -> String {
        format!("{}.apk", self.full_name())
    }

    /// Takes a line `K:value`. False for a field that describes no package, such as a file of the database of what is
    /// installed.
    pub(crate) fn take(&mut self, field: char, value: &str) -> Result<bool, String> {
        let number = || value.parse().map_err(|_| format!("`{field}:{value}`: not a number"));
        let text = || value.to_owned();
        match field {
            'C' => self.checksum = value.parse()?,
            'P' => self.name = text(),
            'V' => self.version = text(),
            'A' => self.architecture = text(),
            'S' => self.size = number()?,
            'I' => self.installed_size = number()?,
            'T' => self.description = text(),
            'U' => self.url = text(),
            'L' => self.license = text(),
            'o' => self.origin = text(),
            'm' => self.maintainer = text(),
            't' => self.build_time = number()?,
            'c' => self.commit = text(),
            'k' => self.provider_priority = number()?,
            'D' => self.depends.extend(parse_list(value)?),
            'p' => self.provides.extend(parse_list(value)?),
            'i' => self.install_if.extend(parse_list(value)?),
            'r' => self.replaces.extend(parse_list(value)?),
            'q' => self.replaces_priority = number()?,
            'F' | 'M' | 'R' | 'Z' | 'a' | 's' | 'f' => return Ok(false),
            // Later formats add fields: small letters where older programs may go on without, large ones where not.
            _ => {
                if !field.is_ascii_lowercase() {
                    self.unsupported = Some(field);
                }
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Names go into paths and URLs, so they must be what Alpine allows.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub(crate) fn check(&self) -> Result<(), String> {
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
        if self.name.is_empty() || self.name.starts_with(['.', '-']) || !self.name.bytes().all(sound) {
            return Err(format!("`{}` is not the name of a package", self.name.escape_debug()));
        }
        match crate::version::is_valid(&self.version) {
            true => Ok(()),
            false => Err(format!(
                "{}: `{}` is no version",
                self.name,
                self.version.escape_debug()
            )),
        }
    }

    /// The lines that stand before a package's files in the database, in the order in which apk writes them.
    pub(crate) fn lines(&self) -> String {
        let mut text = format!("C:{}\nP:{}\nV:{}\n", self.checksum, self.name, self.version);
        let mut line = |field: char, value: &str, always: bool| {
            if always || !value.is_empty() {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{field}:{value}");
            }
        };
        let number = |value: u64| if value == 0 { String::new() } else { value.to_string() };
        line('A', &self.architecture, false);
        line('S', &self.size.to_string(), true);
        line('I', &self.installed_size.to_string(), true);
        line('T', &self.description, true);
        line('U', &self.url, true);
        line('L', &self.license, true);
        line('o', &self.origin, false);
        line('m', &self.maintainer, false);
        line('t', &number(self.build_time), false);
        line('c', &self.commit, false);
        line('k', &number(self.provider_priority), false);
        line('D', &show_list(&self.depends), false);
        line('p', &show_list(&self.provides), false);
        line('i', &show_list(&self.install_if), false);
        text
    }

    /// The lines that follow [`Package::lines`] in the database of what is installed, but in no index.
    pub(crate) fn installed_lines(&self) -> String {
        let mut text = self.lines();
        if !self.replaces.is_empty() {
            let _ = writeln!(text, "r:{}", show_list(&self.replaces));
        }
        if self.replaces_priority != 0 {
            let _ = writeln!(text, "q:{}", self.replaces_priority);
        }
        text
    }
}

/// `K:value`.
pub(crate) fn split_line(line: &str) -> Result<(char, &str), String> {
    let mut letters = line.chars();
    match (letters.next(), letters.next()) {
        (Some(field), Some(':')) if field.is_ascii_alphabetic() => Ok((field, letters.as_str())),
        _ => Err(format!("`{}`: `X:value` was expected", line.escape_debug())),
    }
}
