//! The shell that both daemons share: what is the same for every process that follows a Kubernetes API server.
//!
//! ```text
//! args       flags and environment → client, namespace, log filter
//! watch      API server → Change (relist-safe)
//! http       /metrics, /healthz, /readyz
//! shutdown   SIGTERM and SIGINT → one token
//! ```
//!
//! Nothing here decides anything about addresses or announcements.

pub mod args;
pub mod http;
pub mod shutdown;
pub mod watch;
