//! The network of a node.
//!
//! ```text
//! kernel command line -> Settings -.
//!                                  v
//! rtnetlink --links--> daemon (one thread, one poll) --Configuration--> plan -> rtnetlink, /etc/resolv.conf
//!                        ^   |                                              /run/mos/network.json
//!           DHCP packets |   v
//!                      dhcp::Client (pure: clock value and packets in, packets and leases out)
//! ```
//!
//! Only [`daemon`], [`transport`] and [`rtnetlink`] do input and output. Everything else is a value or a pure function: the kernel
//! command line ([`settings`]), the DHCP packets ([`dhcp::message`]) and protocol ([`dhcp::client`]), the netlink
//! messages ([`netlink`]), the choice of a link ([`link`]), the differences to apply ([`configuration`]).
//!
//! Links that a driver made (physical or virtio) are all tried side by side; the first that gets an answer is the
//! node's network. Nothing here waits without a bound or in silence: every wait produces [`Event`]s.

pub mod configuration;
pub mod daemon;
pub mod dhcp;
pub mod event;
pub mod link;
pub mod netlink;
pub mod notify;
pub mod prefix;
pub mod rtnetlink;
pub mod settings;
pub mod status;
pub mod transport;
pub mod waiting;

mod error;

pub use configuration::{Configuration, Route, Source};
pub use error::NetError;
pub use event::Event;
pub use prefix::Ipv4Prefix;
pub use settings::Settings;
pub use status::Status;
