//! Which pool an address belongs to.

use std::net::IpAddr;

use portolan_api::compile::ranges;
use portolan_api::crd::SpeakerConfigSpec;
use portolan_api::range::{Family, IpRange, value};

/// All ranges of all pools, sorted: a look-up is a binary search. Accepted pools never overlap.
#[derive(Debug, Default)]
pub(super) struct Pools {
    sorted: Vec<(IpRange, String)>,
}

impl Pools {
    pub(super) fn new(config: &SpeakerConfigSpec) -> Self {
        let of_pool = |pool: &portolan_api::crd::PoolRule| {
            let name = pool.name.clone();
            let ranges = ranges(&pool.spec).unwrap_or_default();
            ranges.into_iter().map(move |range| (range, name.clone()))
        };
        let mut sorted: Vec<_> = config.pools.iter().flat_map(of_pool).collect();
        sorted.sort();
        Self { sorted }
    }

    /// The pool that holds the address.
    pub(super) fn of(&self, address: IpAddr) -> Option<&str> {
        let at = (Family::of(address), value(address));
        let after = self
            .sorted
            .partition_point(|(range, _)| (range.family(), range.first()) <= at);
        let (range, name) = self.sorted.get(after.checked_sub(1)?)?;
        range.contains(address).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use portolan_api::crd::{IPAddressPoolSpec, PoolRule};

    use super::*;

    fn mk_pools(pools: &[(&str, &[&str])]) -> Pools {
        let rule = |(name, addresses): &(&str, &[&str])| PoolRule {
            name: (*name).to_owned(),
            spec: IPAddressPoolSpec {
                addresses: addresses.iter().map(|a| (*a).to_owned()).collect(),
                ..Default::default()
            },
        };
        let pools = pools.iter().map(rule).collect();
        Pools::new(&SpeakerConfigSpec {
            pools,
            ..Default::default()
        })
    }

    #[test]
    fn an_address_belongs_to_the_pool_whose_range_holds_it() {
        let pools = mk_pools(&[
            ("b", &["10.1.0.0/24", "2001:db8::/120"]),
            ("a", &["10.0.0.10-10.0.0.20"]),
        ]);
        for (address, pool) in [
            ("10.0.0.9", None),
            ("10.0.0.10", Some("a")),
            ("10.0.0.20", Some("a")),
            ("10.0.0.21", None),
            ("10.1.0.255", Some("b")),
            ("2001:db8::ff", Some("b")),
            ("2001:db8::100", None),
            ("::a00:a", None),
        ] {
            assert_eq!(pools.of(address.parse().unwrap()), pool, "{address}");
        }
    }
}
