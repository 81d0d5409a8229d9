//! What an event belongs to, as the number that epoll(7) keeps with a descriptor.

use rustix::event::epoll;

use super::Id;

/// What an event belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Exits,
    Console,
    Listener,
    Connection(usize),
    Log(Id),
    Notify(Id),
    Ready(Id),
    Holder(Id),
    Probe(Id),
    Socket(Id),
    Clock,
    PowerWatch,
    PowerButton(usize),
    LogWriter,
    Kmsg,
    Syslog,
    Uevents,
}

impl Token {
    const KIND_BITS: u32 = 5;

    pub(super) fn encode(self) -> u64 {
        let (kind, index) = match self {
            Self::Console => (1, 0),
            Self::Listener => (2, 0),
            Self::Connection(index) => (3, index),
            Self::Log(index) => (4, index),
            Self::Notify(index) => (5, index),
            Self::Probe(index) => (6, index),
            Self::PowerWatch => (7, 0),
            Self::PowerButton(index) => (8, index),
            Self::Exits => (9, 0),
            Self::Ready(index) => (10, index),
            Self::Socket(index) => (11, index),
            Self::LogWriter => (12, 0),
            Self::Holder(index) => (13, index),
            Self::Clock => (14, 0),
            Self::Kmsg => (15, 0),
            Self::Syslog => (16, 0),
            Self::Uevents => (17, 0),
        };
        (index as u64) << Self::KIND_BITS | kind
    }

    pub(super) fn decode(value: u64) -> Self {
        let index = usize::try_from(value >> Self::KIND_BITS).unwrap_or(usize::MAX);
        match value & ((1 << Self::KIND_BITS) - 1) {
            1 => Self::Console,
            2 => Self::Listener,
            3 => Self::Connection(index),
            4 => Self::Log(index),
            5 => Self::Notify(index),
            6 => Self::Probe(index),
            7 => Self::PowerWatch,
            9 => Self::Exits,
            10 => Self::Ready(index),
            11 => Self::Socket(index),
            12 => Self::LogWriter,
            13 => Self::Holder(index),
            14 => Self::Clock,
            15 => Self::Kmsg,
            16 => Self::Syslog,
            17 => Self::Uevents,
            _ => Self::PowerButton(index),
        }
    }
}

pub(super) fn data(token: Token) -> epoll::EventData {
    epoll::EventData::new_u64(token.encode())
}
