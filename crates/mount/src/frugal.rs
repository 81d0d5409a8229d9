//! What every program that serves a mount for days gives [`crate::mount`]: an image that keeps little in memory, and a store
//! that is not waited for longer than readers wait.

use std::sync::Arc;
use std::time::Duration;

use mos_flist::{Flist, Reader};
use mos_store::{Options, Read, Schedule, Timeouts};

/// A request that says nothing for this long is given up, so that a store that comes back is noticed soon.
const SILENCE: Duration = Duration::from_secs(10);
/// Tries of one read; whoever asked waits as long as [`crate::MountOptions::wait`] says anyway.
pub const TRIES: u32 = 4;
/// Bytes of decoded frames to keep. What was read is in the page cache; this is for neighbours of what was read, and for
/// what is fetched ahead: three of the largest. With twice this, reading everything gets a fifth faster and the daemon a
/// quarter larger.
const FRAMES: usize = 3 << 20;

/// How long to wait for a store that is asked so often for each part.
pub fn patience(tries: u32) -> Options {
    Options {
        timeouts: Timeouts {
            connect: SILENCE,
            read: SILENCE,
            ..Timeouts::default()
        },
        schedule: Schedule {
            tries,
            ..Schedule::default()
        },
        ..Options::default()
    }
}

/// An flist with its store.
pub fn reader(flist: Arc<Flist>, store: Arc<dyn Read>) -> Reader {
    Reader::new(flist, store).keeping(FRAMES)
}
