//! Announces addresses from one node: ARP and NDP on the local link, BGP to routers.

pub mod bgp;
pub mod sys;
