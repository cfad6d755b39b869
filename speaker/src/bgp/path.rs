//! BFD's eye on the way to a peer (RFC 5882).

use std::net::IpAddr;

use portolan_proto::bgp::Relation;
use tokio::sync::watch;

use super::next_hop::is_near;
use super::{Bfd, Distance, PeerSpec, Remote};
use crate::bfd::{BfdStatus, Engine, Liveness, SessionHandle, SessionSpec};
use crate::link::Links;

/// A BFD session with a peer; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Path {
    handle: SessionHandle,
    pub(super) liveness: watch::Receiver<Liveness>,
    spec: SessionSpec,
    /// Failures that were acted upon.
    failures: u64,
}

impl Path {
    pub(super) fn watch(engine: &Engine, spec: SessionSpec) -> Self {
        let handle = engine.session(spec.clone());
        let liveness = handle.watch();
        let failures = liveness.borrow().failures;
        Self {
            handle,
            liveness,
            spec,
            failures,
        }
    }

    /// Whether it watches the way that `spec` describes, whatever the times.
    pub(super) fn is_of(&self, spec: &SessionSpec) -> bool {
        let way =
            |spec: &SessionSpec| (spec.peer, spec.local, spec.interface.clone(), spec.multihop);
        way(&self.spec) == way(spec)
    }

    /// Follows other times.
    pub(super) fn follow(&mut self, spec: SessionSpec) {
        if self.spec != spec {
            self.handle.set(spec.clone());
            self.spec = spec;
        }
    }

    /// Whether the path has failed since the last look.
    pub(super) fn has_failed(&mut self) -> bool {
        let failures = self.liveness.borrow_and_update().failures;
        std::mem::replace(&mut self.failures, failures) < failures
    }

    /// For the report.
    pub(super) fn status(&self) -> Option<BfdStatus> {
        self.handle.status()
    }
}

/// What BFD has to watch for a session with the peer at `remote`. An internal peer may be anywhere: it is one hop away if
/// a link of ours says so.
pub(super) fn spec(peer: &PeerSpec, bfd: &Bfd, remote: IpAddr, links: &Links) -> SessionSpec {
    let internal = peer.peer_as.relation(peer.local_as) == Relation::Internal;
    let multihop = match peer.distance {
        Distance::Multihop => true,
        Distance::Secured => false,
        Distance::Usual => internal && !is_near(links, remote),
    };
    let interface = match &peer.remote {
        Remote::Interface { name, .. } => Some(name.clone()),
        Remote::Address(_) => None,
    };
    SessionSpec {
        local: peer.source,
        multihop,
        interface,
        vrf: peer.vrf.clone(),
        authentication: bfd.authentication.clone(),
        ..SessionSpec::new(remote, &bfd.profile)
    }
}
