//! DHCP for IPv4 (RFC 2131): the packets ([`message`]), what they grant ([`lease`]), and the protocol ([`client`]).
//!
//! All three are pure: bytes and clock values in, values out. Sending and receiving is the daemon's business.

pub mod client;
pub mod lease;
pub mod message;

pub use client::{Client, Output, Phase};
pub use lease::Lease;
pub use message::{Message, MessageType};
