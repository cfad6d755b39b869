//! User objects: what they ask for, and whether that changed.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use kube::Resource;
use portolan_api::compile::{Kind, Sources};
use portolan_api::crd::{
    BFDProfile, BGPAdvertisement, BGPPeer, Community, IPAddressPool, L2Advertisement,
};
use portolan_daemon::watch::Change;

use super::{Listed, Model, Watch, is_older, version};

impl Model {
    pub(super) fn source<K: Source>(
        &mut self,
        change: Change<K>,
        kind: Kind,
        table: impl FnOnce(&mut Sources) -> &mut BTreeMap<String, K>,
    ) -> Option<Watch> {
        match change {
            Change::Apply(object) => {
                let name = object.meta().name.clone().unwrap_or_default();
                self.ahead.remove(&(kind, name.clone()));
                let held = table(&mut self.sources);
                let before = held.get(&name);
                if before.is_some_and(|before| is_older(version(&object), version(before))) {
                    return None;
                }
                self.dirty.config |= before.is_none_or(|before| !before.same_wish(&object));
                held.insert(name.clone(), object);
                // Whatever it says: it can be read again.
                self.dirty.config |= self.sources.unreadable.remove(&(kind, name.clone()));
                self.dirty.objects.insert((kind, name));
            }
            // A watch tells that an object is there before it tells that it is gone: this is its predecessor.
            Change::Delete((_, name)) if self.ahead.contains_key(&(kind, name.clone())) => {}
            Change::Delete((_, name)) => {
                let held = table(&mut self.sources).remove(&name);
                self.bury(held.and_then(|held| held.meta().uid.clone()));
                self.sources.unreadable.remove(&(kind, name));
                self.dirty.config = true;
            }
            Change::Unreadable((_, name), _) => {
                table(&mut self.sources).remove(&name);
                self.sources.unreadable.insert((kind, name));
                self.dirty.config = true;
            }
            Change::Synced => {
                self.confirm_sources(kind, table);
                return Some(watch_of(kind));
            }
        }
        None
    }

    /// The watch has listed everything. What it has not told of in two lists is gone; one alone may be older than the list
    /// that knew it.
    fn confirm_sources<K: Source>(
        &mut self,
        kind: Kind,
        table: impl FnOnce(&mut Sources) -> &mut BTreeMap<String, K>,
    ) {
        let held = table(&mut self.sources);
        let mut gone = false;
        self.ahead.retain(|(of, name), doubted| {
            let doubt = *of == kind && *doubted;
            if doubt {
                gone |= held.remove(name).is_some();
            }
            *doubted |= *of == kind;
            !doubt
        });
        self.dirty.config |= gone;
    }

    /// Takes in what the API server answered to a write, see [`Model::learn`].
    pub(super) fn learn_source<K: Source>(
        &mut self,
        change: Change<K>,
        kind: Kind,
        table: impl Fn(&mut Sources) -> &mut BTreeMap<String, K>,
    ) {
        let Change::Apply(object) = &change else {
            return;
        };
        let name = object.meta().name.clone().unwrap_or_default();
        let held = table(&mut self.sources).get(&name);
        if held.is_none_or(|held| held.meta().uid != object.meta().uid) {
            return;
        }
        let doubt = self.ahead.get(&(kind, name.clone())).copied();
        self.source(change, kind, table);
        self.ahead.extend(doubt.map(|doubt| ((kind, name), doubt)));
    }

    pub(super) fn refresh_sources<K: Source>(
        &mut self,
        listed: Listed<Change<K>>,
        buried: &HashSet<String>,
        kind: Kind,
        table: impl Fn(&mut Sources) -> &mut BTreeMap<String, K>,
    ) {
        let list = Listed::<()> {
            items: Vec::new(),
            version: listed.version,
        };
        let mut names = BTreeSet::new();
        for change in listed.items {
            let name = match &change {
                Change::Apply(object) => object.meta().name.clone().unwrap_or_default(),
                Change::Delete((_, name)) | Change::Unreadable((_, name), _) => name.clone(),
                Change::Synced => continue,
            };
            let uid = match &change {
                Change::Apply(object) => object.meta().uid.as_ref(),
                _ => None,
            };
            if uid.is_none_or(|uid| !buried.contains(uid)) {
                let held = table(&mut self.sources).get(&name);
                let same = held.is_some_and(|held| held.meta().uid.as_ref() == uid);
                let doubt = self.ahead.get(&(kind, name.clone())).copied();
                let doubt = doubt.or((!same).then_some(false));
                self.source(change, kind, &table);
                let doubt = doubt.filter(|_| table(&mut self.sources).contains_key(&name));
                self.ahead
                    .extend(doubt.map(|doubt| ((kind, name.clone()), doubt)));
                names.insert(name);
            }
        }
        let held = table(&mut self.sources);
        let before = held.len();
        held.retain(|name, object| names.contains(name) || !list.proves_gone(version(object)));
        self.dirty.config |= held.len() != before;
        // Such an object has no version to compare: the watch tells of it again if it is still there.
        self.sources
            .unreadable
            .retain(|(of, name)| *of != kind || names.contains(name));
    }
}

fn watch_of(kind: Kind) -> Watch {
    match kind {
        Kind::Pool => Watch::Pools,
        Kind::L2 => Watch::L2Advertisements,
        Kind::Bgp => Watch::BgpAdvertisements,
        Kind::Peer => Watch::Peers,
        Kind::BfdProfile => Watch::BfdProfiles,
        Kind::Community => Watch::Communities,
    }
}

/// A user object, as far as telling a new wish from a new status goes.
pub(super) trait Source: Resource<DynamicType = ()> {
    /// Whether both ask for the same.
    fn same_wish(&self, other: &Self) -> bool;
}

macro_rules! source {
    ($($kind:ty),*) => {$(
        impl Source for $kind {
            fn same_wish(&self, other: &Self) -> bool {
                self.spec == other.spec
                    && self.metadata.uid == other.metadata.uid
                    && self.metadata.labels == other.metadata.labels
            }
        }
    )*};
}

source!(
    IPAddressPool,
    L2Advertisement,
    BGPAdvertisement,
    BGPPeer,
    BFDProfile,
    Community
);
