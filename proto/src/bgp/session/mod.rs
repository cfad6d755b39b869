//! The state machine of one BGP neighbour (RFC 4271 §8), without sockets and without a clock.
//!
//! ```text
//!                    ┌────────── Peer ───────────┐
//!  Input, now ─────► │ ours:   Slot ─┐           │ ─────► Effect: connect, send, close, event
//!                    │ theirs: Slot ─┤ collision │
//!  pull(rib, room) ► │ retry, back-off, offer    │ ─────► UPDATE bytes
//!                    └───────────────────────────┘ ─────► next_deadline()
//!
//!  ours:    (empty) ─► Connect ─► OpenSent ─► OpenConfirm ─► Established ─► (empty)
//!  theirs:  (empty) ────────────► OpenSent ─► ...
//! ```
//!
//! Two TCP connections may exist between two speakers at once: the one that we opened and the one that they
//! opened. Both live in the same machine, which therefore can decide which of them survives. Every input
//! names its connection, so a late word from a closed one changes nothing.
//!
//! The RFC's Idle is a peer without a connection that would not take one: stopped, or waiting out a back-off. Its
//! Active is a peer without a connection that waits for one ([`Listen::Passive`], [`Listen::Both`]). Connections from
//! the peer are taken in any state and at any time: its own back-off paces them, and one that comes while we wait out
//! ours is the end of the wait.

mod collision;
mod config;
mod connect;
mod event;
mod fallback;
mod history;
mod negotiate;
mod offer;
mod peer;
mod receive;
mod refresh;
mod retry;
#[cfg(test)]
mod sim;
mod slot;
#[cfg(test)]
mod tests;
mod timer;

pub use config::{Config, GracefulRestart, Listen, PeerAs};
pub use event::{
    Close, ConnId, ConnectFailure, Direction, Effect, Event, Input, Out, Output, StopReason,
};
pub use history::{History, Record};
pub use negotiate::{Negotiated, PeerRestart, validate_open};
pub use offer::Offer;
pub use peer::Peer;
use retry::Ended;

/// Where a peer stands, in the words of RFC 4271 §8.2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionState {
    /// Stopped, or waiting out a back-off before the next attempt.
    Idle,
    /// Waiting for the peer to connect.
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
