//! Portolan seen from outside: the lab and the clusters that its scenarios run on.
//!
//! [`lab`] builds a small data centre out of network namespaces and starts real routers in it. [`apiserver`] is a
//! Kubernetes API server in memory. [`kubernetes`] puts that one or a real one beside a lab, behind one interface.
//! [`drill`] is everything that can happen to the node that answers for an address. [`rawpeer`] is a BGP neighbour made of bytes. [`world`] is all of it with controllers, speakers and pods: where
//! scenarios start.
//!
//! Everything here is for tests, benches and the demo; no daemon depends on it.

pub mod apiserver;
pub mod drill;
pub mod kubernetes;
pub mod lab;
pub mod rawpeer;
pub mod world;
