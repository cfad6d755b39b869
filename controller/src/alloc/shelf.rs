//! Addresses of Services that share, so that the first one with room for certain ports is found without looking at all of
//! them: a thousand Services with one key and one port are a thousand addresses.
//!
//! ```text
//! key, pods ─┬─ shelf of all namespaces      for pools that let namespaces share
//!            └─ shelf of each namespace      for all others
//!
//! shelf   .0  .1  .2  .3  .4  .5  .6         its addresses
//! port 80  x   x       x   x                 taken: .2 is open again, and remembered
//!          └────── front ─────┘              the next search begins here
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::Bound;

use super::sharing::{Port, Sharing};

/// A search that is shorter than this is not worth remembering.
const WORTHWHILE: usize = 16;

/// The shelves of every key.
#[derive(Debug, Clone, Default)]
pub(super) struct Shelves {
    /// By key, then by backend.
    by_key: HashMap<Box<str>, HashMap<Box<str>, Circle>>,
}

/// Services that may share as far as key and pods go.
#[derive(Debug, Clone, Default)]
struct Circle {
    all: Shelf,
    by_namespace: HashMap<Box<str>, Shelf>,
}

/// Addresses, ascending.
#[derive(Debug, Clone, Default)]
struct Shelf {
    /// With the number of Services on each.
    addresses: BTreeMap<IpAddr, u32>,
    taken: HashMap<Port, BTreeSet<IpAddr>>,
    /// By the address where a search began, and the port.
    fronts: HashMap<(IpAddr, Port), Front>,
}

/// What is known of the beginning of a shelf for one port.
#[derive(Debug, Clone)]
struct Front {
    /// Every address up to this one has the port, but for those that are open.
    upto: IpAddr,
    open: BTreeSet<IpAddr>,
}

/// Where to look: addresses from `first` to `last`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    pub(super) first: IpAddr,
    pub(super) last: IpAddr,
    /// Whether Services of other namespaces count.
    pub(super) across: bool,
}

/// What a search has found, and what it has learned.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Search {
    /// The first address with room that was accepted.
    pub(super) found: Option<IpAddr>,
    /// The port that is taken on each address up to this one.
    front: Option<(Port, IpAddr)>,
}

impl Shelves {
    /// A Service has got an address.
    pub(super) fn add(&mut self, sharing: &Sharing, address: IpAddr) {
        let backends = self.by_key.entry(sharing.key.clone()).or_default();
        let circle = backends.entry(sharing.backend.clone()).or_default();
        circle.all.add(&sharing.ports, address);
        let namespace = sharing.namespace.clone();
        let own = circle.by_namespace.entry(namespace).or_default();
        own.add(&sharing.ports, address);
    }

    /// A Service has lost an address; `sharing` is what it was added with.
    pub(super) fn remove(&mut self, sharing: &Sharing, address: IpAddr) {
        let Some(backends) = self.by_key.get_mut(&sharing.key) else {
            return;
        };
        let Some(circle) = backends.get_mut(&sharing.backend) else {
            return;
        };
        circle.all.remove(&sharing.ports, address);
        if let Some(own) = circle.by_namespace.get_mut(&sharing.namespace) {
            own.remove(&sharing.ports, address);
            if own.addresses.is_empty() {
                circle.by_namespace.remove(&sharing.namespace);
            }
        }
        if circle.all.addresses.is_empty() {
            backends.remove(&sharing.backend);
        }
        if backends.is_empty() {
            self.by_key.remove(&sharing.key);
        }
    }

    /// The first address in reach that has room for the ports and is accepted.
    pub(super) fn search(
        &self,
        sharing: &Sharing,
        reach: Reach,
        accept: impl Fn(IpAddr) -> bool,
    ) -> Search {
        let backends = self.by_key.get(&sharing.key);
        let circle = backends.and_then(|backends| backends.get(&sharing.backend));
        let searched = circle.and_then(|circle| {
            if reach.across {
                Some(&circle.all)
            } else {
                circle.by_namespace.get(&sharing.namespace)
            }
        });
        searched.map_or_else(Search::default, |shelf| {
            shelf.search(&sharing.ports, reach, accept)
        })
    }

    /// Remembers what a search has learned, for the next one.
    pub(super) fn learn(&mut self, sharing: &Sharing, reach: Reach, search: Search) {
        let Some((port, upto)) = search.front else {
            return;
        };
        let backends = self.by_key.get_mut(&sharing.key);
        let circle = backends.and_then(|backends| backends.get_mut(&sharing.backend));
        let searched = circle.and_then(|circle| {
            if reach.across {
                Some(&mut circle.all)
            } else {
                circle.by_namespace.get_mut(&sharing.namespace)
            }
        });
        if let Some(shelf) = searched {
            let open = BTreeSet::new();
            let front = shelf.fronts.entry((reach.first, port));
            front.or_insert(Front { upto, open }).upto = upto;
        }
    }

    /// The ranges of pools have changed, and with them where searches begin.
    pub(super) fn unlearn(&mut self) {
        let circles = self.by_key.values_mut().flat_map(HashMap::values_mut);
        for circle in circles {
            circle.all.fronts.clear();
            for shelf in circle.by_namespace.values_mut() {
                shelf.fronts.clear();
            }
        }
    }
}

