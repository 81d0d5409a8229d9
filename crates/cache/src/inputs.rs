//! What went into a step, as a hash.

use mos_store::Digest;

/// Collects the inputs of a step. Each is named, so that moving bytes from one input to another changes the key.
#[derive(Debug, Clone)]
pub struct Inputs {
    hasher: Vec<u8>,
}

impl Inputs {
    /// Begins with the step's name and the version of its output format: raise the version whenever the same inputs
    /// would give other bytes than before.
    pub fn new(step: &str, version: u32) -> Self {
        Self { hasher: Vec::new() }
            .add("step", step)
            .add("version", version.to_le_bytes())
    }

    /// Adds an input.
    #[must_use]
    pub fn add(mut self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        for part in [name.as_bytes(), bytes.as_ref()] {
            self.hasher.extend_from_slice(&(part.len() as u64).to_le_bytes());
            self.hasher.extend_from_slice(part);
        }
        self
    }

    /// Adds an input that is large or elsewhere, by its digest.
    #[must_use]
    pub fn add_digest(self, name: &str, digest: &Digest) -> Self {
        self.add(name, digest.as_bytes())
    }

    /// The key under which the step's output is kept.
    pub fn key(&self) -> Digest {
        Digest::of(&self.hasher)
    }
}

#[cfg(test)]
mod tests {
    use super::Inputs;

    #[test]
    fn every_part_counts() {
        let key = |name: &str, bytes: &str| Inputs::new("pack", 1).add(name, bytes).key();
        assert_eq!(key("a", "bc"), key("a", "bc"));
        assert_ne!(key("a", "bc"), key("ab", "c"));
        assert_ne!(key("a", "b"), Inputs::new("pack", 2).add("a", "b").key());
        assert_ne!(key("a", ""), Inputs::new("pack", 1).key());
    }
}
