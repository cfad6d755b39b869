//! What is said of a pool beside its verdict: counters, what is retained, and how it stands.

use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use portolan_api::compile;
use portolan_api::condition::{EXHAUSTED_SOON, READY, RESERVATIONS_HELD, SHADOWED, Verdict};
use portolan_api::crd::IPAddressPoolSpec;
use portolan_api::range::Family;
use serde_json::{Map, Value, json};

use super::Core;
use crate::alloc::Usage;

/// Shares at which a pool is said to be exhausted soon, in percent, the highest first, with the reason.
const THRESHOLDS: [(u128, &str); 3] = [
    (100, "Exhausted"),
    (90, "Above90Percent"),
    (80, "Above80Percent"),
];
/// How far a share has to fall below the threshold that it reached, in percent, before it counts as below: a Service that
/// comes and goes is no news.
const HYSTERESIS: u128 = 5;

/// How full a reason says that a pool is.
pub(super) fn fullness(reason: &str) -> u128 {
    let step = THRESHOLDS.iter().find(|(_, held)| *held == reason);
    step.map_or(0, |(percent, _)| *percent)
}

impl Core {
    /// Counters and retained addresses of a pool, as far as they differ from those in its status.
    pub(super) fn counters_of(&self, name: &str) -> Map<String, Value> {
        let mut changes = Map::new();
        let Some(pool) = self.model.sources.pools.get(name) else {
            return changes;
        };
        let (v4, v6) = self.alloc.usage_of(name).unwrap_or_default();
        let held = pool.status.clone().unwrap_or_default();
        let number = |n: u128| i64::try_from(n).unwrap_or(i64::MAX);
        for (field, old, new) in [
            ("assignedIPv4", held.assigned_ipv4, number(v4.assigned)),
            ("availableIPv4", held.available_ipv4, number(v4.available)),
            ("assignedIPv6", held.assigned_ipv6, number(v6.assigned)),
            ("availableIPv6", held.available_ipv6, number(v6.available)),
        ] {
            if old != new || pool.status.is_none() {
                changes.insert(field.to_owned(), json!(new));
            }
        }
        changes
    }

    /// The record of what is retained in a pool, if it differs from that in its status.
    pub(super) fn retained_of(&self, name: &str) -> Option<Value> {
        let status = self.model.sources.pools.get(name)?.status.as_ref();
        let held = status.map_or(&[][..], |status| status.retained.as_slice());
        let now = self.retained_in(name);
        (held != now).then(|| {
            if now.is_empty() {
                Value::Null
            } else {
                json!(now)
            }
        })
    }

    /// How a pool stands; `current` are the conditions in its status.
    pub(super) fn pool_verdicts(&self, name: &str, current: &[Condition]) -> Vec<Verdict> {
        let Some((v4, v6)) = self.alloc.usage_of(name) else {
            return out_of_force(current);
        };
        let families = [Family::V4, Family::V6].into_iter();
        let mut strangers =
            families.filter_map(|family| self.alloc.quarantine_of(Some(name), family));
        let ready = ready(v4, v6, strangers.next().as_deref());
        let mut verdicts = vec![ready, exhausted_soon(v4, v6, current)];
        verdicts.push(match self.alloc.shadow_of(name) {
            Some(other) => {
                let why = format!(
                    "Services that name no pool get addresses of IPAddressPool {other} first, as long as it has any"
                );
                Verdict::yes(SHADOWED, "OtherPoolFirst", why)
            }
            None => Verdict::no(SHADOWED, "First", "no other pool is used before it by all its Services"),
        });
        let rule = self.config.pools.iter().find(|rule| rule.name == name);
        let reserves = rule.filter(|rule| !rule.spec.reservations.is_empty());
        if let Some(rule) = reserves {
            verdicts.push(self.reservations_held(&rule.spec));
        } else if current.iter().any(|c| c.type_ == RESERVATIONS_HELD) {
            verdicts.push(Verdict::yes(
                RESERVATIONS_HELD,
                "None",
                "nothing is reserved",
            ));
        }
        verdicts
    }

