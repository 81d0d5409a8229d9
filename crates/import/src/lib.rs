//! A checkout of mos_builder, as it is, to a config repository.
//!
//! ```text
//! config/packages.list                 -> image/packages.list          as it is: Alpine's names, one per line
//! config/modules.conf                  -> image/modules.conf           as it is
//! config/firmware.conf                 -> image/firmware.conf
//! config/sources.conf                  -> components/NAME.toml         with what scripts/lib/components.sh does
//! config/my_init, config/zinit         -> services/NAME.service.toml   scripts beside them -> image/files/etc/…
//! config/kernel.config, build.conf     -> image/kernel.config, mos.toml
//! config/rfs.conf, config/myfs.conf    -> the same place, where mos reads them as they are; kept out of version control
//! ```
//!
//! Text goes one way: [`Checkout::read`] reads the files (the only step that touches the disk), [`plan`] makes an [`Import`]
//! of them, a value that can be printed, and [`Import::write`] writes it. What cannot be taken over is named with file, line
//! and column, all of it at once; nothing is dropped in silence, and no script is run.

mod checkout;
mod component;
mod lists;
mod plan;
mod services;
mod settings;
mod shell;
mod sources;
mod toml;
mod write;

pub use checkout::{Checkout, CheckoutError, File};
pub use plan::{Import, Planned, plan};
pub use write::WriteError;

/// The packages of the image.
const PACKAGES: &str = "config/packages.list";
/// The modules of the image.
const MODULES: &str = "config/modules.conf";
/// The firmware of the image.
const FIRMWARE: &str = "config/firmware.conf";
/// The components.
const SOURCES: &str = "config/sources.conf";
/// The functions that build components.
const FUNCTIONS: &str = "scripts/lib/components.sh";
/// Versions and switches of a build.
const BUILD: &str = "config/build.conf";
/// The kernel's configuration.
const KERNEL: &str = "config/kernel.config";
/// Where a build that has run left the public keys of Alpine.
const BUILT_KEYS: &str = "initramfs/etc/apk/keys";
