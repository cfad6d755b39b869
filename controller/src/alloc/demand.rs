//! Exact addresses that Services were refused because others have them.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use super::ServiceId;

/// Who waits for which address. A Service waits for one at a time: the first that it was refused.
#[derive(Debug, Clone, Default)]
pub(super) struct Demands {
    by_address: HashMap<IpAddr, BTreeSet<ServiceId>>,
    by_service: HashMap<ServiceId, IpAddr>,
}

impl Demands {
    pub(super) fn add(&mut self, service: ServiceId, address: IpAddr) {
        self.withdraw(service);
        self.by_service.insert(service, address);
        self.by_address.entry(address).or_default().insert(service);
    }

    pub(super) fn withdraw(&mut self, service: ServiceId) {
        let Some(address) = self.by_service.remove(&service) else {
            return;
        };
        if let Some(services) = self.by_address.get_mut(&address) {
            services.remove(&service);
            if services.is_empty() {
                self.by_address.remove(&address);
            }
        }
    }

    /// Whether somebody else than its holder waits for the address.
    pub(super) fn is_wanted(&self, address: IpAddr, holder: ServiceId) -> bool {
        let services = self.by_address.get(&address);
        services.is_some_and(|services| services.iter().any(|one| *one != holder))
    }
}
