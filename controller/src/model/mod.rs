//! What the cluster looks like: one index that every watch feeds, and the set of things that changed since the last
//! decision.
//!
//! ```text
//! Change<K> ──► Model::apply ──► services · sources · namespaces · nodes · endpoints · speakers · reports
//!                    └─────────► Dirty: what has to be decided again
//! ```
//!
//! An event that is older than what is known is ignored (by `resourceVersion`): the fresh lists that a new leader reads
//! run ahead of its watches.

mod conflicts;
mod endpoints;
mod reports;
mod service;
mod services;
mod sources;
mod speakers;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Resource;
use portolan_api::ObjectKey;
use portolan_api::compile::{Kind, Sources};
use portolan_api::crd::{
    BFDProfile, BGPAdvertisement, BGPPeer, Community, IPAddressPool, L2Advertisement, SpeakerConfig,
};
use portolan_api::view::{self, EndpointSlice, Namespace, Node, NodeReport, ServiceCIDR};
use portolan_daemon::watch::{Change, Key};

pub use conflicts::{Conflict, Heard};
pub use endpoints::Endpoints;
pub use reports::Reports;
pub use service::{Ingress, Labels, Service};
pub use services::{Entry, Services};
pub use speakers::Speakers;

use crate::alloc::ServiceId;

/// What the watches report, and the reading that a term waits for.
#[derive(Debug)]
#[expect(
    missing_docs,
    reason = "each variant is the change of the kind in its name"
)]
pub enum Event {
    Service(Change<view::Service>),
    Pool(Change<IPAddressPool>),
    L2(Change<L2Advertisement>),
    Bgp(Change<BGPAdvertisement>),
    /// The largest by far, and rare.
    Peer(Box<Change<BGPPeer>>),
    BfdProfile(Change<BFDProfile>),
    Community(Change<Community>),
    ServiceCidr(Change<ServiceCIDR>),
    Config(Change<SpeakerConfig>),
    Namespace(Change<Namespace>),
    Node(Change<Node>),
    Report(Change<NodeReport>),
    Slice(Change<EndpointSlice>),
    Lease(Change<Lease>),
    /// A page of the Services that [`Snapshot::services`] completes.
    Page(Vec<view::Service>),
}

/// The watches that must have reported everything before anything is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "each variant is the watch of the kind in its name"
)]
pub enum Watch {
    Services,
    Pools,
    L2Advertisements,
    BgpAdvertisements,
    Peers,
    BfdProfiles,
    Communities,
    ServiceCidrs,
    SpeakerConfig,
    Namespaces,
    Nodes,
    NodeReports,
    EndpointSlices,
    Leases,
}

impl Watch {
    /// All of them, with the names that `/readyz` uses.
    pub const ALL: [(Self, &'static str); 14] = [
        (Self::Services, "services"),
        (Self::Pools, "ipaddresspools"),
        (Self::L2Advertisements, "l2advertisements"),
        (Self::BgpAdvertisements, "bgpadvertisements"),
        (Self::Peers, "bgppeers"),
        (Self::BfdProfiles, "bfdprofiles"),
        (Self::Communities, "communities"),
        (Self::ServiceCidrs, "servicecidrs"),
        (Self::SpeakerConfig, "speakerconfigs"),
        (Self::Namespaces, "namespaces"),
        (Self::Nodes, "nodes"),
        (Self::NodeReports, "nodereports"),
        (Self::EndpointSlices, "endpointslices"),
        (Self::Leases, "leases"),
    ];
}

/// What has to be decided again.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says whether one thing has changed"
)]
pub struct Dirty {
    /// Services whose address or placement may change.
    pub services: BTreeSet<ServiceId>,
    /// Every Service, because something changed that many of them depend on.
    pub all_services: bool,
    /// Addresses of nodes.
    pub nodes: bool,
    /// Addresses that a node has taken over, or has no more.
    pub acting: BTreeSet<IpAddr>,
    /// Addresses that a node has begun to answer for.
    pub answered: BTreeSet<IpAddr>,
    /// What is said of strangers that use our addresses.
    pub conflicts: bool,
    /// User objects changed: compile again.
    pub config: bool,
    /// User objects whose status may have to change.
    pub objects: BTreeSet<(Kind, String)>,
}

/// What a Namespace means to its Services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceFacts {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    uid: Option<String>,
    version: Option<u64>,
}

/// What a Node means to placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it must not announce at all.
    pub excluded: bool,
    /// Whether it is about to go.
    pub draining: bool,
    /// Its own addresses, which no Service may have.
    pub addresses: Vec<IpAddr>,
}

/// A consistent list of one kind.
#[derive(Debug)]
pub struct Listed<T> {
    /// What there was.
    pub items: Vec<T>,
    /// `resourceVersion` of the list: the moment that it describes.
    pub version: Option<String>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            version: None,
        }
    }
}

