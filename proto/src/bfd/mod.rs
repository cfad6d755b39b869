//! BFD: whether packets arrive at a peer and come back (RFC 5880), without sockets and without a clock.
//!
//! ```text
//!  datagram ─► Packet::decode ─► Demux::find ─► Session::on_packet(now) ─► Change
//!                                                  │        ▲
//!              Packet::encode ◄── poll_tx(now) ◄───┘        └── on_timeout(now) ◄── next_deadline()
//! ```
//!
//! Asynchronous mode, active and passive, single hop (RFC 5881) and multihop (RFC 5883). Demand mode is answered when the
//! peer asks for it and never asked for. Echo is off: the packets would have to be forwarded by the peer's kernel, whose
//! source checks drop what comes with the sender's own address.

pub mod auth;
mod demux;
mod dice;
mod packet;
mod session;

pub use demux::{Demux, DemuxError, Path};
pub use dice::Dice;
pub use packet::{DecodeError, Diag, Discriminator, Micros, Packet, State};
pub use session::{Change, Config, Negotiated, Session, Timing, transition};

/// UDP destination port of single-hop control packets (RFC 5881 §4).
pub const SINGLE_HOP_PORT: u16 = 3784;
/// UDP destination port of multihop control packets (RFC 5883 §5).
pub const MULTIHOP_PORT: u16 = 4784;
/// Where source ports begin; they end with the number space (RFC 5881 §4).
pub const FIRST_SOURCE_PORT: u16 = 49152;
/// TTL or hop limit of every packet sent, and of every single-hop packet accepted (RFC 5881 §5).
pub const TTL: u8 = 255;
