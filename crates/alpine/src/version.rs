//! Alpine's versions and their order (apk-package(5), "pkgver"):
//! `digits{.digits}{letter}{_suffix{digits}}{~hash}{-rdigits}`.
//!
//! Parts are compared from the left. A part after a leading zero is compared as text, so that `1.05` comes before
//! `1.5`. Where one version goes on and the other ends, the longer one is newer, unless it goes on with a suffix of
//! something that is not released yet: `_alpha _beta _pre _rc` < nothing < `_cvs _svn _git _hg _p`.

use std::cmp::Ordering;

/// Suffixes of what comes before a release, oldest first.
const BEFORE: [&str; 4] = ["alpha", "beta", "pre", "rc"];
/// Suffixes of what comes after a release, oldest first.
const AFTER: [&str; 5] = ["cvs", "svn", "git", "hg", "p"];

/// A part of a version. The order of the variants is that in which they may follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part<'v> {
    /// The digits at the start.
    First(u64),
    /// Digits after a dot.
    Digits(u64, &'v str),
    /// One lower-case letter.
    Letter(u8),
    /// Negative before a release, otherwise after it.
    Suffix(i8),
    /// Digits of a suffix.
    SuffixNumber(u64),
    /// Commit of a snapshot, hexadecimal.
    Hash(&'v str),
    /// `-r1`.
    Revision(u64),
    /// Nothing is left.
    End,
    /// What is left is no version.
    Invalid,
}

/// Reads a version part by part; ends with [`Part::End`] or [`Part::Invalid`], again and again.
struct Parts<'v> {
    rest: &'v str,
    previous: Option<Part<'v>>,
}

/// True for a version that Alpine accepts.
pub fn is_valid(version: &str) -> bool {
    let mut parts = Parts::of(version);
    loop {
        match parts.take() {
            Part::End => return true,
            Part::Invalid => return false,
            _ => {}
        }
    }
}

/// Which of two versions is newer. Total for valid ones; of others only the valid beginning counts.
pub fn compare(a: &str, b: &str) -> Ordering {
    compare_parts(a, b, false)
}

/// As [`compare`], but equal to whatever begins with the parts of `prefix`: `1.2.3-r1` to `1.2`, but not to `1.20`.
pub fn compare_with_prefix(version: &str, prefix: &str) -> Ordering {
    compare_parts(version, prefix, true)
}

fn compare_parts(a: &str, b: &str, prefix: bool) -> Ordering {
    let (mut left, mut right) = (Parts::of(a), Parts::of(b));
    loop {
        let (ours, theirs) = (left.take(), right.take());
        if ours.rank() != theirs.rank() {
            return match prefix && theirs == Part::End {
                true => Ordering::Equal,
                false => differing(ours, theirs),
            };
        }
        let order = ours.value(theirs);
        if order != Ordering::Equal || matches!(ours, Part::End | Part::Invalid) {
            return order;
        }
    }
}

/// The order of versions that were equal up to here and go on with different kinds of parts.
fn differing(ours: Part<'_>, theirs: Part<'_>) -> Ordering {
    match (ours, theirs) {
        (Part::Suffix(value), _) if value < 0 => Ordering::Less,
        (_, Part::Suffix(value)) if value < 0 => Ordering::Greater,
        _ => theirs.rank().cmp(&ours.rank()),
    }
}

impl Part<'_> {
    fn rank(self) -> u8 {
        match self {
            Self::First(_) => 0,
            Self::Digits(..) => 1,
            Self::Letter(_) => 2,
            Self::Suffix(_) => 3,
            Self::SuffixNumber(_) => 4,
            Self::Hash(_) => 5,
            Self::Revision(_) => 6,
            Self::End => 7,
            Self::Invalid => 8,
        }
    }

    /// The order of two parts of one kind.
    fn value(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Digits(_, a), Self::Digits(_, b)) if a.starts_with('0') || b.starts_with('0') => a.cmp(b),
            (Self::Digits(a, _), Self::Digits(b, _))
            | (Self::First(a), Self::First(b))
            | (Self::SuffixNumber(a), Self::SuffixNumber(b))
            | (Self::Revision(a), Self::Revision(b)) => a.cmp(&b),
            (Self::Letter(a), Self::Letter(b)) => a.cmp(&b),
            (Self::Suffix(a), Self::Suffix(b)) => a.cmp(&b),
            (Self::Hash(a), Self::Hash(b)) => a.cmp(b),
            _ => Ordering::Equal,
        }
    }
}

impl<'v> Parts<'v> {
    fn of(version: &'v str) -> Self {
        Self {
            rest: version,
            previous: None,
        }
    }

