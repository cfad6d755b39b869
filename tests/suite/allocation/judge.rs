//! A judge over what a witness saw.
//!
//! He knows nothing of the allocator; he knows two sentences: no address stands in two statuses, unless they may share it;
//! no address goes from a Service that wants nothing else and did not change its wishes, while a pool has the address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use portolan_api::annotation::{ADDRESS_POOL, ALLOW_SHARED_IP, LOAD_BALANCER_IPS};
use portolan_api::range::IpRange;
use serde_json::Value;

use super::witness::Sighting;

/// Goes through a log and writes down what must not be in it.
#[derive(Default)]
struct Judge<'a> {
    log: &'a [Sighting],
    services: BTreeMap<String, Seen>,
    holders: BTreeMap<IpAddr, BTreeSet<String>>,
    pools: BTreeMap<String, Value>,
    /// When an address was last in no pool, while somebody had it or was given it.
    nowhere: BTreeMap<IpAddr, u64>,
    violations: Vec<String>,
}

/// A Service as it was seen last.
struct Seen {
    wish: Value,
    /// Its addresses, with the version and the wish of when it got each; without a wish once it wished for something that
    /// the address is not: whoever gives an address up may find it taken when they change their mind again.
    held: BTreeMap<IpAddr, (u64, Option<Value>)>,
}

/// Everything in a log that must not be.
pub(super) fn violations(log: &[Sighting]) -> Vec<String> {
    let mut judge = Judge {
        log,
        ..Judge::default()
    };
    for sighting in log {
        if sighting.pool {
            judge.pool(sighting);
        } else {
            judge.service(sighting);
        }
    }
    judge.violations
}

impl Judge<'_> {
    fn pool(&mut self, it: &Sighting) {
        if it.deleted {
            self.pools.remove(&it.name);
        } else if self
            .pools
            .insert(it.name.clone(), it.wish["spec"].clone())
            .as_ref()
            == Some(&it.wish["spec"])
        {
            return;
        }
        for address in self.holders.keys() {
            if !self.pools.values().any(|spec| gives(spec, *address)) {
                self.nowhere.insert(*address, it.version);
            }
        }
    }

    fn service(&mut self, it: &Sighting) {
        let before = self.services.remove(&it.name);
        let mut held = before.map(|seen| seen.held).unwrap_or_default();
        let gone: Vec<IpAddr> = held
            .keys()
            .copied()
            .filter(|address| it.deleted || !it.addresses.contains(address))
            .collect();
        for address in gone {
            let Some((since, wish)) = held.remove(&address) else {
                continue;
            };
            let withdrawn = self
                .nowhere
                .get(&address)
                .is_some_and(|version| *version > since);
            let content =
                wish.is_some_and(|wish| wish == it.wish && !self.wants_another(&wish, address));
            if !it.deleted && content && !withdrawn {
                self.violations.push(format!(
                    "{}: {} lost {address}, its own since {since}, for {:?} though nobody forced it; seen of both: {}",
                    it.version,
                    it.name,
                    it.addresses,
                    self.seen(it, address)
                ));
            }
            if let Some(holders) = self.holders.get_mut(&address) {
                holders.remove(&it.name);
            }
        }
        if it.deleted {
            return;
        }
        for address in &it.addresses {
            if !held.contains_key(address) {
                held.insert(*address, (it.version, Some(it.wish.clone())));
                self.meet(it, *address);
                // The pool was edited while the status was on its way.
                if !self.pools.values().any(|spec| gives(spec, *address)) {
                    self.nowhere.insert(*address, it.version + 1);
                }
            }
        }
        for (address, (_, wish)) in &mut held {
            wish.take_if(|_| self.wants_another(&it.wish, *address));
        }
        let wish = it.wish.clone();
        self.services.insert(it.name.clone(), Seen { wish, held });
    }

    /// All that the log has of a Service, and of others with the address.
    fn seen(&self, it: &Sighting, address: IpAddr) -> String {
        let concerns = |other: &&Sighting| {
            !other.pool && (other.name == it.name || other.addresses.contains(&address))
        };
        let line = |other: &Sighting| {
            let annotations = &other.wish["annotations"];
            format!(
                "\n    {} {}{} {:?} wants {annotations}",
                other.version,
                other.name,
                if other.deleted { " deleted" } else { "" },
                other.addresses
            )
        };
        self.log.iter().filter(concerns).map(line).collect()
    }

    /// Whether a Service asks for something that this address is not.
    fn wants_another(&self, wish: &Value, address: IpAddr) -> bool {
        let asks = |annotation: &str| {
            let value = wish["annotations"][annotation].as_str();
            value.filter(|value| !value.is_empty())
        };
        let is_it = |text: &str| text.trim().parse() == Ok(address);
        let by_pool = asks(ADDRESS_POOL).and_then(|pool| self.pools.get(pool));
        asks(LOAD_BALANCER_IPS).is_some_and(|list| !list.split(',').any(is_it))
            || by_pool.is_some_and(|spec| !gives(spec, address))
    }

    /// Whoever gets an address meets those who have it.
    fn meet(&mut self, it: &Sighting, address: IpAddr) {
        let holders = self.holders.entry(address).or_default();
        for other in holders.iter() {
            let wish = self.services.get(other).map(|seen| &seen.wish);
            if !wish.is_some_and(|wish| may_share((other, wish), (&it.name, &it.wish))) {
                self.violations.push(format!(
                    "{}: {} got {address}, which {other} has",
                    it.version, it.name
                ));
            }
        }
        holders.insert(it.name.clone());
    }
}

