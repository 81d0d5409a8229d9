//! Finding names: the children of each directory, so that a path is found by one binary search per part.

use std::ops::Range;

use crate::erofs::reader::NameRecord;

/// The children of every name, as indices into the names of the image, in bytewise order of their names.
#[derive(Debug)]
pub(crate) struct Children {
    /// The children of one name follow each other.
    all: Vec<u32>,
    /// Where the children of each name are in `all`.
    ranges: Vec<Range<u32>>,
}

impl Children {
    /// Of names in the order in which a walk meets them: parents first, siblings in bytewise order.
    pub(crate) fn of(names: &[NameRecord]) -> Self {
        let parents = parents(names);
        let mut counts = vec![0_u32; names.len()];
        for parent in parents.iter().skip(1) {
            counts[*parent as usize] += 1;
        }
        let mut next = 0;
        let mut ranges: Vec<Range<u32>> = Vec::with_capacity(names.len());
        for count in counts {
            ranges.push(next..next);
            next += count;
        }
        let mut all = vec![0; names.len().saturating_sub(1)];
        for (child, parent) in (0_u32..).zip(&parents).skip(1) {
            let range = &mut ranges[*parent as usize];
            all[range.end as usize] = child;
            range.end += 1;
        }
        Self { all, ranges }
    }

    /// The children of a name.
    pub(crate) fn below(&self, name: usize) -> &[u32] {
        let range = &self.ranges[name];
        &self.all[range.start as usize..range.end as usize]
    }
}

/// The parent of each name; the root is its own.
fn parents(names: &[NameRecord]) -> Vec<u32> {
    let mut path: Vec<u32> = Vec::new();
    let mut parents = Vec::with_capacity(names.len());
    for (index, name) in (0_u32..).zip(names) {
        path.truncate(usize::from(name.depth));
        parents.push(path.last().copied().unwrap_or(0));
        path.push(index);
    }
    parents
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::erofs::reader::Part;

    #[test]
    fn children_are_found_under_their_parents() {
        // a, a/b, a/b/c, a/d, e below the root
        let depths = [0, 1, 2, 3, 2, 1];
        let names = depths.map(|depth| NameRecord {
            depth,
            name: Part::default(),
            inode: 0,
        });
        let children = Children::of(&names);
        assert_eq!(children.below(0), [1, 5]);
        assert_eq!(children.below(1), [2, 4]);
        assert_eq!(children.below(2), [3]);
        assert_eq!(children.below(3), [0_u32; 0]);
        assert_eq!(Children::of(&names[..1]).below(0), [0_u32; 0]);
    }
}