    fn reservations_held(&self, spec: &IPAddressPoolSpec) -> Verdict {
        let reserved: Vec<(IpAddr, &str, &str)> = compile::reservations(spec)
            .map(|(address, one)| (address, one.namespace.as_str(), one.name.as_str()))
            .collect();
        for (address, ..) in &reserved {
            for owner in self.alloc.owners(*address) {
                let Some(entry) = self.model.services.get(owner) else {
                    continue;
                };
                let (namespace, name) = (entry.key.namespace.as_str(), entry.key.name.as_str());
                if !reserved.contains(&(*address, namespace, name)) {
                    let why = format!(
                        "{address} is held by Service {}, which keeps it: move that Service to another address",
                        entry.key
                    );
                    return Verdict::no(RESERVATIONS_HELD, "HeldByAnother", why);
                }
            }
        }
        Verdict::yes(
            RESERVATIONS_HELD,
            "Held",
            "nobody else holds a reserved address",
        )
    }
}

/// What was said of a pool that is not in force any more must not stand.
fn out_of_force(current: &[Condition]) -> Vec<Verdict> {
    let why = "the pool is not in force: see condition Accepted";
    let said = |kind: &&str| current.iter().any(|c| c.type_ == **kind);
    let others = [EXHAUSTED_SOON, SHADOWED, RESERVATIONS_HELD];
    let others = others.into_iter().filter(|kind| said(kind));
    std::iter::once(READY)
        .chain(others)
        .map(|kind| Verdict::no(kind, "NotAccepted", why))
        .collect()
}

/// `quarantine` is what to say of addresses that strangers use.
fn ready(v4: Usage, v6: Usage, quarantine: Option<&str>) -> Verdict {
    let free = [("IPv4", v4), ("IPv6", v6)]
        .into_iter()
        .filter(|(_, usage)| usage.available > 0);
    let free: Vec<&str> = free.map(|(family, _)| family).collect();
    if free.is_empty() {
        let why = "every address is taken: add a range to spec.addresses, or delete a Service";
        let why = quarantine.map_or_else(|| why.to_owned(), |more| format!("{why}; {more}"));
        return Verdict::no(READY, "Exhausted", why);
    }
    Verdict::yes(
        READY,
        "Available",
        format!("{} addresses are free", free.join(" and ")),
    )
}

/// The fullest family decides.
fn exhausted_soon(v4: Usage, v6: Usage, current: &[Condition]) -> Verdict {
    let before = current.iter().find(|c| c.type_ == EXHAUSTED_SOON);
    let before = before.map(|condition| condition.reason.as_str());
    let families = [("IPv4", v4), ("IPv6", v6)].into_iter();
    let reached = families.filter_map(|(family, usage)| {
        THRESHOLDS.iter().find_map(|(percent, reason)| {
            let slack = if before == Some(reason) && *percent < 100 {
                HYSTERESIS
            } else {
                0
            };
            let gone = usage.total.saturating_sub(usage.available);
            let least = usage.total.saturating_mul(percent - slack).div_ceil(100);
            let is = usage.total > 0 && gone >= least;
            is.then_some((*percent, *reason, family))
        })
    });
    match reached.max() {
        None => Verdict::no(
            EXHAUSTED_SOON,
            "Enough",
            "less than 80 % of the addresses are taken",
        ),
        Some((100, reason, family)) => {
            let why = format!("no {family} address is left: add a range to spec.addresses");
            Verdict::yes(EXHAUSTED_SOON, reason, why)
        }
        Some((percent, reason, family)) => {
            let why = format!(
                "{percent} % or more of the {family} addresses are taken: add a range to spec.addresses before they are all \
                 gone"
            );
            Verdict::yes(EXHAUSTED_SOON, reason, why)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_told_when_reached_and_left_only_well_below() {
        let usage = |available: u128| Usage {
            assigned: 100 - available,
            available,
            total: 100,
        };
        let mut current: Vec<Condition> = Vec::new();
        for (row, available, reason) in [
            ("empty", 100, "Enough"),
            ("79 %", 21, "Enough"),
            ("80 %", 20, "Above80Percent"),
            ("a little less", 24, "Above80Percent"),
            ("90 %", 10, "Above90Percent"),
            ("a little less", 14, "Above90Percent"),
            ("less", 16, "Above80Percent"),
            ("full", 0, "Exhausted"),
            ("one free", 1, "Above90Percent"),
            ("nearly empty", 90, "Enough"),
        ] {
            let verdict = exhausted_soon(usage(available), Usage::default(), &current);
            assert_eq!(verdict.reason, reason, "{row}");
            let now =
                k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH);
            if let Some(merged) = portolan_api::condition::merge(&current, &[verdict], None, &now) {
                current = merged;
            }
        }
    }
}
