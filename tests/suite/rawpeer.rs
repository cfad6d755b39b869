//! The real speaker against neighbours made of bytes: what RFC 4271 and its relatives say about every message that may
//! come, and every one that must.
//!
//! A table is a test; its rows run at the same time against one speaker, each with a session of its own, while a
//! sentinel beside them must not notice. A row marked as a gap has to fail: when it passes, the mark has to go.
//! `PORTOLAN_ROWS=word` runs only the rows whose name contains the word.
//!
//! What takes minutes by the clock of the RFCs is told by simulations in `proto::bgp::session` instead: an OPEN that
//! never comes (240 s), the send hold time (at least 90 s), back-off up to its ceiling (60 s).
#![expect(
    clippy::too_many_lines,
    reason = "a table has as many lines as it has cases"
)]

mod advertise;
mod flood;
mod machine;
mod open;
mod transport;
mod update;