/// Whether a pool has an address and gives it out.
fn gives(spec: &Value, address: IpAddr) -> bool {
    let has = |field: &str| {
        let ranges = spec[field].as_array().into_iter().flatten();
        let mut ranges = ranges.filter_map(|text| text.as_str()?.parse::<IpRange>().ok());
        ranges.any(|range| range.contains(address))
    };
    has("addresses") && !has("excludedAddresses")
}

/// Whether two Services of one namespace may have one address: same key, nothing in common that a packet could ask for, the
/// same pods where the policy is Local.
fn may_share((a, left): (&str, &Value), (b, right): (&str, &Value)) -> bool {
    let key = |wish: &Value| wish["annotations"][ALLOW_SHARED_IP].clone();
    let backends = |wish: &Value| {
        let local = wish["spec"]["externalTrafficPolicy"] == "Local";
        local.then(|| wish["spec"]["selector"].clone())
    };
    let ports = |wish: &Value| -> BTreeSet<String> {
        let ports = wish["spec"]["ports"].as_array().into_iter().flatten();
        ports
            .map(|port| format!("{} {}", port["protocol"], port["port"]))
            .collect()
    };
    let namespace = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
    key(left).as_str().is_some_and(|key| !key.is_empty())
        && key(left) == key(right)
        && backends(left) == backends(right)
        && ports(left).is_disjoint(&ports(right))
        && namespace(a) == namespace(b)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;

    fn mk_pool(version: u64, addresses: &str) -> Sighting {
        let wish = json!({ "spec": { "addresses": [addresses] } });
        Sighting {
            pool: true,
            ..mk(version, "pool", wish, &[])
        }
    }

    fn mk(version: u64, name: &str, wish: Value, addresses: &[&str]) -> Sighting {
        Sighting {
            version,
            at: Instant::now(),
            deleted: false,
            pool: false,
            name: name.to_owned(),
            wish,
            addresses: super::super::ips(addresses),
        }
    }

    /// A Service that never changes its wishes, and its addresses.
    fn a(version: u64, addresses: &[&str]) -> Sighting {
        mk(version, "d/a", json!({}), addresses)
    }

    fn b(version: u64, addresses: &[&str]) -> Sighting {
        mk(version, "d/b", json!({}), addresses)
    }

    fn end(of: Sighting) -> Sighting {
        Sighting {
            deleted: true,
            ..of
        }
    }

    /// One that shares 192.0.2.1 under a key.
    fn sharing(version: u64, name: &str, key: &str, port: u16) -> Sighting {
        let wish = json!({
            "annotations": { ALLOW_SHARED_IP: key },
            "spec": { "ports": [{ "protocol": "TCP", "port": port }] },
        });
        mk(version, name, wish, &["192.0.2.1"])
    }

    fn found(row: &str, mut log: Vec<Sighting>, expected: usize) {
        log.insert(0, mk_pool(1, "192.0.2.0/29"));
        let found = violations(&log);
        assert_eq!(found.len(), expected, "{row}: {found:?}");
    }

    #[test]
    fn two_owners_are_seen() {
        let one = ["192.0.2.1"];
        found(
            "an address of its own each",
            vec![a(2, &one), b(3, &["192.0.2.2"])],
            0,
        );
        found("two owners", vec![a(2, &one), b(3, &one)], 1);
        found(
            "one after the other",
            vec![a(2, &one), end(a(3, &[])), b(4, &one)],
            0,
        );
        let first = || sharing(2, "d/a", "k", 80);
        found(
            "two who share",
            vec![first(), sharing(3, "d/b", "k", 81)],
            0,
        );
        found("two keys", vec![first(), sharing(3, "d/b", "l", 81)], 1);
        found("one port", vec![first(), sharing(3, "d/b", "k", 80)], 1);
        found(
            "two namespaces",
            vec![first(), sharing(3, "e/b", "k", 81)],
            1,
        );
    }

    #[test]
    fn a_change_that_nobody_forced_is_seen() {
        let (one, seven) = (["192.0.2.1"], ["192.0.2.7"]);
        let wishes =
            |version, addresses: &[&str]| mk(version, "d/a", json!({ "spec": 1 }), addresses);
        let small = |version| mk_pool(version, "192.0.2.0/30");
        let large = |version| mk_pool(version, "192.0.2.0/29");
        found("a move", vec![a(2, &one), a(3, &["192.0.2.2"])], 1);
        found("a loss", vec![a(2, &one), a(3, &[]), a(4, &one)], 1);
        found(
            "after a wish",
            vec![a(2, &one), wishes(3, &one), wishes(4, &["192.0.2.2"])],
            0,
        );
        found(
            "after a shrink",
            vec![a(2, &seven), small(3), a(4, &one)],
            0,
        );
        found(
            "given while the pool shrank",
            vec![small(3), a(4, &seven), a(5, &[])],
            0,
        );
        let asks = |version, addresses: &[&str]| {
            let wish = json!({ "annotations": { LOAD_BALANCER_IPS: "192.0.2.2, 2001:db8::2" } });
            mk(version, "d/a", wish, addresses)
        };
        let two = ["192.0.2.2"];
        found(
            "after a wish that was taken back",
            vec![a(2, &one), asks(3, &one), a(4, &one), a(5, &seven)],
            0,
        );
        found(
            "to what it asked for all the time",
            vec![asks(2, &one), asks(3, &two)],
            0,
        );
        found(
            "from what it asked for",
            vec![asks(2, &two), asks(3, &one)],
            1,
        );
        let shrunk_before = vec![
            b(2, &seven),
            small(3),
            large(4),
            b(5, &[]),
            a(6, &seven),
            a(7, &[]),
        ];
        found("shrunk before it came", shrunk_before, 1);
    }
}
