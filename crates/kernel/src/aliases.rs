//! Finds the aliases that answer to a name, among some tens of thousands, without comparing it with all.
//!
//! The aliases stay where they are; the index has their places by a hash. Of those without wildcards that is of the whole
//! alias; of the others of its class, what is before the first `:`, or of nothing when a wildcard is in that already.

use crate::lists;

/// Where an alias is, in numbers of whoever has it.
pub(crate) type Place = (u32, u32);

/// Places of aliases, sorted by hash.
#[derive(Debug, Clone, Default)]
pub(crate) struct Aliases {
    /// Without wildcards, as the kernel compares them.
    exact: Vec<(u64, Place)>,
    patterns: Vec<(u64, Place)>,
}

impl Aliases {
    pub(crate) fn new<'a>(aliases: impl Iterator<Item = (Place, &'a str)>) -> Self {
        let mut found = Self::default();
        for (place, alias) in aliases {
            if alias.contains(WILD) {
                found.patterns.push((hash(class(alias)), place));
            } else {
                found.exact.push((hash(alias), place));
            }
        }
        found.exact.sort_unstable();
        found.patterns.sort_unstable();
        found
    }

    /// The places of aliases that match a name; `alias` tells what is at a place.
    pub(crate) fn matching<'a>(&self, name: &str, alias: impl Fn(Place) -> &'a str) -> impl Iterator<Item = Place> {
        let class = class(name);
        let any: &[(u64, Place)] = match class {
            "" => &[],
            _ => with(&self.patterns, hash("")),
        };
        let candidates = [with(&self.exact, hash(name)), with(&self.patterns, hash(class)), any];
        let places = candidates.into_iter().flatten().map(|(_, place)| *place);
        places.filter(move |place| lists::matches(alias(*place), name))
    }

    /// The places of aliases with wildcards in a class, such as `mdio` of `mdio:0000…`.
    pub(crate) fn of_class<'a>(&self, class: &str, alias: impl Fn(Place) -> &'a str) -> impl Iterator<Item = Place> {
        let places = with(&self.patterns, hash(class)).iter().map(|(_, place)| *place);
        places.filter(move |place| self::class(alias(*place)) == class)
    }
}

/// What makes an alias a pattern.
const WILD: [char; 3] = ['*', '?', '['];

/// What is before the first `:`; nothing when a wildcard is, which may stand for any.
fn class(alias: &str) -> &str {
    let class = alias.split_once(':').map_or("", |(class, _)| class);
    if class.contains(WILD) { "" } else { class }
}

/// FNV-1a, with `-` and `_` equal. Different aliases with the same hash cost a comparison.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        let byte = if byte == b'-' { b'_' } else { byte };
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Those of a sorted list with this hash.
fn with(list: &[(u64, Place)], hash: u64) -> &[(u64, Place)] {
    let start = list.partition_point(|(own, _)| *own < hash);
    let end = start + list[start..].partition_point(|(own, _)| *own == hash);
    &list[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(aliases: &[String], name: &str) -> Vec<u32> {
        let places = (0..).map(|place| (place, 0));
        let index = Aliases::new(places.zip(aliases.iter().map(String::as_str)));
        let mut found: Vec<u32> = index
            .matching(name, |(place, _)| &aliases[place as usize])
            .map(|(place, _)| place)
            .collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn names_classes_and_wildcards_in_the_class() {
        let aliases = ["fs-ext4", "pci:v1*", "usb:v1*", "*-any", "a-b:c?", "[a-b]x"].map(str::to_owned);
        assert_eq!(found(&aliases, "fs_ext4"), [0]);
        assert_eq!(found(&aliases, "pci:v12"), [1]);
        assert_eq!(found(&aliases, "a_b:cd"), [4]);
        assert_eq!(found(&aliases, "usb:v1-any"), [2, 3]);
        assert_eq!(found(&aliases, "bx"), [5]);
    }

    proptest! {
        #[test]
        fn as_if_it_were_compared_with_all(
            aliases in prop::collection::vec("[ab:_-]{0,4}[*?]?[a:]{0,2}", 0..40),
            name in "[ab:_-]{0,6}",
        ) {
            let all: Vec<u32> = (0..).zip(&aliases)
                .filter(|(_, alias)| lists::matches(alias, &name))
                .map(|(place, _)| place)
                .collect();
            prop_assert_eq!(found(&aliases, &name), all);
        }
    }
}
