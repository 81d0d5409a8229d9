//! What supervisors are given to do: services, and which of them needs which.

/// How a service behaves; the word that the program of `service.c` knows it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Stamps and ends.
    Once,
    /// Stamps and stays.
    Stay,
    /// Prints so many bytes, stamps and stays.
    Chat(u32),
}

/// A service. Its name is its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) number: usize,
    pub(super) manner: Manner,
    /// The number of the one that it needs.
    pub(super) needs: Option<usize>,
}

/// So many without any order.
pub(super) fn independent(count: usize, manner: Manner) -> Vec<Service> {
    services(count, manner, |_| None)
}

/// Chains of oneshots: each but the first of a chain needs the one before.
pub(super) fn chains(chains: usize, length: usize) -> Vec<Service> {
    services(chains * length, Manner::Once, |number| {
        (!number.is_multiple_of(length)).then(|| number - 1)
    })
}

/// Oneshots of which all but the first need the first.
pub(super) fn fan(count: usize) -> Vec<Service> {
    services(count, Manner::Once, |number| (number > 0).then_some(0))
}

fn services(count: usize, manner: Manner, needs: impl Fn(usize) -> Option<usize>) -> Vec<Service> {
    let service = |number| Service {
        number,
        manner,
        needs: needs(number),
    };
    (0..count).map(service).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_do_not_touch_and_a_fan_has_one_base() {
        let needs = |services: Vec<Service>| -> Vec<Option<usize>> { services.iter().map(|one| one.needs).collect() };
        assert_eq!(needs(chains(2, 3)), [None, Some(0), Some(1), None, Some(3), Some(4)]);
        assert_eq!(needs(fan(3)), [None, Some(0), Some(0)]);
        assert_eq!(needs(independent(2, Manner::Stay)), [None, None]);
    }
}
