//! One controller: a core, and how far each of its watches has come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use k8s_openapi::api::coordination::v1::Lease;
use portolan_api::ObjectKey;
use portolan_api::annotation::SPEAKER_LEASE_PREFIX;
use portolan_controller::decide::Core;
use portolan_controller::model::{Event, Listed, Snapshot};
use portolan_controller::write::Outcome;
use portolan_daemon::watch::Change;

use super::server::{self, Kind, Object, Server, State};
use super::user;

/// The class that the controllers serve: Services without one.
pub(crate) const CLASS: Option<&str> = None;

/// See the module.
#[derive(Default)]
pub(crate) struct Controller {
    /// `None`: not running.
    pub(crate) core: Option<Core>,
    /// What each watch has delivered; `None` before its first list.
    cursors: BTreeMap<Kind, u64>,
    /// What each watch has told to be there.
    told: BTreeMap<Kind, BTreeSet<ObjectKey>>,
    /// The term that the core leads in, as far as it knows.
    pub(crate) term: Option<u64>,
    /// A reading of the cluster: for which term, and the version when it began.
    pub(crate) reading: Option<(u64, u64)>,
    /// Answers that have not arrived.
    pub(crate) answers: Vec<Outcome>,
}

impl Controller {
    pub(crate) fn start(&mut self, who: usize, now: Instant) {
        let class = CLASS.map(str::to_owned);
        let mut core = Core::new(&format!("c{who}"), "portolan-system", class);
        for node in user::NODES {
            core.observe(Event::Lease(Change::Apply(mk_lease(node))), now);
        }
        for synced in [
            Event::L2(Change::Synced),
            Event::Bgp(Change::Synced),
            Event::Peer(Box::new(Change::Synced)),
            Event::BfdProfile(Change::Synced),
            Event::Community(Change::Synced),
            Event::ServiceCidr(Change::Synced),
            Event::Slice(Change::Synced),
            Event::Lease(Change::Synced),
        ] {
            core.observe(synced, now);
        }
        *self = Self {
            core: Some(core),
            ..Self::default()
        };
    }

    pub(crate) fn observe(&mut self, event: Event, now: Instant) {
        if let Some(core) = &mut self.core {
            core.observe(event, now);
        }
    }

    /// Delivers the next events of a watch; a watch that has delivered nothing lists. Returns how many.
    pub(crate) fn deliver(
        &mut self,
        server: &Server,
        kind: Kind,
        count: usize,
        now: Instant,
    ) -> usize {
        let Some(cursor) = self.cursors.get(&kind).copied() else {
            return self.list(server, kind, server.head(), now);
        };
        let news = server.log.iter().filter(|e| e.kind == kind);
        let news: Vec<_> = news
            .filter(|e| e.version > cursor)
            .take(count)
            .cloned()
            .collect();
        for entry in &news {
            self.cursors.insert(kind, entry.version);
            let told = self.told.entry(kind).or_default();
            if let Some(object) = &entry.object {
                told.insert(entry.key.clone());
                self.observe(object.clone().event(), now);
            } else {
                told.remove(&entry.key);
                self.observe(server::gone(kind, &entry.key), now);
            }
        }
        news.len()
    }

    /// A version between what the watch has delivered and the present.
    pub(crate) fn moment(&self, server: &Server, kind: Kind, lag: u8) -> u64 {
        let cursor = self.cursors.get(&kind).copied().unwrap_or(0);
        server.head().saturating_sub(u64::from(lag)).max(cursor)
    }

