//! Services that can be found by their addresses: what one change costs must not depend on how many others there are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;
use portolan_api::ObjectKey;

use super::services::KnownService;

/// Services by key and by address, each with the generation of the watch that it comes from.
#[derive(Debug, Default)]
pub(super) struct Index {
    services: BTreeMap<Arc<ObjectKey>, (u32, KnownService)>,
    addresses: BTreeSet<(IpAddr, Arc<ObjectKey>)>,
}

impl Index {
    pub(super) fn get(&self, key: &ObjectKey) -> Option<&KnownService> {
        self.services.get(key).map(|(_, known)| known)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &KnownService)> {
        let services = self.services.iter();
        services.map(|(key, (_, known))| (&**key, known))
    }

    /// Those that have an address in this network; one that has several comes several times.
    pub(super) fn within(
        &self,
        network: IpNetwork,
    ) -> impl Iterator<Item = (&ObjectKey, &KnownService)> {
        let first = Arc::new(ObjectKey::new("", ""));
        let entries = self.addresses.range((network.network(), first)..);
        let last = network.broadcast();
        let entries = entries.take_while(move |(address, _)| *address <= last);
        entries.filter_map(|(_, key)| Some((&**key, self.get(key)?)))
    }

    /// Sets or removes one; returns what was there.
    pub(super) fn set(
        &mut self,
        key: ObjectKey,
        known: Option<(u32, KnownService)>,
    ) -> Option<KnownService> {
        let (key, before) = match self.services.remove_entry(&key) {
            Some((key, (_, before))) => (key, Some(before)),
            None => (Arc::new(key), None),
        };
        for address in before.iter().flat_map(KnownService::addresses) {
            self.addresses.remove(&(address, Arc::clone(&key)));
        }
        if let Some((generation, known)) = known {
            for address in known.addresses() {
                self.addresses.insert((address, Arc::clone(&key)));
            }
            self.services.insert(key, (generation, known));
        }
        before
    }

    /// Keys of those that come from another generation.
    pub(super) fn not_of(&self, generation: u32) -> Vec<ObjectKey> {
        let others = self.services.iter();
        let others = others.filter(|(_, (seen, _))| *seen != generation);
        others.map(|(key, _)| ObjectKey::clone(key)).collect()
    }

    pub(super) fn clear(&mut self) {
        self.services.clear();
        self.addresses.clear();
    }
}

#[cfg(test)]
mod tests {
    use portolan_api::view::Service;
    use proptest::prelude::*;

    use super::*;

    fn mk_known(hosts: &BTreeSet<u8>) -> KnownService {
        let mut service = Service::default();
        service.spec.external_ips = hosts.iter().map(|host| format!("192.0.2.{host}")).collect();
        KnownService::of(&service, true, "node")
    }

    proptest! {
        #[test]
        fn whoever_has_an_address_in_a_network_is_found_there(
            steps in proptest::collection::vec((0u8..4, proptest::option::of(proptest::collection::btree_set(0u8..8, 0..4))), 1..20),
            first in 0u8..8,
            length in 29u8..=32,
        ) {
            let mut index = Index::default();
            let mut model: BTreeMap<String, BTreeSet<u8>> = BTreeMap::new();
            for (name, hosts) in steps {
                let name = name.to_string();
                let known = hosts.as_ref().map(|hosts| (0, mk_known(hosts)));
                index.set(ObjectKey::new("default", name.clone()), known);
                model.remove(&name);
                model.extend(hosts.map(|hosts| (name, hosts)));
            }
            let network = IpNetwork::new(IpAddr::from([192, 0, 2, first]), length).unwrap();
            let found: BTreeSet<&str> = index.within(network).map(|(key, _)| &*key.name).collect();
            let inside = |host: &u8| network.contains([192, 0, 2, *host].into());
            let has = model.iter().filter(|(_, hosts)| hosts.iter().any(inside));
            let wanted: BTreeSet<&str> = has.map(|(name, _)| name.as_str()).collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
