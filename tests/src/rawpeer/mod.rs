//! A BGP neighbour made of bytes: it says what a test tells it to say, right or wrong, and looks closely at what comes
//! back.
//!
//! ```text
//!   router-1 (many addresses)                      node-1
//!   raw peer of row 1  172.30.100.1:179 ◄──────┐
//!   raw peer of row 2  172.30.100.2:179 ◄──────┼── one portolan-speaker, one BGPPeer per row
//!   …                                          │
//!   sentinel           172.30.99.1:179  ◄──────┘   stays Established, whatever the others do
//! ```
//!
//! [`bytes`] writes messages and [`Connection`] reads them; neither shares a line with `portolan_proto`, whose opinions
//! are what is tested. [`Stage`] is one speaker with its sessions, [`Table`] runs rows on it side by side.

pub mod bytes;
mod connection;
mod peer;
mod sentinel;
mod stage;
mod table;

pub use connection::{Connection, Heard, Message, PATIENCE, PING};
pub use peer::RawPeer;
pub use sentinel::Sentinel;
pub use stage::{COMMUNITY, PEER_AS, Stage};
pub use table::{Row, Script, Settings, Table, known_gap};