impl<T> Listed<T> {
    /// Whether an object that the list lacks is gone, and not younger than the list.
    fn proves_gone(&self, held: Option<u64>) -> bool {
        let list = self.version.as_ref().and_then(|text| text.parse().ok());
        !is_older(list, held)
    }
}

/// A consistent reading of everything that decisions about addresses depend on.
#[derive(Debug, Default)]
#[expect(
    missing_docs,
    reason = "each field is the list of the kind in its name"
)]
pub struct Snapshot {
    /// Those that have not come as an [`Event::Page`] before.
    pub services: Listed<view::Service>,
    pub pools: Listed<Change<IPAddressPool>>,
    pub l2: Listed<Change<L2Advertisement>>,
    pub bgp: Listed<Change<BGPAdvertisement>>,
    pub peers: Listed<Change<BGPPeer>>,
    pub communities: Listed<Change<Community>>,
    pub namespaces: Listed<Namespace>,
    pub config: Option<SpeakerConfig>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Model {
    /// Services, ours and others.
    pub services: Services,
    /// User objects.
    pub sources: Sources,
    /// The compiled configuration as the API server has it.
    pub config: Option<SpeakerConfig>,
    /// Namespaces.
    pub namespaces: BTreeMap<String, NamespaceFacts>,
    /// Nodes.
    pub nodes: BTreeMap<String, NodeFacts>,
    /// Nodes with usable endpoints, by Service.
    pub endpoints: Endpoints,
    /// Which speakers are alive.
    pub speakers: Speakers,
    /// What speakers say of their nodes.
    pub reports: Reports,
    /// What changed.
    pub dirty: Dirty,
    synced: BTreeSet<Watch>,
    /// The SpeakerConfig was deleted since we began to create it.
    config_gone: bool,
    /// User objects that a list told of before the watch did, or otherwise than it; and whether a list of the watch lacked it.
    ahead: BTreeMap<(Kind, String), bool>,
    /// UIDs of what was deleted since a reading of the cluster began: the reading may still have it. `None` while nobody
    /// reads.
    buried: Option<HashSet<String>>,
}

impl Model {
    /// A model in which nothing is known; `identity` is ours, for telling our own Lease renewals.
    #[must_use]
    pub fn new(identity: &str) -> Self {
        Self {
            speakers: Speakers::new(identity),
            ..Self::default()
        }
    }

    /// Takes in one event. Returns the watch that has just become complete, if one has.
    pub fn apply(&mut self, event: Event, now: Instant) -> Option<Watch> {
        let watch = match event {
            Event::Service(change) => self.service(change),
            Event::Pool(change) => self.source(change, Kind::Pool, |s| &mut s.pools),
            Event::L2(change) => self.source(change, Kind::L2, |s| &mut s.l2),
            Event::Bgp(change) => self.source(change, Kind::Bgp, |s| &mut s.bgp),
            Event::Peer(change) => self.source(*change, Kind::Peer, |s| &mut s.peers),
            Event::BfdProfile(change) => {
                self.source(change, Kind::BfdProfile, |s| &mut s.bfd_profiles)
            }
            Event::Community(change) => {
                self.source(change, Kind::Community, |s| &mut s.communities)
            }
            Event::ServiceCidr(change) => self.service_cidr(change),
            Event::Config(change) => self.speaker_config(change),
            Event::Namespace(change) => self.namespace(change),
            Event::Node(change) => self.node(change),
            Event::Report(change) => self.report(change, now),
            Event::Slice(change) => self.slice(change),
            Event::Lease(change) => self.lease(change, now),
            Event::Page(page) => {
                self.read(page);
                None
            }
        }?;
        self.synced.insert(watch).then_some(watch)
    }

    /// Takes in what the API server answered to a write of ours. That says how the object is, and not that it still is: what
    /// the watch has told to be gone since does not come back, and what it has not told of yet stays in doubt.
    pub fn learn(&mut self, event: Event, now: Instant) {
        match event {
            Event::Service(Change::Apply(service)) => {
                let id = self.services.update(service);
                self.dirty.services.extend(id);
            }
            Event::Pool(change) => self.learn_source(change, Kind::Pool, |s| &mut s.pools),
            Event::L2(change) => self.learn_source(change, Kind::L2, |s| &mut s.l2),
            Event::Bgp(change) => self.learn_source(change, Kind::Bgp, |s| &mut s.bgp),
            Event::Peer(change) => self.learn_source(*change, Kind::Peer, |s| &mut s.peers),
            Event::BfdProfile(change) => {
                self.learn_source(change, Kind::BfdProfile, |s| &mut s.bfd_profiles);
            }
            Event::Community(change) => {
                self.learn_source(change, Kind::Community, |s| &mut s.communities);
            }
            Event::Config(Change::Apply(object)) => {
                let same = |held: &SpeakerConfig| held.metadata.uid == object.metadata.uid;
                if self.config.as_ref().map_or(!self.config_gone, same) {
                    self.apply(Event::Config(Change::Apply(object)), now);
                }
            }
            _ => {}
        }
    }

