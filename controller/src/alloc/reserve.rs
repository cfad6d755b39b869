//! Addresses that are kept for a Service by its name, whether it exists or not: reservations of the pool's spec, and
//! addresses of deleted Services that are retained for a while.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// Who keeps which address. An address can be kept for several names: they shared it.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    /// By namespace.
    by_name: HashMap<Box<str>, Names>,
}

/// The addresses of each name of one namespace, with the reason.
type Names = HashMap<Box<str>, BTreeMap<IpAddr, Why>>;

/// Why an address is kept. Both at once is possible.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Why {
    reserved: bool,
    retained: bool,
}

impl Kept {
    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The addresses that are kept for a name, ascending.
    pub(super) fn of(&self, namespace: &str, name: &str) -> impl Iterator<Item = IpAddr> + '_ {
        let names = self.by_name.get(namespace);
        let addresses = names.and_then(|names| names.get(name));
        addresses.into_iter().flat_map(|a| a.keys().copied())
    }

    /// Whether the address is kept for the name.
    pub(super) fn holds(&self, address: IpAddr, namespace: &str, name: &str) -> bool {
        let names = self.by_name.get(namespace);
        names
            .and_then(|names| names.get(name))
            .is_some_and(|addresses| addresses.contains_key(&address))
    }

    /// The first name that the address is kept for. Only refusals ask: it looks at all of them.
    pub(super) fn keeper(&self, address: IpAddr) -> Option<String> {
        let named = self.by_name.iter().flat_map(|(namespace, names)| {
            let keepers = names.iter().filter(|(_, a)| a.contains_key(&address));
            keepers.map(move |(name, _)| format!("{namespace}/{name}"))
        });
        named.min()
    }

    /// What is retained, with the namespace that it is retained for.
    pub(super) fn retained(&self) -> impl Iterator<Item = (IpAddr, &str)> {
        self.by_name.iter().flat_map(|(namespace, names)| {
            let kept = names.values().flatten();
            let retained = kept.filter(|(_, why)| why.retained);
            retained.map(move |(address, _)| (*address, &**namespace))
        })
    }

    /// Reserves an address. Returns whether it was not kept for that name before.
    pub(super) fn reserve(&mut self, address: IpAddr, namespace: &str, name: &str) -> bool {
        self.change(address, namespace, name, |why| why.reserved = true)
    }

    /// Retains an address. Returns whether it was not kept for that name before.
    pub(super) fn retain(&mut self, address: IpAddr, namespace: &str, name: &str) -> bool {
        self.change(address, namespace, name, |why| why.retained = true)
    }

    /// Ends a retention. Returns whether the address is not kept for that name any more.
    pub(super) fn let_go(&mut self, address: IpAddr, namespace: &str, name: &str) -> bool {
        if !self.holds(address, namespace, name) {
            return false;
        }
        self.change(address, namespace, name, |why| why.retained = false);
        !self.holds(address, namespace, name)
    }

    /// Drops all reservations. Returns the addresses that are not kept any more, once for each name.
    pub(super) fn drop_reservations(&mut self) -> Vec<IpAddr> {
        let mut gone = Vec::new();
        self.by_name.retain(|_, names| {
            names.retain(|_, addresses| {
                addresses.retain(|address, why| {
                    why.reserved = false;
                    if !why.retained {
                        gone.push(*address);
                    }
                    why.retained
                });
                !addresses.is_empty()
            });
            !names.is_empty()
        });
        gone
    }

    fn change(
        &mut self,
        address: IpAddr,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut Why),
    ) -> bool {
        let names = self.by_name.entry(namespace.into()).or_default();
        let addresses = names.entry(name.into()).or_default();
        let why = addresses.entry(address).or_default();
        let fresh = *why == Why::default();
        change(why);
        if *why == Why::default() {
            addresses.remove(&address);
            if addresses.is_empty() {
                names.remove(name);
            }
            if names.is_empty() {
                self.by_name.remove(namespace);
            }
        }
        fresh
    }
}
