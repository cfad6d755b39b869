//! What layer 2 is asked to do and what it tells, beside its status.

use std::net::IpAddr;
use std::time::Duration;

use portolan_proto::ethernet::MacAddr;

use super::interfaces::Interfaces;

/// How an address is answered for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Where.
    pub interfaces: Interfaces,
    /// Time between two announcements of an address that has not moved, about; zero for never.
    pub refresh: Duration,
}

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A check ([`super::Layer2::check`]) came to its end.
    Checked {
        /// The address.
        vip: IpAddr,
        /// What was found.
        verdict: Checked,
    },
    /// An address that was asked ([`super::Layer2::ask`]) has answered: the link carries frames in both directions.
    Witness {
        /// Where.
        interface: u32,
        /// Who.
        ip: IpAddr,
    },
    /// Another station says that it has an address that is answered here. The same station is reported at most ten
    /// times a second for each address.
    Claim {
        /// Where.
        interface: u32,
        /// The address.
        vip: IpAddr,
        /// By whom.
        mac: MacAddr,
    },
}

/// Whether an address is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Nobody objected.
    Free,
    /// Somebody has the address, or is about to take it.
    Taken {
        /// Who.
        mac: MacAddr,
        /// Where it was heard.
        interface: u32,
    },
}
