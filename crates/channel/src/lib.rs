//! Keys, releases, signed metadata, publishing.