    fn take(&mut self) -> Part<'v> {
        let part = match self.previous {
            None => self.digits().map_or(Part::Invalid, |(value, _)| Part::First(value)),
            Some(Part::End) => Part::End,
            Some(Part::Invalid) => Part::Invalid,
            Some(_) if self.rest.is_empty() => Part::End,
            Some(previous) => self.next_after(previous).unwrap_or(Part::Invalid),
        };
        self.previous = Some(part);
        part
    }

    fn next_after(&mut self, previous: Part<'v>) -> Option<Part<'v>> {
        let first = *self.rest.as_bytes().first()?;
        let after = previous.rank();
        match first {
            b'a'..=b'z' if after <= 1 => {
                self.rest = &self.rest[1..];
                Some(Part::Letter(first))
            }
            b'.' if after <= 1 => {
                self.rest = &self.rest[1..];
                self.digits().map(|(value, text)| Part::Digits(value, text))
            }
            b'0'..=b'9' if after == 3 => self.digits().map(|(value, _)| Part::SuffixNumber(value)),
            b'_' if after <= 4 => self.suffix(),
            b'~' if after <= 4 => self.hash(),
            b'-' if after <= 5 => {
                self.rest = self.rest.strip_prefix("-r")?;
                self.digits().map(|(value, _)| Part::Revision(value))
            }
            _ => None,
        }
    }

    fn while_is(&mut self, wanted: impl Fn(u8) -> bool) -> &'v str {
        let end = self.rest.bytes().position(|byte| !wanted(byte));
        let (taken, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// `None` for no digits, or more of them than 64 bits hold.
    fn digits(&mut self) -> Option<(u64, &'v str)> {
        let text = self.while_is(|byte| byte.is_ascii_digit());
        text.parse().ok().map(|value| (value, text))
    }

    fn suffix(&mut self) -> Option<Part<'v>> {
        self.rest = &self.rest[1..];
        let name = self.while_is(|byte| byte.is_ascii_lowercase());
        let place = |names: &[&str]| names.iter().position(|known| *known == name);
        let before = place(&BEFORE).map(|place| place as i8 - BEFORE.len() as i8);
        before.or(place(&AFTER).map(|place| place as i8)).map(Part::Suffix)
    }

    fn hash(&mut self) -> Option<Part<'v>> {
        self.rest = &self.rest[1..];
        let text = self.while_is(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (!text.is_empty()).then_some(Part::Hash(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Each line is in rising order.
    const RISING: &[&str] = &[
        "0.1.0_alpha 0.1.0_alpha2 0.1.3_alpha 0.7-r1 1.0.0 1.0.1 1.0.4-r3 1.0.4-r4 1.1_alpha1 1.1 1.2 1.2.1 1.6 2.2.39-r1",
        "1_alpha 1_beta 1_pre 1_rc 1_rc2 1 1_cvs 1_svn 1_git 1_hg 1_p 1_p1 1.0 1.1",
        "1.2_alpha1 1.2_beta1 1.2_pre1 1.2_rc1 1.2 1.2-r1 1.2_p1 1.2_p1-r1 1.2_p1_p1 1.2a 1.2b 1.2.0 1.2.0-r10 1.2.10",
        "2.3.0 2.3.0-r5 2.3.0b-r1 2.3.0b-r2 2.3.0c 2.3.1",
        "4.05 4.09-r1 4.5.14 4.8-r1 4.10",
        "1.0_git20230101 1.0_git20230101-r0 1.0_git20230101-r1 1.0_git20230101~0abc 1.0_git20230101~0abd-r0 1.0_git20240101",
        "0.9.12 0.9.13_rc1 0.9.13 0.9.13.1 0.10 1.0.2 1.0.10",
        "9 10 11-r0 11-r9 11-r10",
    ];

    #[test]
    fn documented_order() {
        for line in RISING {
            let versions: Vec<&str> = line.split(' ').collect();
            for (i, a) in versions.iter().enumerate() {
                assert!(is_valid(a), "{a}");
                for (j, b) in versions.iter().enumerate() {
                    assert_eq!(compare(a, b), i.cmp(&j), "{a} {b}");
                }
            }
        }
    }

    #[test]
    fn prefixes_end_between_parts() {
        for (version, prefix, equal) in [
            ("1.2.3-r1", "1.2", true),
            ("1.2.3-r1", "1.2.3", true),
            ("1.20", "1.2", false),
            ("1.2", "1.2.3", false),
            ("1.2_rc1", "1.2", true),
            ("1.2", "1.2", true),
        ] {
            assert_eq!(
                compare_with_prefix(version, prefix) == Ordering::Equal,
                equal,
                "{version} {prefix}"
            );
        }
    }

    #[test]
    fn what_is_no_version() {
        for version in [
            "",
            "a",
            "1.",
            ".1",
            "1.0bc",
            "1_foo",
            "1_",
            "1-1",
            "1-r",
            "1-r1-r2",
            "1.0 ",
            "1~",
            "1~xyz",
            "1-r1_p1",
            "1a1",
            "99999999999999999999",
            "1.0é",
        ] {
            assert!(!is_valid(version), "{version}");
        }
    }

    fn version() -> impl Strategy<Value = String> {
        "[0-9]{1,2}(\\.[0-9]{1,2}){0,2}[ab]?(_(alpha|beta|pre|rc|cvs|svn|git|hg|p)[0-9]{0,2}){0,2}(~[0-9a-f]{2})?(-r[0-9])?"
    }

    proptest! {
        #[test]
        fn it_is_an_order(a in version(), b in version(), c in version()) {
            prop_assert!(is_valid(&a));
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            if compare(&a, &b) != Ordering::Greater && compare(&b, &c) != Ordering::Greater {
                prop_assert_ne!(compare(&a, &c), Ordering::Greater);
            }
        }

        #[test]
        fn any_text_has_an_answer(a in ".{0,12}", b in ".{0,12}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            is_valid(&a);
        }
    }
}
