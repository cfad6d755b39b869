//! Numbers of layer 2. Those of interfaces are kept by their threads, and copied here.

use std::sync::atomic::Ordering;

use portolan_proto::bfd::State as BfdState;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::l2::{InterfaceStatus, L2Status};
use crate::takeover::shell::{Picture, Watched};
use crate::takeover::{Cause, State};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Interface {
    interface: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    cause: &'static str,
}

/// A number of an interface: its name, its meaning, where it comes from.
type Number = (&'static str, &'static str, fn(&InterfaceStatus) -> u64);

/// All that are copied.
const OF_INTERFACES: [Number; 11] = [
    (
        "requests",
        "Questions about addresses that are answered here",
        |it| it.requests,
    ),
    (
        "rate_limited",
        "Questions that were not answered because there were too many",
        |it| it.rate_limited,
    ),
    (
        "dropped",
        "Frames that the kernel dropped because they came faster than they were read",
        |it| it.dropped,
    ),
    (
        "pauses",
        "Pauses made so that a flood does not take a whole processor",
        |it| it.pauses,
    ),
    (
        "probes",
        "Questions sent: whether addresses are in use, and to witnesses",
        |it| it.probes,
    ),
    (
        "stranger_claims",
        "Claims of stations outside the cluster on addresses that are answered here or checked",
        |it| it.conflicts,
    ),
    ("replies", "Answers sent", |it| it.replies),
    ("announcements", "Unasked frames sent", |it| {
        it.announcements
    }),
    (
        "malformed",
        "Frames that were ARP or NDP by type but not by content",
        |it| it.malformed,
    ),
    (
        "send_failures",
        "Frames that the kernel did not take",
        |it| it.send_failures,
    ),
    (
        "claims_missed",
        "Claims of others that came faster than they could be looked at",
        |it| it.claims_missed,
    ),
];

/// All numbers.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    of_interfaces: [Family<Interface, Counter>; OF_INTERFACES.len()],
    foreign_claims: Family<Interface, Counter>,
    held: Gauge,
    acting: Gauge,
    standing_by: Gauge,
    peers_wanted: Gauge,
    peers_up: Gauge,
    conflicts: Gauge,
    takeovers: Family<Reason, Counter>,
    taken: Family<Reason, Counter>,
    yielded: Counter,
}

impl Numbers {
    pub(super) fn register(&self, registry: &mut Registry) {
        for ((name, help, _), family) in OF_INTERFACES.iter().zip(&self.of_interfaces) {
            registry.register(*name, *help, family.clone());
        }
        let help = "Claims of other stations on addresses that are answered here";
        registry.register("foreign_claims", help, self.foreign_claims.clone());
        for (name, help, gauge) in [
            ("vips_held", "Addresses that are answered for", &self.held),
            (
                "vips_acting",
                "Of those, the ones whose placement names another node first",
                &self.acting,
            ),
            (
                "vips_standing_by",
                "Addresses that another node answers for, and this one would",
                &self.standing_by,
            ),
            (
                "peers_wanted",
                "Paths to other speakers that are to be watched by BFD",
                &self.peers_wanted,
            ),
            ("peers_up", "Of those, the ones that are up", &self.peers_up),
            (
                "conflicts",
                "Stations outside the cluster that use addresses of the cluster",
                &self.conflicts,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
        let takeovers = "Times that addresses were taken over from another node, by cause";
        registry.register("takeovers", takeovers, self.takeovers.clone());
        let taken = "Addresses taken over from other nodes, by cause";
        registry.register("vips_taken", taken, self.taken.clone());
        let yielded = "Addresses left to other nodes";
        registry.register("vips_yielded", yielded, self.yielded.clone());
    }

    pub(super) fn took(&self, cause: Cause, vips: usize) {
        let cause = match cause {
            Cause::Silent => "silent",
            Cause::Stops => "stops",
            Cause::Placed => "placed",
        };
        self.takeovers.get_or_create(&Reason { cause }).inc();
        let taken = u64::try_from(vips).unwrap_or(u64::MAX);
        self.taken.get_or_create(&Reason { cause }).inc_by(taken);
    }

    pub(super) fn yielded(&self, vips: usize) {
        self.yielded.inc_by(u64::try_from(vips).unwrap_or(u64::MAX));
    }

    /// Takes everything over; interfaces that are not served any more disappear.
    pub(super) fn set(&self, picture: &Picture, layer2: &L2Status) {
        for ((_, _, read), family) in OF_INTERFACES.iter().zip(&self.of_interfaces) {
            copy(family, layer2, read);
        }
        copy(&self.foreign_claims, layer2, |it| {
            it.foreign_claims.iter().map(|claim| claim.count).sum()
        });
        let in_state = |of: fn(&State) -> bool| {
            let states = picture.standing.values().map(|standing| &standing.state);
            gauge(states.filter(|state| of(state)).count())
        };
        self.held
            .set(in_state(|it| matches!(it, State::Holding { .. })));
        self.acting
            .set(in_state(|it| matches!(it, State::Holding { acting: true })));
        self.standing_by
            .set(in_state(|it| matches!(it, State::StandingBy)));
        let is_up = |watched: &&Watched| {
            let status = watched.status.as_ref();
            status.is_some_and(|status| status.state == BfdState::Up)
        };
        self.peers_wanted.set(gauge(picture.watched.len()));
        self.peers_up
            .set(gauge(picture.watched.iter().filter(is_up).count()));
        self.conflicts.set(gauge(picture.conflicts.len()));
    }
}

fn copy(
    family: &Family<Interface, Counter>,
    layer2: &L2Status,
    read: impl Fn(&InterfaceStatus) -> u64,
) {
    family.clear();
    for (name, status) in &layer2.interfaces {
        let interface = name.clone();
        let counter = family.get_or_create(&Interface { interface });
        counter.inner().store(read(status), Ordering::Relaxed);
    }
}

fn gauge(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
