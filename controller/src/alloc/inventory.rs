//! Pools as their users see them: in numbers, which one stands in the shadow of another, and what each lacks for a Service
//! that waits.

use portolan_api::range::Family;

use super::pool::Pool;
use super::{Allocator, Request, Usage};

/// Pools that are named to a Service that waits; there may be hundreds.
const NAMED: usize = 8;

impl Allocator {
    /// Names of the pools with what is taken and free in them, IPv4 and IPv6.
    pub fn usage(&self) -> impl Iterator<Item = (&str, Usage, Usage)> {
        self.pools.iter().map(|pool| {
            let (v4, v6) = (pool.usage(Family::V4), pool.usage(Family::V6));
            (pool.name.as_str(), v4, v6)
        })
    }

    /// What is taken and free in one pool, IPv4 and IPv6.
    #[must_use]
    pub fn usage_of(&self, pool: &str) -> Option<(Usage, Usage)> {
        let pool = self.pool(*self.by_name.get(pool)?)?;
        Some((pool.usage(Family::V4), pool.usage(Family::V6)))
    }

    /// The pool that every Service uses first that may use this one without naming it.
    #[must_use]
    pub fn shadow_of(&self, pool: &str) -> Option<&str> {
        let id = self.by_name.get(pool)?;
        let own = self.pool(*id)?;
        let before = self.automatic.iter().take_while(|other| *other != id);
        if !own.auto_assign {
            return None;
        }
        let has_all = |other: &&Pool| {
            let families = [Family::V4, Family::V6];
            families
                .iter()
                .all(|family| !own.has(*family) || other.has(*family))
        };
        let mut others = before.filter_map(|id| self.pool(*id)).filter(has_all);
        others
            .find(|other| other.admits_all_of(own))
            .map(|other| other.name.as_str())
    }

    /// What every pool lacks that a Service could use, in words: for a Service that has found nothing of the family.
    #[must_use]
    pub fn obstacles(&self, request: &Request<'_>, family: Family) -> String {
        let mut words = Vec::new();
        for pool in self.pools.iter().filter(|pool| pool.has(family)) {
            let name = &pool.name;
            let usage = pool.usage(family);
            let quota = pool
                .quota
                .as_ref()
                .filter(|quota| usage.available > 0 || quota.is_reached(request.namespace));
            words.push(if !pool.admits(request) {
                format!("{name} is restricted to other Services (spec.serviceAllocation)")
            } else if !pool.auto_assign && request.pool.is_none() {
                format!("{name} serves only who names it (spec.autoAssign, annotation portolan.dev/address-pool)")
            } else if let Some(quota) = quota {
                format!("{name} allows a namespace {} addresses (spec.quota)", quota.limit)
            } else if usage.total == 0 {
                format!("{name} keeps back every address (spec.excludedAddresses, spec.avoidBuggyIPs)")
            } else if usage.available > 0 {
                continue;
            } else {
                // The same words whoever has them: those who wait need not hear of each one that changes hands.
                match self.quarantine_of(Some(name), family) {
                    Some(words) => format!("{name} has no address left: {words}"),
                    None => format!(
                        "{name} has no address left that is not held, reserved, retained, or used by a node"
                    ),
                }
            });
        }
        let more = words.len().saturating_sub(NAMED);
        words.truncate(NAMED);
        if more > 0 {
            words.push(format!("{more} more are no help either"));
        }
        words.join("; ")
    }

    /// What to say of addresses in quarantine where addresses are missing, in one pool or in all; `None` if there are none.
    #[must_use]
    pub fn quarantine_of(&self, pool: Option<&str>, family: Family) -> Option<String> {
        let count = self.in_quarantine(pool, family);
        let (are, them) = match count {
            0 => return None,
            1 => ("1 is", "it"),
            _ => ("are", "them"),
        };
        let many = if count == 1 {
            String::new()
        } else {
            format!("{count} ")
        };
        Some(format!(
            "{many}{are} in quarantine, because stations outside the cluster use {them} (status.quarantined): take {them} \
             from those, or keep {them} out with spec.excludedAddresses"
        ))
    }
}
