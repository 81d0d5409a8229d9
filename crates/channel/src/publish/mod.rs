//! Publishing: a survey of the channel, a pure plan, and its execution.
//!
//! The order of the steps is the whole safety argument: blobs, flists, the boot image, `releases/<n>.json`, and last
//! `release.json`, which is replaced in one step. Killed anywhere, the channel still shows the old release with all its
//! parts; what was written for the new one is found again by the next survey and not sent twice.

mod error;
mod execute;
mod inputs;
mod plan;
mod survey;

pub use error::PublishError;
pub use execute::{Progress, execute};
pub use inputs::{Boot, FlistFile, Inputs};
pub use plan::{PublishPlan, Source, Step, plan_publish};
pub use survey::{Existing, survey};
