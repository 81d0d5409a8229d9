//! What can go wrong with a store.

use crate::Read;

/// Why an object could not be read or written. Every variant names the address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no object of that name.
    #[error("{address}: no object {name}")]
    NotFound {
        /// The store.
        address: String,
        /// The object.
        name: String,
    },
    /// The object is larger than the caller allows.
    #[error("{address}: object {name} is larger than the {limit} bytes allowed")]
    TooLarge {
        /// The store.
        address: String,
        /// The object.
        name: String,
        /// Bytes allowed.
        limit: u64,
    },
    /// The object ends too early.
    #[error("{address}: object {name} ended after {got} of {expected} bytes")]
    Short {
        /// The store.
        address: String,
        /// The object.
        name: String,
        /// Bytes that came.
        got: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// No room for the object.
    #[error("{address}: no room for {name}: {needed} bytes needed, {free} free")]
    Full {
        /// The store.
        address: String,
        /// The object.
        name: String,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The store cannot be reached, or failed on its side: worth another try later.
    #[error("{address}: unreachable after {tries} tries: {reason}")]
    Unreachable {
        /// The store.
        address: String,
        /// How often it was tried.
        tries: u32,
        /// What the last try said.
        reason: String,
    },
    /// The server does not prove that it is the one of this address.
    #[error("{address}: the server's certificate is not trusted: {reason}")]
    Untrusted {
        /// The store.
        address: String,
        /// Why not, with the file of authorities, and what to do.
        reason: String,
    },
    /// The server's certificate is not valid at this time, as far as the clock here knows it.
    #[error("{address}: the server's certificate {reason}")]
    OutOfDate {
        /// The store.
        address: String,
        /// Both times, and what to do.
        reason: String,
    },
    /// There are no authorities to vouch for the server.
    #[error("{address}: https needs the certificates of authorities: {reason}")]
    NoAuthority {
        /// The store.
        address: String,
        /// The file, what is wrong with it, and what to do.
        reason: String,
    },
    /// The store says no (permission, bad request): trying again does not help.
    #[error("{address}: refused {name}: {reason}")]
    Refused {
        /// The store.
        address: String,
        /// The object.
        name: String,
        /// What the store said.
        reason: String,
    },
    /// Signed requests are only good for a while, and the server's idea of the time is another one.
    #[error(
        "{address}: the clocks differ too much for signed requests: it is {times}; set the clock that is wrong (here: `timedatectl set-ntp true`)"
    )]
    ClockSkew {
        /// The store.
        address: String,
        /// The times there and here (RFC 3339).
        times: String,
    },
    /// A name that is not allowed: empty, absolute, or with `..` in it.
    #[error("`{0}` is not the name of an object")]
    BadName(String),
    /// The URL makes no sense.
    #[error("`{url}` is not the address of a store: {reason}")]
    BadUrl {
        /// The URL, secrets removed.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The local disk.
    #[error("{address}: {name}: {source}")]
    Io {
        /// The store.
        address: String,
        /// The object.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl StoreError {
    pub(crate) fn not_found(store: &dyn Read, name: &str) -> Self {
        Self::NotFound {
            address: store.address(),
            name: name.into(),
        }
    }

    pub(crate) fn too_large(store: &dyn Read, name: &str, limit: u64) -> Self {
        Self::TooLarge {
            address: store.address(),
            name: name.into(),
            limit,
        }
    }

    pub(crate) fn refused(store: &dyn Read, name: &str, reason: impl Into<String>) -> Self {
        Self::Refused {
            address: store.address(),
            name: name.into(),
            reason: reason.into(),
        }
    }

    /// One failed try at something that may work later.
    pub(crate) fn unreachable(store: &dyn Read, reason: impl Into<String>) -> Self {
        Self::Unreachable {
            address: store.address(),
            tries: 1,
            reason: reason.into(),
        }
    }
}
