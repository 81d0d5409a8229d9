//! `APKINDEX.tar.gz`: what a repository offers. Two compressed archives follow each other: the signature, and what is
//! signed (apk-index(8)): `DESCRIPTION` and `APKINDEX`, blocks of `K:value` lines with an empty line between.

use crate::Package;
use crate::archive::{self, Limits};
use crate::gzip;
use crate::keys::{Keys, signatures};
use crate::package::split_line;

/// The name of an index in a repository.
pub const FILE_NAME: &str = "APKINDEX.tar.gz";
/// Largest index that is read, compressed, in bytes; Alpine's largest has 3 MB.
pub(crate) const COMPRESSED_MAX: u64 = 64 << 20;
/// Largest index once decompressed; Alpine's largest has 12 MB.
const PLAIN_MAX: u64 = 512 << 20;

/// A repository's index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// What the repository calls itself: `v3.22.0-1-g…`.
    pub description: String,
    /// In the order of the index.
    pub packages: Vec<Package>,
}

impl Index {
    /// Checks the signature of an index and reads it.
    ///
    /// # Errors
    /// What is wrong: no signature by a known key, damaged archives, or the line of the index.
    pub fn read(bytes: &[u8], keys: &Keys) -> Result<Self, String> {
        let signature = gzip::first_member(bytes, gzip::SIGNATURE_MAX)?;
        let signed = &bytes[signature.length..];
        keys.verify(&signatures(&signature.plain)?, signed)?;
        let mut index = Self::default();
        let mut found = false;
        let limits = Limits::content(PLAIN_MAX);
        let plain = flate2::bufread::MultiGzDecoder::new(signed);
        archive::each(plain, limits, |entry| {
            match entry.path.as_slice() {
                b"DESCRIPTION" => index.description = String::from_utf8_lossy(&entry.content).trim().to_owned(),
                b"APKINDEX" => {
                    found = true;
                    index.packages = parse(&entry.content)?;
                }
                _ => {}
            }
            Ok(())
        })?;
        match found {
            true => Ok(index),
            false => Err("there is no file APKINDEX in it".to_owned()),
        }
    }
}

/// Parses `APKINDEX`.
///
/// # Errors
/// The line, and what is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<Vec<Package>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "APKINDEX is not UTF-8".to_owned())?;
    let mut packages = Vec::new();
    let mut current: Option<Package> = None;
    let end = |package: Option<Package>, packages: &mut Vec<Package>| {
        package.map_or(Ok(()), |package| {
            package.check()?;
            packages.push(package);
            Ok(())
        })
    };
    for (number, line) in text.lines().enumerate() {
        let at = |problem: String| format!("APKINDEX:{}: {problem}", number + 1);
        if line.is_empty() {
            end(current.take(), &mut packages).map_err(at)?;
            continue;
        }
        let (field, value) = split_line(line).map_err(at)?;
        current.get_or_insert_default().take(field, value).map_err(at)?;
    }
    end(current, &mut packages)?;
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BLOCK: &str = "C:Q1qKcZ+j23xssAXmgQhkOO8dHnbWw=
P:busybox
V:1.36.1-r29
A:x86_64
S:509600
I:962560
T:Size optimized toolbox of many common UNIX utilities
U:https://busybox.net/
L:GPL-2.0-only
o:busybox
m:Sören <soeren@example.org>
t:1718003489
c:1747c01fb96905f101c25609011589d28e01cbb8
k:100
D:so:libc.musl-x86_64.so.1 !uutils
p:/bin/sh cmd:busybox=1.36.1-r29
i:alpine-baselayout
";

    #[test]
    fn every_field_is_kept() {
        let packages = parse(format!("{BLOCK}\n\n{BLOCK}").as_bytes()).unwrap();
        assert_eq!(packages.len(), 2);
        assert_eq!(packages[0], packages[1]);
        let package = &packages[0];
        assert_eq!(package.lines(), BLOCK);
        assert_eq!((package.size, package.provider_priority), (509_600, 100));
        assert!(package.depends[1].conflict);
        assert_eq!(package.provides[1].to_string(), "cmd:busybox=1.36.1-r29");
    }

    #[test]
    fn fields_of_later_formats() {
        let packages = parse(format!("{BLOCK}x:1\n\n{BLOCK}X:1\nr:a\nq:7\nF:etc\n").as_bytes()).unwrap();
        assert_eq!(packages[0].unsupported, None);
        assert_eq!(packages[1].unsupported, Some('X'));
        assert_eq!((packages[1].replaces.len(), packages[1].replaces_priority), (1, 7));
    }

    #[test]
    fn damage_is_named_by_its_line() {
        for (text, said) in [
            ("P:a\nV:1\nS:x\n", "APKINDEX:3: `S:x`: not a number"),
            ("P:a\nV:1\nnonsense\n", "APKINDEX:3: `nonsense`: `X:value` was expected"),
            ("P:a\n\n", "APKINDEX:2: a: `` is no version"),
            ("P:../a\nV:1\n\n", "APKINDEX:3: `../a` is not the name of a package"),
            ("P:a\nV:1\nD:b b==1\n", "APKINDEX:3: `b==1`: there is no operator `==`"),
            ("C:Q9\n", "APKINDEX:1: `Q9` is no checksum"),
        ] {
            let problem = parse(text.as_bytes()).unwrap_err();
            assert!(problem.starts_with(said), "{problem}");
        }
        assert!(parse(b"P:\xff\n").is_err());
    }

    proptest! {
        #[test]
        fn damage_never_panics(position in 0..BLOCK.len(), value: u8) {
            let mut bytes = BLOCK.as_bytes().to_vec();
            bytes[position] = value;
            let _ = parse(&bytes);
        }
    }
}