impl Shelf {
    fn add(&mut self, ports: &[Port], address: IpAddr) {
        let count = self.addresses.entry(address).or_default();
        *count += 1;
        let fresh = *count == 1;
        for port in ports {
            self.taken.entry(*port).or_default().insert(address);
        }
        for (port, front) in self.fronts_over(address) {
            if ports.contains(port) {
                front.open.remove(&address);
            } else if fresh {
                front.open.insert(address);
            }
        }
    }

    fn remove(&mut self, ports: &[Port], address: IpAddr) {
        let Some(count) = self.addresses.get_mut(&address) else {
            return;
        };
        *count -= 1;
        let gone = *count == 0;
        if gone {
            self.addresses.remove(&address);
        }
        for port in ports {
            if let Some(taken) = self.taken.get_mut(port) {
                taken.remove(&address);
                if taken.is_empty() {
                    self.taken.remove(port);
                    self.fronts.retain(|(_, of), _| of != port);
                }
            }
        }
        for (port, front) in self.fronts_over(address) {
            if gone {
                front.open.remove(&address);
            } else if ports.contains(port) {
                front.open.insert(address);
            }
        }
    }

    fn fronts_over(&mut self, address: IpAddr) -> impl Iterator<Item = (&Port, &mut Front)> {
        let fronts = self.fronts.iter_mut();
        fronts
            .filter(move |((first, _), front)| *first <= address && address <= front.upto)
            .map(|((_, port), front)| (port, front))
    }

    fn search(&self, ports: &[Port], reach: Reach, accept: impl Fn(IpAddr) -> bool) -> Search {
        let Reach { first, last, .. } = reach;
        let is_taken = |port: &Port, address: &IpAddr| {
            let taken = self.taken.get(port);
            taken.is_some_and(|taken| taken.contains(address))
        };
        let fits = |address: &IpAddr| {
            !ports.iter().any(|port| is_taken(port, address)) && accept(*address)
        };
        let fronts = ports
            .iter()
            .filter_map(|port| Some((*port, self.fronts.get(&(first, *port))?)));
        let front = fronts.max_by_key(|(_, front)| front.upto);
        let mut start = Bound::Included(first);
        if let Some((_, front)) = front {
            let open = front.open.range(first..=last).copied().find(fits);
            if open.is_some() || front.upto >= last {
                return Search {
                    found: open,
                    front: None,
                };
            }
            start = Bound::Excluded(front.upto);
        }
        // The port that is taken everywhere so far.
        let mut lead = front.map(|(port, _)| port);
        let (mut upto, mut steps, mut unbroken) = (None, 0, true);
        let mut found = None;
        for address in self.addresses.range((start, Bound::Included(last))) {
            let address = address.0;
            if fits(address) {
                found = Some(*address);
                break;
            }
            steps += 1;
            lead = lead.or_else(|| ports.iter().copied().find(|port| is_taken(port, address)));
            unbroken &= lead.is_some_and(|port| is_taken(&port, address));
            if unbroken {
                upto = Some(*address);
            }
        }
        let front = lead.zip(upto).filter(|_| steps >= WORTHWHILE);
        Search { found, front }
    }
}

#[cfg(test)]
mod tests {
    use portolan_api::annotation::ALLOW_SHARED_IP;
    use portolan_api::view;
    use proptest::prelude::*;

    use super::*;

    fn mk_sharing(namespace: &str, ports: &BTreeSet<u8>) -> Sharing {
        let mut service = view::Service::default();
        service.metadata.namespace = Some(namespace.to_owned());
        let key = (ALLOW_SHARED_IP.to_owned(), "k".to_owned());
        service.metadata.annotations = Some(BTreeMap::from([key]));
        let port = |port: &u8| view::Port {
            protocol: None,
            port: i32::from(*port),
        };
        service.spec.ports = ports.iter().map(port).collect();
        Sharing::of(&service).unwrap()
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    proptest! {
        /// Services with few ports come to the first address with room, or to any other one, and go again.
        #[test]
        fn a_search_finds_what_looking_at_all_finds(
            steps in prop::collection::vec(
                (0_u8..4, prop::collection::btree_set(0_u8..4, 1..3), 0_u8..120, 0_u8..40),
                0..400,
            ),
        ) {
            let mut shelves = Shelves::default();
            let mut here: Vec<(u8, BTreeSet<u8>)> = Vec::new();
            for (step, ports, at, first) in steps {
                let sharing = mk_sharing("shop", &ports);
                let has_room = |here: &[(u8, BTreeSet<u8>)], at: u8| {
                    here.iter().all(|(a, theirs)| *a != at || theirs.is_disjoint(&ports))
                };
                if step == 0 && !here.is_empty() {
                    let (at, ports) = here.swap_remove(usize::from(at) % here.len());
                    shelves.remove(&mk_sharing("shop", &ports), address(at));
                    continue;
                }
                let first = if first % 2 == 0 { 0 } else { 20 };
                let reach = Reach { first: address(first), last: address(110), across: step == 1 };
                let expected = here.iter().map(|(a, _)| *a);
                let expected = expected.filter(|a| (first..=110).contains(a) && has_room(&here, *a)).min();
                let search = shelves.search(&sharing, reach, |_| true);
                shelves.learn(&sharing, reach, search);
                prop_assert_eq!(search.found, expected.map(address));
                // Mostly a new one at the end, as it is in life.
                let end = here.iter().map(|(a, _)| a + 1).max().unwrap_or(0).min(119);
                let at = expected.unwrap_or(if step == 3 { at } else { end });
                if has_room(&here, at) {
                    here.push((at, ports));
                    shelves.add(&sharing, address(at));
                }
            }
        }
    }
}
