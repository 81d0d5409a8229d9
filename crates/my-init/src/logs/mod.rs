//! What services print: kept in memory, read with times, followed, bounded.
//!
//! | file | concern |
//! |---|---|
//! | `log` | the newest bytes of one log, in a file in memory |
//! | `head` | what stands before them in that file: what a successor has to know |
//! | `marks` | when which byte came |
//! | `lines` | bytes to lines with times |
//! | `show` | reading them from another process |
//! | `file` | a file on a disk that is begun anew when it is long |
//! | `writer` | the process that writes logs to files |
//! | `kmsg` | records of the kernel's log |
//! | `syslog` | messages to `/dev/log` |
//! | `rate` | how many of them one sender may send |
//! | `date` | times as people write them |
//! | `limits` | what all logs together may take |
//! | `budget` | who pays when that is exceeded |

pub mod budget;
pub mod date;
pub mod file;
pub mod head;
pub mod kmsg;
pub mod limits;
pub mod lines;
mod log;
pub mod marks;
pub mod rate;
pub mod show;
pub mod syslog;
pub mod writer;

pub use limits::Limits;
pub use log::{Log, PipeState, state_of};
pub use marks::Mark;
