//! BGP-4 for a speaker that announces much and wants to learn nothing (RFC 4271 and its family).
//!
//! ```text
//!   Rib ── what should be known ──► AdjOut ── pack ──► UPDATE bytes ──► driver
//!                                     ▲
//!   bytes ─► Frame ─► session::Peer ──┴─ Effect: connect, send, close, event
//!                      ▲ now
//! ```
//!
//! Everything here is pure. The codec reads what peers send in bounded walks and keeps none of their routes;
//! [`session::Peer`] is the state machine of one neighbour with both of its possible connections; [`Rib`] is
//! the versioned wanted state of all of them, that every session pulls from when its socket has room.

mod adj_out;
mod asn;
mod attributes;
mod audience;
mod capability;
mod community;
mod family;
mod frame;
mod hold_time;
mod next_hop;
mod notification;
mod open;
mod pack;
mod prefix;
mod refresh;
mod restart;
mod rib;
mod role;
mod router_id;
pub mod session;
mod update;

pub use adj_out::{AdjOut, Pulled, Unsent};
pub use asn::{Asn, AsnError, Relation};
pub use attributes::{Export, RouteAttrs};
pub use audience::{Audience, Audiences};
pub use capability::Capabilities;
pub use community::{Community, CommunityError, ExtendedCommunity, LargeCommunity};
pub use family::{Families, Family};
pub use frame::{Frame, HeaderError, Kind, Peek, write_keepalive};
pub use hold_time::{HoldTime, HoldTimeError};
pub use next_hop::{NextHop, NextHops};
pub use notification::{Code, Notification};
pub use open::{Open, OpenError};
pub use pack::{Oversized, announce, end_of_rib, withdraw};
pub use prefix::{Prefix, PrefixError};
pub use refresh::{Refresh, RefreshKind};
pub use restart::{LongLived, Restart};
pub use rib::{Follower, Rib, Version};
pub use role::{Role, RoleClaim};
pub use router_id::{RouterId, RouterIdError};
pub use update::{Examined, Terms, Verdict, examine, examine_within};

/// Largest message without RFC 8654 (RFC 4271 §4.1).
pub const MAX_MESSAGE: usize = 4096;

/// Marker, length and type (RFC 4271 §4.1).
pub const HEADER: usize = 19;

/// The port that BGP listens on.
pub const PORT: u16 = 179;
