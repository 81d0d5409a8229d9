//! Static files over HTTP/1.1, for a channel in a lab or on a laptop.