    /// Delivers a list of the given moment: what it lacks is said to be gone after everything that it has.
    pub(crate) fn list(
        &mut self,
        server: &Server,
        kind: Kind,
        version: u64,
        now: Instant,
    ) -> usize {
        self.cursors.insert(kind, version);
        let mut told = self.told.remove(&kind).unwrap_or_default();
        let state = server.at(version);
        let items = state.into_iter().filter(|((of, _), _)| *of == kind);
        let mut listed = BTreeSet::new();
        for ((_, key), object) in items {
            told.remove(&key);
            listed.insert(key);
            self.observe(object.event(), now);
        }
        for key in told {
            self.observe(server::gone(kind, &key), now);
        }
        self.observe(server::synced(kind), now);
        let count = listed.len();
        self.told.insert(kind, listed);
        count
    }

    /// Delivers once more the state of an object that was delivered before and has not been reported as gone since.
    pub(crate) fn repeat(&mut self, server: &Server, kind: Kind, back: u8, now: Instant) -> bool {
        let cursor = self.cursors.get(&kind).copied().unwrap_or(0);
        let told = |entry: &&server::Entry| entry.kind == kind && entry.version <= cursor;
        let entries: Vec<_> = server.log.iter().filter(told).collect();
        let nth = entries.iter().rev().nth(usize::from(back)).copied();
        let Some(object) = nth.and_then(|entry| entry.object.clone()) else {
            return false;
        };
        let mut since = entries
            .iter()
            .filter(|e| Some(&e.key) == nth.map(|n| &n.key));
        let uid = |object: &Option<Object>| object.as_ref().and_then(|o| o.meta().uid.clone());
        let last = since.next_back().map(|entry| uid(&entry.object));
        if last != Some(object.meta().uid.clone()) {
            return false;
        }
        self.observe(object.event(), now);
        true
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.core.as_ref().is_some_and(Core::is_synced)
    }

    /// Whether a watch has more to deliver.
    pub(crate) fn lags(&self, server: &Server) -> bool {
        Kind::ALL.iter().any(|kind| {
            let cursor = self.cursors.get(kind);
            let last = server.log.iter().rev().find(|entry| entry.kind == *kind);
            cursor.is_none_or(|cursor| last.is_some_and(|last| last.version > *cursor))
        })
    }
}

/// The Lease of a speaker that is alive.
fn mk_lease(node: &str) -> Lease {
    let mut lease = Lease::default();
    lease.metadata.name = Some(format!("{SPEAKER_LEASE_PREFIX}{node}"));
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(node.to_owned());
    lease
}

/// What a new leader reads; each list describes a moment since the reading began.
pub(crate) fn snapshot(server: &Server, began: u64, lag: u8) -> Snapshot {
    let version = |lag: u8| server.head().saturating_sub(u64::from(lag)).max(began);
    let (services, pools, rest) = (version(lag), version(lag / 2), version(lag / 3));
    let of = |version: u64, kind: Kind| {
        let state: State = server.at(version);
        let items = state.into_iter().filter(move |((of, _), _)| *of == kind);
        items.map(|(_, object)| object)
    };
    let mut snapshot = Snapshot::default();
    snapshot.services.version = Some(services.to_string());
    for object in of(services, Kind::Service) {
        if let Object::Service(service) = object {
            snapshot.services.items.push(service);
        }
    }
    snapshot.pools.version = Some(pools.to_string());
    for object in of(pools, Kind::Pool) {
        if let Object::Pool(pool) = object {
            snapshot.pools.items.push(Change::Apply(pool));
        }
    }
    snapshot.namespaces.version = Some(rest.to_string());
    for object in of(rest, Kind::Namespace) {
        if let Object::Namespace(namespace) = object {
            snapshot.namespaces.items.push(namespace);
        }
    }
    for object in of(rest, Kind::Config) {
        if let Object::Config(config) = object {
            snapshot.config = Some(config);
        }
    }
    let version = Some(rest.to_string());
    snapshot.l2 = empty(version.clone());
    snapshot.bgp = empty(version.clone());
    snapshot.peers = empty(version.clone());
    snapshot.communities = empty(version);
    snapshot
}

fn empty<T>(version: Option<String>) -> Listed<T> {
    Listed {
        items: Vec::new(),
        version,
    }
}
