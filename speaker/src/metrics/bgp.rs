//! Numbers of the BGP sessions. Counters are kept by the sessions themselves and copied here.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use portolan_proto::bgp::session::SessionState;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::bgp::{KernelFeatures, SessionStatus, Sessions, Traffic};

/// The peer that a number is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Peer {
    peer: String,
}

/// A state that sessions may be in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

/// Code and subcode of NOTIFICATIONs with a peer, as `6/2`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PeerCode {
    peer: String,
    code: String,
}

/// What became of a connection that a peer opened.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// Something that a kernel has or has not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Feature {
    feature: &'static str,
}

/// All numbers of the sessions.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    up: Family<Peer, Gauge>,
    states: Family<State, Gauge>,
    established: Family<Peer, Counter>,
    prefixes: Family<Peer, Gauge>,
    unsent: Family<Peer, Gauge>,
    updates_sent: Family<Peer, Counter>,
    messages_sent: Family<Peer, Counter>,
    messages_received: Family<Peer, Counter>,
    bytes_sent: Family<Peer, Counter>,
    bytes_received: Family<Peer, Counter>,
    notifications_sent: Family<PeerCode, Counter>,
    notifications_received: Family<PeerCode, Counter>,
    visits: Family<Outcome, Counter>,
    pauses: Counter,
    features: Family<Feature, Gauge>,
}

impl Numbers {
    pub(super) fn register(&self, registry: &mut Registry) {
        let up = "1 while the session is established";
        registry.register("session_up", up, self.up.clone());
        let states = "Sessions in this state";
        registry.register("sessions", states, self.states.clone());
        let established = "Times that the session came up";
        registry.register("session_established", established, self.established.clone());
        let prefixes = "Prefixes announced to the peer";
        registry.register("announced_prefixes", prefixes, self.prefixes.clone());
        let unsent = "Prefixes that are to be announced to the peer and can not be";
        registry.register("unsent_prefixes", unsent, self.unsent.clone());
        let accepted = "Connections that came in, by what became of them";
        registry.register("connections", accepted, self.visits.clone());
        let features = "1 if the kernel of the node can sign connections so";
        registry.register("kernel_feature", features, self.features.clone());
        let pauses = "Times that accepting connections paused because a resource was used up";
        registry.register("accept_pauses", pauses, self.pauses.clone());
        for (name, help, family) in [
            ("updates_sent", "UPDATE messages sent", &self.updates_sent),
            ("messages_sent", "Messages sent", &self.messages_sent),
            (
                "messages_received",
                "Messages received",
                &self.messages_received,
            ),
            ("bytes_sent", "Bytes sent", &self.bytes_sent),
            ("bytes_received", "Bytes received", &self.bytes_received),
        ] {
            registry.register(name, help, family.clone());
        }
        for (name, help, family) in [
            (
                "notifications_sent",
                "NOTIFICATIONs sent, by code/subcode",
                &self.notifications_sent,
            ),
            (
                "notifications_received",
                "NOTIFICATIONs received, by code/subcode",
                &self.notifications_received,
            ),
        ] {
            registry.register(name, help, family.clone());
        }
    }

    /// What the kernel has, which does not change.
    pub(super) fn set_features(&self, kernel: KernelFeatures) {
        for (feature, has) in [("tcp_md5", kernel.tcp_md5), ("tcp_ao", kernel.tcp_ao)] {
            let gauge = self.features.get_or_create(&Feature { feature });
            gauge.set(i64::from(has));
        }
    }

    /// Takes everything over from the sessions; those of peers that are gone disappear.
    pub(super) fn set(&self, sessions: &Sessions) {
        let statuses = sessions.status();
        for family in [&self.up, &self.prefixes, &self.unsent] {
            family.clear();
        }
        self.states.clear();
        for session in &statuses {
            self.session(session);
        }
        for family in [
            &self.updates_sent,
            &self.messages_sent,
            &self.messages_received,
            &self.bytes_sent,
            &self.bytes_received,
        ] {
            family.clear();
        }
        self.notifications_sent.clear();
        self.notifications_received.clear();
        for (peer, traffic) in sessions.traffic() {
            self.traffic(&peer, &traffic);
        }
        for session in &statuses {
            copy(&self.updates_sent, &session.name, session.updates_sent);
        }
        let visits = sessions.visits();
        for (outcome, count) in [
            ("accepted", visits.accepted),
            ("refused_source", visits.strangers),
            ("refused_limit", visits.crowded),
        ] {
            let counter = self.visits.get_or_create(&Outcome { outcome });
            counter.inner().store(count, Ordering::Relaxed);
        }
        self.pauses.inner().store(visits.pauses, Ordering::Relaxed);
    }

    fn session(&self, session: &SessionStatus) {
        let peer = Peer {
            peer: session.name.clone(),
        };
        let up = session.state == SessionState::Established;
        self.up.get_or_create(&peer).set(i64::from(up));
        let state = session.state.name();
        self.states.get_or_create(&State { state }).inc();
        let gauge = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.prefixes
            .get_or_create(&peer)
            .set(gauge(session.advertised));
        self.unsent.get_or_create(&peer).set(gauge(session.unsent));
        copy(&self.established, &session.name, session.established);
    }

    fn traffic(&self, peer: &str, traffic: &Traffic) {
        copy(&self.messages_sent, peer, traffic.messages_sent);
        copy(&self.messages_received, peer, traffic.messages_received);
        copy(&self.bytes_sent, peer, traffic.bytes_sent);
        copy(&self.bytes_received, peer, traffic.bytes_received);
        copy_codes(&self.notifications_sent, peer, &traffic.notifications_sent);
        let received = &traffic.notifications_received;
        copy_codes(&self.notifications_received, peer, received);
    }
}

fn copy(family: &Family<Peer, Counter>, peer: &str, value: u64) {
    let peer = Peer { peer: peer.into() };
    let counter = family.get_or_create(&peer);
    counter.inner().store(value, Ordering::Relaxed);
}

fn copy_codes(family: &Family<PeerCode, Counter>, peer: &str, codes: &BTreeMap<(u8, u8), u64>) {
    for ((code, subcode), count) in codes {
        let label = PeerCode {
            peer: peer.into(),
            code: format!("{code}/{subcode}"),
        };
        let counter = family.get_or_create(&label);
        counter.inner().store(*count, Ordering::Relaxed);
    }
}
