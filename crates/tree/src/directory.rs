//! A directory of the host as a tree, and a tree written to a directory.
