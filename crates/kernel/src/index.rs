//! The binary indexes of kmod, `modules.*.bin`: a trie of keys with values, which `modprobe` maps and walks without reading
//! the rest. It does not read the texts beside them.
//!
//! The format is that of kmod (`libkmod-index.c`), all numbers big-endian: magic, version, the offset of the root; then
//! nodes, children before their parents. The upper bits of an offset say which of the parts of a node are there: letters
//! that all its keys share; the first and last letter of its children, and their offsets; values with priorities. The
//! lowest priority comes first.

use std::collections::BTreeMap;

const MAGIC: u32 = 0xB007_F457;
/// Major version 2, minor version 1.
const VERSION: u32 = 0x0002_0001;

/// Parts of a node, in the upper bits of its offset.
const PREFIX: u32 = 0x8000_0000;
const VALUES: u32 = 0x4000_0000;
const CHILDREN: u32 = 0x2000_0000;
/// What remains for the offset.
const OFFSET: u32 = 0x0FFF_FFFF;

/// Keys are shorter than this, in bytes. The longest of Debian's kernels has about 150; what the kernel asks for has to fit
/// into an event of 2,048 bytes with all else that it says. Bounds the depth of the trie.
const KEY_LIMIT: usize = 1024;

/// The keys of an index, each with values and their priorities.
#[derive(Debug, Default)]
pub(crate) struct Index {
    keys: BTreeMap<Vec<u8>, Vec<(u32, String)>>,
}

/// Keys with their values, sorted.
type Keys<'k> = [(&'k [u8], &'k [(u32, String)])];

impl Index {
    /// Adds a value. A key that kmod cannot hold (not ASCII, with a NUL, too long) is left out: no kernel asks for one.
    pub(crate) fn add(&mut self, key: &str, value: &str, priority: u32) {
        let fits = key.len() < KEY_LIMIT && key.bytes().all(|byte| byte.is_ascii() && byte != 0);
        if !fits {
            return;
        }
        let values = self.keys.entry(key.as_bytes().to_vec()).or_default();
        if !values.iter().any(|(_, known)| known == value) {
            let place = values.partition_point(|(known, _)| *known <= priority);
            values.insert(place, (priority, value.to_owned()));
        }
    }

    /// The file; `None` when it would be larger than its offsets can say, 256 MiB.
    pub(crate) fn to_bytes(&self) -> Option<Vec<u8>> {
        let keys: Vec<_> = self
            .keys
            .iter()
            .map(|(key, values)| (key.as_slice(), values.as_slice()))
            .collect();
        let mut file = [MAGIC, VERSION, 0].map(u32::to_be_bytes).concat();
        let root = node(&mut file, &keys, 0, 0)?;
        file[8..12].copy_from_slice(&root.to_be_bytes());
        Some(file)
    }
}

/// Writes the node of keys that are equal up to `start`, of which the letters from there to `end` are its own; returns its
/// offset and parts. As deep as the longest key.
fn node(file: &mut Vec<u8>, keys: &Keys<'_>, start: usize, end: usize) -> Option<u32> {
    let own = keys.first().filter(|(key, _)| key.len() == end);
    let below = &keys[usize::from(own.is_some())..];
    let mut children: BTreeMap<u8, u32> = BTreeMap::new();
    for group in below.chunk_by(|left, right| left.0[end] == right.0[end]) {
        let child = node(file, group, end + 1, shared(group, end + 1))?;
        children.insert(group[0].0[end], child);
    }
    let offset = u32::try_from(file.len()).ok().filter(|offset| *offset <= OFFSET)?;
    let mut parts = 0;
    if end > start {
        file.extend_from_slice(&keys[0].0[start..end]);
        file.push(0);
        parts |= PREFIX;
    }
    if let (Some((first, _)), Some((last, _))) = (children.first_key_value(), children.last_key_value()) {
        file.extend_from_slice(&[*first, *last]);
        for letter in *first..=*last {
            let child = children.get(&letter).copied().unwrap_or(0);
            file.extend_from_slice(&child.to_be_bytes());
        }
        parts |= CHILDREN;
    }
    if let Some((_, values)) = own {
        put_values(file, values)?;
        parts |= VALUES;
    }
    Some(offset | parts)
}

fn put_values(file: &mut Vec<u8>, values: &[(u32, String)]) -> Option<()> {
    file.extend_from_slice(&u32::try_from(values.len()).ok()?.to_be_bytes());
    for (priority, value) in values {
        file.extend_from_slice(&priority.to_be_bytes());
        file.extend_from_slice(value.as_bytes());
        file.push(0);
    }
    Some(())
}

/// How far these keys, which are sorted and equal up to `from`, are all the same.
fn shared(keys: &Keys<'_>, from: usize) -> usize {
    let (Some((first, _)), Some((last, _))) = (keys.first(), keys.last()) else {
        return from;
    };
    let same = first[from..].iter().zip(&last[from..]);
    from + same.take_while(|(left, right)| left == right).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_small_index() {
        let mut index = Index::default();
        index.add("on", "b", 2);
        index.add("one", "c", 1);
        index.add("on", "a", 1);
        index.add("on", "a", 1);
        index.add("naïve", "x", 0);
        let expected = [
            [MAGIC, VERSION, 0].map(u32::to_be_bytes).concat(),
            // `one`: no letters of its own, one value.
            vec![0, 0, 0, 1, 0, 0, 0, 1, b'c', 0],
            // `on`: the letter behind `o`; one child; two values.
            b"n\0ee".to_vec(),
            (12 | VALUES).to_be_bytes().to_vec(),
            vec![0, 0, 0, 2, 0, 0, 0, 1, b'a', 0, 0, 0, 0, 2, b'b', 0],
            // The root.
            b"oo".to_vec(),
            (22 | PREFIX | CHILDREN | VALUES).to_be_bytes().to_vec(),
        ]
        .concat();
        let mut expected = expected;
        let root = (expected.len() - 6) as u32 | CHILDREN;
        expected[8..12].copy_from_slice(&root.to_be_bytes());
        assert_eq!(index.to_bytes().unwrap(), expected);
    }

    #[test]
    fn an_empty_index_has_a_root_with_nothing() {
        let expected = [MAGIC, VERSION, 12].map(u32::to_be_bytes).concat();
        assert_eq!(Index::default().to_bytes().unwrap(), expected);
    }

    #[test]
    fn long_chains_of_keys_do_not_exhaust_the_stack() {
        let mut index = Index::default();
        for length in 1..KEY_LIMIT + 10 {
            index.add(&"a".repeat(length), "", 0);
        }
        assert!(index.to_bytes().is_some());
    }
}
