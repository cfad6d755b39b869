//! BGP sessions on real sockets: the driver around `portolan_proto::bgp`.
//!
//! ```text
//!  core ── apply, routes, set_synced ──► Sessions ──┬─ Rib ─────────────┬─ task of peer A ── TCP
//!       ◄─ changes, status ────────────             ├─ Shared (status) ─┼─ task of peer B ── TCP
//!                                                   └─ order ───────────┘
//! ```
//!
//! One task per peer owns its socket, its state machine and its timers, so no peer waits for another. Wanted
//! routes are not sent to the task: it reads them from the [`portolan_proto::bgp::Rib`], which all of them share, when its
//! socket has room. Buffers are bounded, every wait has a deadline, and a task that panics is started again alone.

mod board;
mod chronicle;
mod connection;
mod listen;
mod next_hop;
mod occupant;
mod path;
mod sessions;
mod shared;
mod signature;
mod socket;
mod spec;
mod surroundings;
mod task;
#[cfg(test)]
mod tests;
mod traffic;
mod unnumbered;

pub use board::Board;
pub use chronicle::Entry;
pub use listen::Visits;
pub use portolan_proto::bgp::session::{Listen, PeerAs, SessionState};
pub use portolan_proto::bgp::{Asn, Community, HoldTime, LargeCommunity, RouteAttrs, RouterId};
pub use sessions::Sessions;
pub use shared::{Agreed, SessionStatus};
pub use signature::{KernelFeatures, Password, PasswordError, Signature};
pub use spec::{Bfd, Distance, PeerSpec, Remote, RestartTimes};
pub use traffic::Traffic;
