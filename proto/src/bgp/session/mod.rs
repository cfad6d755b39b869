//! The state machine of one BGP neighbour (RFC 4271 §8), without sockets and without a clock.
//!
//! ```text
//!                    ┌────────── Peer ───────────┐
//!  Input, now ─────► │ ours:   Slot ─┐           │ ─────► Effect: connect, send, close, event
//!                    │ theirs: Slot ─┤ collision │
//!  pull(rib, room) ► │ retry, back-off, offer    │ ─────► UPDATE bytes
//!                    └───────────────────────────┘ ─────► next_deadline()
//!
//!  a slot:  (empty) ─► Connect ─► OpenSent ─► OpenConfirm ─► Established ─► (empty)
//! ```
//!
//! Two TCP connections may exist between two speakers at once: the one that we opened and the one that they
//! opened. Both live in the same machine, which therefore can decide which of them survives. Every input
//! names its connection, so a late word from a closed one changes nothing.
//!
//! The RFC's Idle is a peer without a connection: stopped, or waiting out a back-off. Its Active, waiting for the
//! peer to connect, is never on its own here: whoever does not wait for an attempt of ours makes one.

mod connect;
mod event;
mod fallback;
mod history;
mod negotiate;
mod peer;
mod receive;
mod retry;
#[cfg(test)]
mod sim;
mod slot;
#[cfg(test)]
mod tests;
mod timer;

use std::time::Duration;

pub use event::{
    Close, ConnId, ConnectFailure, Direction, Effect, Event, Input, Out, Output, StopReason,
};
pub use fallback::Offer;
pub use history::{History, Record};
pub use negotiate::{Negotiated, validate_open};
pub use peer::Peer;
use retry::Ended;

use super::{Asn, Families, HoldTime, Relation, RouterId};

/// Everything about a neighbour that the state machine needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Our AS towards this peer.
    pub local_as: Asn,
    /// The AS that the peer must have.
    pub peer_as: Asn,
    /// Our BGP identifier.
    pub router_id: RouterId,
    /// The hold time that we propose.
    pub hold_time: HoldTime,
    /// Time between keepalives; never more than a third of the negotiated hold time, which is the default.
    pub keepalive: Option<Duration>,
    /// Fixed time between attempts to connect instead of the growing one.
    pub connect_retry: Option<Duration>,
    /// The families that we offer.
    pub families: Families,
    /// TCP MD5 is in use: a silent peer may have another key.
    pub authenticated: bool,
    /// Our packets reach directly connected routers only.
    pub single_hop: bool,
}

impl Config {
    /// eBGP or iBGP.
    #[must_use]
    pub fn relation(&self) -> Relation {
        self.local_as.relation(self.peer_as)
    }
}

/// Where a peer stands, in the words of RFC 4271 §8.2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionState {
    /// Stopped, or waiting out a back-off before the next attempt.
    Idle,
    /// Waiting for the peer to connect. [`Peer::state`] never says so: a peer that only waits backs off, and is Idle.
    Active,
    /// Our SYN is out.
    Connect,
    /// Our OPEN is out.
    OpenSent,
    /// Both OPENs were good; waiting for the first KEEPALIVE.
    OpenConfirm,
    /// Routes flow.
    Established,
}

impl SessionState {
    /// The RFC's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Active => "Active",
            Self::Connect => "Connect",
            Self::OpenSent => "OpenSent",
            Self::OpenConfirm => "OpenConfirm",
            Self::Established => "Established",
        }
    }
}

impl std::fmt::Display for SessionState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
