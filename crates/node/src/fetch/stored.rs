//! Generations on the disk: which one may be started without the channel.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use jiff::Timestamp;
use mos_channel::{MAX_RELEASE, PublicKey, RELEASE, Release, Trust, verify};
use mos_update::{Generation, Layout, check, load};

/// So many generations are asked for their release; an orderly disk has two.
const SEEN_MAX: usize = 16;

/// Who may have signed what is on the disk.
pub struct Believed<'a> {
    /// The environment.
    pub environment: &'a str,
    /// Its keys.
    pub keys: &'a [PublicKey],
    /// Nothing older is started.
    pub minimum_sequence: u64,
}

impl Believed<'_> {
    /// Signature, environment and floor of a stored envelope. Age does not matter: at the beginning of time nothing is
    /// expired, and expiry bounds only how long a channel may hold back something newer.
    fn verify(&self, envelope: &[u8]) -> Result<Release, String> {
        let trust = Trust::new(self.environment, self.keys.to_vec());
        let release = verify(envelope, &trust, Timestamp::UNIX_EPOCH).map_err(|error| error.to_string())?;
        match release.sequence < self.minimum_sequence {
            true => Err(format!(
                "release {} is below {}, the oldest allowed",
                release.sequence, self.minimum_sequence
            )),
            false => Ok(release),
        }
    }

    /// The signed releases on the disk, whatever the state of their files: the newest of the channel and those of the
    /// newest generations.
    pub fn seen(&self, layout: &Layout) -> Vec<Release> {
        let newest = layout.numbers().unwrap_or_default().into_iter().rev().take(SEEN_MAX);
        let generations = newest.map(|number| layout.generation(number));
        let places = generations.chain([layout.channel()]);
        places.filter_map(|place| self.release(&place.join(RELEASE))).collect()
    }

    fn release(&self, path: &Path) -> Option<Release> {
        let mut envelope = Vec::new();
        let file = File::open(path).ok()?;
        file.take(MAX_RELEASE).read_to_end(&mut envelope).ok()?;
        self.verify(&envelope).ok()
    }

    /// A generation, when every file of it is as it was signed; otherwise each thing that is wrong, as a line.
    pub fn sound(&self, layout: &Layout, number: u64) -> Result<Generation, Vec<String>> {
        let generation = load(layout, number, &|envelope| self.verify(envelope));
        let generation = generation.map_err(|error| vec![error.to_string()])?;
        let damages = check(layout, &generation).map_err(|error| vec![error.to_string()])?;
        if damages.is_empty() {
            return Ok(generation);
        }
        let line = |damage| format!("generation {number}: {damage}");
        Err(damages.iter().map(line).collect())
    }

    /// The current generation, or else the newest other one that is sound. `complain` gets what is wrong with others.
    pub fn best(&self, layout: &Layout, complain: &mut dyn FnMut(String)) -> Option<Generation> {
        let current = layout.current_number().ok().flatten();
        let others = layout.numbers().unwrap_or_default().into_iter().rev();
        let candidates = current
            .into_iter()
            .chain(others.filter(|number| Some(*number) != current));
        for number in candidates {
            match self.sound(layout, number) {
                Ok(generation) => return Some(generation),
                Err(lines) => lines.into_iter().for_each(&mut *complain),
            }
        }
        None
    }
}