    /// The API server answered that a Service does not exist. Usually the watch tells so as well; of one that only a list has
    /// told of it never may.
    pub fn miss(&mut self, key: &ObjectKey) {
        self.dirty.services.extend(self.services.miss(key));
    }

    /// The SpeakerConfig is going to be created.
    pub fn expect_config(&mut self) {
        self.config_gone = false;
    }

    /// Whether every watch has reported everything once.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.synced.len() == Watch::ALL.len()
    }

    /// A reading of the cluster begins: what is deleted from now on may still be in it.
    pub fn prepare_refresh(&mut self) {
        self.buried = Some(HashSet::new());
        self.services.prepare_read();
    }

    /// Takes in some of the Services of the reading before the rest of it. What they lack says nothing yet.
    fn read(&mut self, page: Vec<view::Service>) {
        // A page without a preparation is one of a reading that was given up.
        if let Some(buried) = &self.buried {
            self.services.read(page, buried);
        }
    }

    /// Remembers what was deleted, as long as somebody reads.
    fn bury(&mut self, uid: Option<impl Into<String>>) {
        if let (Some(buried), Some(uid)) = (&mut self.buried, uid) {
            buried.insert(uid.into());
        }
    }

    /// Takes in a consistent reading. It may be newer than the watches, and the watches may be newer than it: what it
    /// lacks is gone unless it is younger than the reading, and what was deleted meanwhile does not come back.
    pub fn refresh(&mut self, snapshot: Snapshot) {
        let buried = self.buried.take().unwrap_or_default();
        self.services.refresh(snapshot.services, &buried);
        self.refresh_sources(snapshot.pools, &buried, Kind::Pool, |s| &mut s.pools);
        self.refresh_sources(snapshot.l2, &buried, Kind::L2, |s| &mut s.l2);
        self.refresh_sources(snapshot.bgp, &buried, Kind::Bgp, |s| &mut s.bgp);
        self.refresh_sources(snapshot.peers, &buried, Kind::Peer, |s| &mut s.peers);
        self.refresh_sources(snapshot.communities, &buried, Kind::Community, |s| {
            &mut s.communities
        });
        for namespace in snapshot.namespaces.items {
            let uid = namespace.metadata.uid.as_ref();
            if uid.is_none_or(|uid| !buried.contains(uid)) {
                self.namespace(Change::Apply(namespace));
            }
        }
        if let Some(config) = snapshot.config {
            self.speaker_config(Change::Apply(config));
        }
    }

    fn service(&mut self, change: Change<view::Service>) -> Option<Watch> {
        match change {
            Change::Apply(service) => {
                let key = ObjectKey::of(&service);
                let shared = self.endpoints.key(&key);
                let key = shared.unwrap_or_else(|| Arc::new(key));
                let id = self.services.apply(key, service);
                self.dirty.services.extend(id);
            }
            Change::Delete(key) => {
                if let Some((id, uid)) = self.services.delete(&object_key(key)) {
                    self.bury(uid);
                    self.dirty.services.insert(id);
                }
            }
            Change::Unreadable(..) => {}
            Change::Synced => {
                let gone = self.services.confirm();
                self.dirty.services.extend(gone);
                return Some(Watch::Services);
            }
        }
        None
    }

    fn service_cidr(&mut self, change: Change<ServiceCIDR>) -> Option<Watch> {
        match change {
            Change::Apply(object) => {
                let name = object.metadata.name.clone().unwrap_or_default();
                let held = self.sources.service_cidrs.insert(name, object.clone());
                self.dirty.config |= held.is_none_or(|held| held.spec != object.spec);
            }
            Change::Delete((_, name)) => {
                self.sources.service_cidrs.remove(&name);
                self.dirty.config = true;
            }
            Change::Unreadable(..) => {}
            Change::Synced => return Some(Watch::ServiceCidrs),
        }
        None
    }

    fn speaker_config(&mut self, change: Change<SpeakerConfig>) -> Option<Watch> {
        match change {
            Change::Apply(object) => {
                let ours = object.metadata.name.as_deref() == Some(portolan_api::SPEAKER_CONFIG);
                let held = self.config.as_ref();
                if ours && held.is_none_or(|held| !is_older(version(&object), version(held))) {
                    self.dirty.config |= held.is_none_or(|held| held.spec != object.spec);
                    self.config = Some(object);
                }
            }
            Change::Delete((_, name)) if name == portolan_api::SPEAKER_CONFIG => {
                self.config = None;
                self.config_gone = true;
                self.dirty.config = true;
            }
            Change::Delete(_) | Change::Unreadable(..) => {}
            Change::Synced => return Some(Watch::SpeakerConfig),
        }
        None
    }

