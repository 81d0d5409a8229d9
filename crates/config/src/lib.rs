//! The config repository: what an operating system built with MOS consists of, as text.
//!
//! ```text
//! mos.toml                        the project          -> Project
//! environments/<env>.toml         channel, versions    -> Environment
//! components/<name>.toml          source, build        -> Component
//! services/<name>.service.toml    for my_init          -> Service
//! access/<group>.toml             users, keys, sudo    -> AccessGroup
//! image/packages.list             packages of the base -> ImageLists
//! image/modules.conf              kernel modules       -> ImageLists
//! image/firmware.conf             firmware             -> ImageLists
//! image/kernel.config, kernel.d/  settings of a kernel -> KernelConfig
//! mos.lock                        written by MOS       -> Lock
//! ```
//!
//! Text goes one way: [`load`] reads the files (the only step that touches the disk), [`parse`] makes a
//! [`Repository`] of them, [`check`] compares its parts with each other and with the rules of each environment, and
//! [`resolve`] turns one environment into a [`Plan`]: a plain value that can be printed, compared and executed.
//!
//! Every problem names file, line and column, and all of them are reported at once.

mod access;
mod authorities;
mod base;
mod check;
mod ci;
mod component;
mod distribution;
mod environment;
mod image;
mod kernel;
mod kernel_config;
mod load;
mod lock;
mod names;
mod plan;
mod policy;
mod project;
mod render;
mod repository;
mod resolve;
mod scaffold;
mod source;

pub use access::{AccessGroup, PasswordHash, User};
pub use base::{AlpinePlan, AlpineSettings, Base, RepositoryPlace, split_tag};
pub use check::check;
pub use ci::Ci;
pub use component::{Build, BuildKind, Component, Install, Libc};
pub use distribution::{Distribution, Listed, RootSettings};
pub use environment::{Environment, EnvironmentKind, ImageSettings, Release, Selection};
pub use image::{FirmwareList, ImageLists, ImageOutput, SizeSettings};
pub use kernel::{KernelBase, KernelChoice, KernelOrigin, KernelSource};
pub use kernel_config::{KernelConfig, KernelSetting};
pub use load::{LoadError, Loaded, load};
pub use lock::{LOCK_FILE, Lock, LockError, LockedComponent, LockedRequest};
pub use plan::{Authorities, FirmwarePlan, ImagePlan, Output, Plan, PlannedComponent, PlannedService, PlannedUser};
pub use project::{Compression, InitramfsPlace, Project};
pub use repository::{Repository, Service, parse};
pub use resolve::{ResolveError, resolve};
pub use scaffold::{ALPINE_KEYS, IMAGE_SERVICES, ScaffoldError, scaffold};
pub use source::{Origin, Request, Source, exact_version};
