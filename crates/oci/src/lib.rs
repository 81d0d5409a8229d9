//! Flists as artefacts in OCI registries, so that a registry which is there already can be the channel.
//!
//! ```text
//! manifest  artifactType application/vnd.mos.flist.v2
//!   config  {} (application/vnd.oci.empty.v1+json)
//!   layer   the flist            application/vnd.mos.flist.v2   title flist.fl
//!   layer   a blob, and so on    application/vnd.mos.blob.v2    title blobs/ab/ab12...
//! ```
//!
//! * Each layer carries its BLAKE3-256 in the annotation `vnd.mos.blake3`; the registry's own names are SHA-256. Titles
//!   are paths as any OCI client writes them: what it pulls is a store of ours.
//! * [`push`] sends only what the registry lacks, the manifest last: a tag never names what is not there. The same
//!   flist gives the same manifest, bit for bit.
//! * [`pull`] believes nothing: every layer is checked against SHA-256 and BLAKE3 before it is kept.
//! * [`copy`] brings an ordinary container image into an image layout, for who wants its files ([`layout`]).
//! * [`Artefact`] reads content from the registry as from any other store, by ranges, so that nothing need be pulled.
//!
//! Registries are spoken to over `https`, those on the loopback interface over `http`. Credentials are those of
//! `docker login` and `podman login` ([`Credentials::find`]); they go to the registry and to the token server that it
//! names, and never into a message.

mod auth;
mod choice;
mod client;
mod copy;
mod credentials;
mod digest;
mod docker;
mod error;
mod files;
pub mod layout;
mod manifest;
mod pull;
mod push;
mod reference;
mod store;
mod workers;

pub use choice::{Choice, Platform};
pub use client::{Options, Registry};
pub use copy::copy;
pub use credentials::Credentials;
pub use digest::Sha256;
pub use error::OciError;
pub use files::{Files, Form};
pub use layout::{Hashed, Hashing, ImageLayer, LayoutError};
pub use manifest::{ARTIFACT_TYPE, BLOB_TYPE, FLIST_TYPE};
pub use pull::{Pulled, pull};
pub use push::{Content, Pushed, push};
pub use reference::{Reference, Target};
pub use store::Artefact;

/// What is being transferred; told after every layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Layers that are done, those that were there already included.
    pub layers_done: u64,
    /// Layers in all.
    pub layers: u64,
    /// Bytes of the layers that are done.
    pub bytes_done: u64,
    /// Bytes in all.
    pub bytes: u64,
}
