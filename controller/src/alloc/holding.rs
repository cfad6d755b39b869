//! The addresses of one Service.

use std::net::IpAddr;

use portolan_api::range::Family;

/// Addresses of one Service: at most one of each family, in the order in which they stand in the status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holding([Option<IpAddr>; 2]);

impl Holding {
    /// The addresses, in order.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.0.into_iter().flatten()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [None, None]
    }

    /// Whether the address is one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.iter().any(|held| held == address)
    }

    /// The address of a family.
    #[must_use]
    pub fn of(&self, family: Family) -> Option<IpAddr> {
        self.iter().find(|address| Family::of(*address) == family)
    }

    /// Appends an address. A second one of the same family is dropped: nothing here can hold it.
    pub fn push(&mut self, address: IpAddr) {
        if self.of(Family::of(address)).is_some() {
            return;
        }
        let [first, second] = &mut self.0;
        let free = if first.is_none() { first } else { second };
        *free = Some(address);
    }

    /// The addresses for which `keep` holds.
    pub(super) fn filter(&self, mut keep: impl FnMut(IpAddr) -> bool) -> Self {
        let mut kept = Self::default();
        self.iter()
            .filter(|address| keep(*address))
            .for_each(|address| kept.push(address));
        kept
    }
}

impl FromIterator<IpAddr> for Holding {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        let mut holding = Self::default();
        addresses
            .into_iter()
            .for_each(|address| holding.push(address));
        holding
    }
}
