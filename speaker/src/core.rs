//! The speaker's decisions. Pure: what is known goes in as [`Event`]s, what must be true on the wire comes out as a
//! [`Plan`]; nothing here waits, reads a clock, or sends anything.
//!
//! ```text
//! Event ──► Model (what is known) ──► Plan (what this node announces) ──► sessions, sockets, report
//! ```
//!
//! A change that concerns a few addresses only costs a look at those; see [`Model::replan`].
//!
//! Some of it takes time: what endpoints do too often is believed later. [`Model::advance`] tells the time, and
//! [`Model::next_deadline`] says when it is wanted.
//!
//! A plan is complete: acting on it means making the outside equal to it. So a lost or repeated event can never leave a
//! stale announcement behind, and "what would this node announce if" is one call.

mod bfd;
mod delivery;
mod due;
mod duties;
mod endpoints;
mod index;
mod model;
mod patience;
mod peers;
mod plan;
mod pools;
mod routes;
mod secrets;
mod services;
mod standing;
#[cfg(test)]
mod tests;

pub use due::Due;
pub use model::{Event, Model};
pub use peers::PlannedPeer;
pub use plan::{Difference, Plan};
pub use secrets::Secret;
