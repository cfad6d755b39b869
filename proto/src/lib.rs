//! To be written.

pub mod announcer;
pub mod arp;
pub mod ethernet;
pub mod ndp;
pub mod responder;
