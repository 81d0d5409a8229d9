//! From a plan to artefacts: runtime flists and the boot image of one environment.
//!
//! ```text
//! Plan --runtime--> flists + blobs in the local store      components, staged flat, packed
//!      --image----> vmlinuz.efi, initramfs, report         packages, modules, programs, settings
//!      --outputs--> disks, discs, files for network boot   what the image is shipped as
//!      --release--> a publish plan, on top of a channel    flists and boot image, signed
//! ```
//!
//! Each step's output is cached by its inputs (`mos-cache`): a second build with nothing changed does nothing. What is
//! found out on the way (versions, digests) goes into the [`Lock`](mos_config::Lock), which the caller writes.

mod access;
mod alpine;
mod alpine_root;
mod asked;
mod authorities;
mod budget;
mod build_record;
mod builder;
mod clean;
mod compare;
mod contents;
mod documents;
mod error;
mod explain;
mod image;
mod inside;
mod kernel_files;
mod kernel_part;
mod licences;
mod modules;
mod node_files;
mod outputs;
mod package;
mod packages;
mod release;
mod runtime;
mod sign;
mod size;
mod sizes;
mod source_kernel;
mod treemap;

pub use asked::Asked;
pub use budget::OverBudget;
pub use build_record::BuildRecord;
pub use builder::{Builder, Report};
pub use compare::{FileChange, FileState, ImageDiff, ItemChange, OptionChange, Pair, SectionChange};
pub use contents::{Contents, FileRecord, FirmwareRecord, MissingRecord, ModuleRecord, PackageRecord, RemovedRecord};
pub use documents::Document;
pub use error::BuildError;
pub use explain::Explanation;
pub use image::{BuiltImage, NodePrograms};
pub use inside::{CONFIG_FILE, CONTENTS_FILE, Inside, InsideError};
pub use kernel_files::firmware_tree;
pub use node_files::NodeFiles;
pub use outputs::{OutputFile, write_outputs};
pub use packages::{kernel_tree, lock_packages};
pub use release::{Made, plan_release};
pub use runtime::{BuiltFlist, PackMode, lock_components};
pub use sign::Signers;
pub use size::{ImageReport, Part};
pub use sizes::{FileSize, Share, Sizes};
pub use treemap::{Tile, svg};
