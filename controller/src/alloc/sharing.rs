//! Sharing: what a Service must have in common with another one to be given the same address.
//!
//! | | must |
//! |---|---|
//! | sharing key | be equal |
//! | pods behind policy `Local` | be the same, because traffic reaches only nodes that have them |
//! | ports | differ, by protocol or by number |
//! | namespace | be equal, unless the pool says `sharing.acrossNamespaces` |

use std::fmt;

use portolan_api::annotation::ALLOW_SHARED_IP;
use portolan_api::view::{Service, TrafficPolicy};

/// A port, as far as two Services can collide on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    protocol: Protocol,
    number: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        };
        write!(f, "{protocol} port {}", self.number)
    }
}

/// What a Service with a sharing key brings with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharing {
    pub(super) key: Box<str>,
    /// Empty for policy `Cluster`, and for `Local` without a selector; else the selector.
    pub(super) backend: Box<str>,
    pub(super) namespace: Box<str>,
    pub(super) ports: Box<[Port]>,
}

impl Sharing {
    /// What the Service says; `None` if it does not want to share.
    #[must_use]
    pub fn of(service: &Service) -> Option<Self> {
        let key = service.annotation(ALLOW_SHARED_IP)?;
        let spec = &service.spec;
        let backend = match spec.external_traffic_policy {
            TrafficPolicy::Cluster => String::new(),
            TrafficPolicy::Local => {
                let pairs = spec.selector.iter();
                let pairs: Vec<String> = pairs
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                pairs.join(",")
            }
        };
        let ports = spec.ports.iter().map(|port| Port {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => Protocol::Udp,
                Some("SCTP") => Protocol::Sctp,
                _ => Protocol::Tcp,
            },
            number: port.port,
        });
        Some(Self {
            key: key.into(),
            backend: backend.into(),
            namespace: service
                .metadata
                .namespace
                .as_deref()
                .unwrap_or_default()
                .into(),
            ports: ports.collect(),
        })
    }
}
