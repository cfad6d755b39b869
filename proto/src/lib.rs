//! Portolan's wire face: codecs and state machines of the protocols it speaks.
//!
//! Pure by construction: no sockets, no clock, no Kubernetes. Bytes and instants come in as arguments,
//! bytes, effects and deadlines go out as values.

pub mod announcer;
pub mod arp;
pub mod bfd;
pub mod bgp;
pub mod claim;
pub mod ethernet;
pub mod flood;
pub mod ndp;
pub mod pace;
pub mod read;
pub mod responder;
pub mod router_advertisement;
pub mod vacancy;
pub mod write;