    fn namespace(&mut self, change: Change<Namespace>) -> Option<Watch> {
        match change {
            Change::Apply(object) => {
                let version = version(&object);
                let name = object.metadata.name.unwrap_or_default();
                let facts = NamespaceFacts {
                    labels: object.metadata.labels.unwrap_or_default(),
                    uid: object.metadata.uid,
                    version,
                };
                let held = self.namespaces.get(&name);
                if held.is_some_and(|held| is_older(version, held.version)) {
                    return None;
                }
                self.dirty.all_services |= held.is_none_or(|held| held.labels != facts.labels);
                self.namespaces.insert(name, facts);
            }
            // Its Services go before it does, each with its own event.
            Change::Delete((_, name)) => {
                let held = self.namespaces.remove(&name);
                self.bury(held.and_then(|held| held.uid));
            }
            Change::Unreadable(..) => {}
            Change::Synced => return Some(Watch::Namespaces),
        }
        None
    }

    fn node(&mut self, change: Change<Node>) -> Option<Watch> {
        match change {
            Change::Apply(object) => {
                let own = object.status.addresses.iter();
                let facts = NodeFacts {
                    labels: object.labels().clone(),
                    excluded: object.excluded().is_some(),
                    draining: object.draining().is_some(),
                    addresses: own.filter_map(|own| own.address.parse().ok()).collect(),
                };
                let name = object.metadata.name.unwrap_or_default();
                let held = self.nodes.insert(name, facts.clone());
                let own = held.as_ref().map(|held| held.addresses.as_slice());
                self.dirty.nodes |= own.unwrap_or_default() != facts.addresses;
                self.dirty.all_services |= held.as_ref() != Some(&facts);
            }
            Change::Delete((_, name)) => {
                let held = self.nodes.remove(&name);
                self.dirty.nodes |= held.is_some();
                self.dirty.all_services |= held.is_some();
            }
            Change::Unreadable(..) => {}
            Change::Synced => return Some(Watch::Nodes),
        }
        None
    }

    fn report(&mut self, change: Change<NodeReport>, now: Instant) -> Option<Watch> {
        let news = match change {
            Change::Apply(report) => self.reports.apply(report, now),
            Change::Delete((_, name)) => self.reports.remove(&name),
            Change::Unreadable(..) => return None,
            Change::Synced => {
                self.reports.complete();
                return Some(Watch::NodeReports);
            }
        };
        self.dirty.all_services |= news.links;
        self.dirty.acting.extend(news.acting);
        self.dirty.answered.extend(news.answered);
        self.dirty.conflicts |= news.conflicts;
        None
    }

    /// Lets go of what counted for a while only.
    pub fn expire(&mut self, now: Instant) {
        self.dirty.all_services |= self.reports.expire(now);
    }

    fn slice(&mut self, change: Change<EndpointSlice>) -> Option<Watch> {
        let changed = match change {
            Change::Apply(slice) => {
                let service = slice.service();
                let service = service.and_then(|service| self.services.key(&service));
                self.endpoints.apply(&slice, service)
            }
            Change::Delete(key) => self.endpoints.delete(&object_key(key)),
            Change::Unreadable(..) => None,
            Change::Synced => return Some(Watch::EndpointSlices),
        };
        let id = changed.and_then(|key| self.services.id(&key));
        self.dirty.services.extend(id);
        None
    }

    fn lease(&mut self, change: Change<Lease>, now: Instant) -> Option<Watch> {
        self.dirty.all_services |= match change {
            Change::Apply(lease) => self.speakers.observe(&lease, now),
            Change::Delete((_, name)) => self.speakers.remove(&name),
            Change::Unreadable(..) => false,
            Change::Synced => {
                self.speakers.complete();
                return Some(Watch::Leases);
            }
        };
        None
    }
}

/// The `resourceVersion` as a number. API servers number all changes of one kind in order.
fn version<K: Resource>(object: &K) -> Option<u64> {
    object.meta().resource_version.as_ref()?.parse().ok()
}

/// Whether a version is older than what is held. Versions that are no numbers are never older.
fn is_older(new: Option<u64>, held: Option<u64>) -> bool {
    matches!((new, held), (Some(new), Some(held)) if new < held)
}

fn object_key((namespace, name): Key) -> ObjectKey {
    ObjectKey { namespace, name }
}
