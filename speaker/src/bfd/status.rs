//! What BFD tells about itself: to users, to the report, to the metrics.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use portolan_proto::bfd::{Diag, State};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Whether packets reach a peer and come back.
///
/// A user acts on `failures`: whenever it has grown, the path failed since the last look, even if it is Up again. A session
/// that was never Up has not failed, and neither has one whose peer said AdminDown, nor one that we ended (RFC 5882 §3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Liveness {
    /// State of the session; AdminDown also when BFD itself has ended.
    pub state: State,
    /// How often a path that worked has failed.
    pub failures: u64,
    /// Why it last went down.
    pub diag: Diag,
    /// What the peer says of itself.
    pub remote_state: State,
    /// The last packet of the peer before the session last went down.
    pub last_heard: Option<Instant>,
}

/// A session, for the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BfdStatus {
    /// The peer's address.
    pub peer: IpAddr,
    /// Our address, once it is known.
    pub local: Option<IpAddr>,
    /// More than one hop.
    pub multihop: bool,
    /// Our state.
    pub state: State,
    /// Why the session was last brought down.
    pub diag: Diag,
    /// The peer's state, as it says.
    pub remote_state: State,
    /// Why the peer's side was last brought down, as it says.
    pub remote_diag: Diag,
    /// Time between two of our packets; None while nothing is sent periodically.
    pub transmit: Option<Duration>,
    /// Longest silence of the peer before it is down; None while it was not heard.
    pub detection: Option<Duration>,
    /// When the state last changed.
    pub since: Timestamp,
    /// Times that the session came up.
    pub ups: u64,
    /// Times that a path that worked has failed.
    pub flaps: u64,
    /// What stands in the way on this node, in words.
    pub problem: Option<String>,
}

/// Why packets are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The TTL shows that the packet came from further away than it may.
    Ttl,
    /// No control packet.
    Malformed,
    /// It belongs to no session.
    Unknown,
    /// It is not authenticated as it should be.
    Authentication,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: &'static str,
}

/// All numbers. The thread holds each of them ready, so that counting is one atomic addition.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    dropped: Family<Reason, Counter>,
    sessions: Family<InState, Gauge>,
    ttl: Counter,
    malformed: Counter,
    unknown: Counter,
    authentication: Counter,
    pub(super) received: Counter,
    pub(super) sent: Counter,
    pub(super) send_failures: Counter,
    pub(super) failures: Counter,
    pub(super) panics: Counter,
    pub(super) real_time: Gauge,
    states: [Gauge; 4],
}

impl Default for Numbers {
    fn default() -> Self {
        let dropped = Family::<Reason, Counter>::default();
        let of_reason = |reason| dropped.get_or_create(&Reason { reason }).clone();
        let sessions = Family::<InState, Gauge>::default();
        let in_state = |state| sessions.get_or_create(&InState { state }).clone();
        Self {
            ttl: of_reason("ttl"),
            malformed: of_reason("malformed"),
            unknown: of_reason("unknown_session"),
            authentication: of_reason("authentication"),
            states: ["admin_down", "down", "init", "up"].map(in_state),
            dropped,
            sessions,
            received: Counter::default(),
            sent: Counter::default(),
            send_failures: Counter::default(),
            failures: Counter::default(),
            panics: Counter::default(),
            real_time: Gauge::default(),
        }
    }
}

impl Numbers {
    pub(super) fn dropped(&self, why: Refused) {
        let counter = match why {
            Refused::Ttl => &self.ttl,
            Refused::Malformed => &self.malformed,
            Refused::Unknown => &self.unknown,
            Refused::Authentication => &self.authentication,
        };
        counter.inc();
    }

    /// Packets that were not authenticated as they should be.
    #[cfg(test)]
    pub(super) fn refusals(&self) -> u64 {
        self.authentication.get()
    }

    /// The number of sessions in a state.
    pub(super) fn in_state(&self, state: State) -> &Gauge {
        let [admin_down, down, init, up] = &self.states;
        match state {
            State::AdminDown => admin_down,
            State::Down => down,
            State::Init => init,
            State::Up => up,
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("portolan_speaker_bfd");
        registry.register("sessions", "Sessions by state", self.sessions.clone());
        registry.register(
            "failures",
            "Times that a path that worked failed",
            self.failures.clone(),
        );
        registry.register(
            "dropped_packets",
            "Packets dropped, by reason",
            self.dropped.clone(),
        );
        registry.register(
            "received_packets",
            "Packets that belonged to a session",
            self.received.clone(),
        );
        registry.register("sent_packets", "Packets sent", self.sent.clone());
        registry.register(
            "send_failures",
            "Packets that the kernel did not take",
            self.send_failures.clone(),
        );
        registry.register(
            "panics",
            "Sessions begun anew after a defect of the program",
            self.panics.clone(),
        );
        registry.register(
            "real_time",
            "1 while BFD runs with real-time priority",
            self.real_time.clone(),
        );
    }
}
