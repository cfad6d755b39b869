//! Addresses that were given a moment ago, without anybody asking for them by name, and that nobody has answered for yet:
//! their Services can be moved off them without anybody noticing.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::alloc::ServiceId;

/// How long ago a moment is.
const MOMENT: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Recent {
    given: BTreeMap<(IpAddr, ServiceId), Instant>,
    order: VecDeque<(Instant, IpAddr, ServiceId)>,
}

impl Recent {
    /// A Service has got an address.
    pub(super) fn give(&mut self, service: ServiceId, address: IpAddr, now: Instant) {
        self.given.insert((address, service), now);
        self.order.push_back((now, address, service));
    }

    /// A node answers for the address.
    pub(super) fn answer(&mut self, address: IpAddr) {
        let those = (address, ServiceId(0))..=(address, ServiceId(u32::MAX));
        let services: Vec<_> = self.given.range(those).map(|(key, _)| *key).collect();
        for key in services {
            self.given.remove(&key);
        }
    }

    /// Whether all of the Services have got the address a moment ago, and it was not in use since.
    pub(super) fn is_fresh(&self, address: IpAddr, services: &[ServiceId]) -> bool {
        let mut services = services.iter();
        services.all(|service| self.given.contains_key(&(address, *service)))
    }

    /// Forgets what was given longer ago.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(&(at, address, service)) = self.order.front()
            && at + MOMENT <= now
        {
            self.order.pop_front();
            // It may have been given again since.
            if self.given.get(&(address, service)) == Some(&at) {
                self.given.remove(&(address, service));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_fresh_for_a_minute_unless_somebody_answers_or_one_of_its_services_is_older() {
        let start = tokio::time::Instant::now().into_std();
        let (address, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let [a, b] = [ServiceId(1), ServiceId(2)];
        let mut recent = Recent::default();
        recent.give(a, address, start);
        recent.give(a, other, start);
        recent.give(b, other, start);
        assert!(recent.is_fresh(address, &[a]));
        assert!(!recent.is_fresh(address, &[a, b]), "b had it before");
        recent.answer(other);
        assert!(!recent.is_fresh(other, &[a]) && !recent.is_fresh(other, &[b]));
        recent.expire(start + Duration::from_secs(59));
        assert!(recent.is_fresh(address, &[a]));
        recent.give(a, address, start + Duration::from_secs(59));
        recent.expire(start + Duration::from_secs(61));
        assert!(recent.is_fresh(address, &[a]), "given again");
        recent.expire(start + Duration::from_secs(119));
        assert!(!recent.is_fresh(address, &[a]));
        assert!(recent.given.is_empty() && recent.order.is_empty());
    }
}
