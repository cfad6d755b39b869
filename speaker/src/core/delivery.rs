//! To which endpoints this node can deliver, and what a change of them means.

use std::collections::BTreeSet;
use std::time::Instant;

use portolan_api::ObjectKey;
use portolan_api::range::Family;
use portolan_api::view::{EndpointSlice, TrafficPolicy};
use portolan_daemon::watch::Change;

use super::endpoints::{Endpoints, Reach};
use super::model::Model;
use super::patience::{Scope, Side};

impl Model {
    /// A node attracts traffic only if it can deliver it: for policy Local to an endpoint of its own, for policy Cluster
    /// to any endpoint, of the address's own family.
    pub(super) fn delivers(
        &self,
        service: &ObjectKey,
        policy: TrafficPolicy,
        family: Family,
    ) -> bool {
        let scope = scope(policy);
        is_in(scope, self.endpoints.reach(service, family))
            && !self.patience.holds(service, family, scope)
    }

    /// How many ready endpoints of a Service the node has, as routers are told.
    pub(super) fn weight(&self, service: &ObjectKey, family: Family) -> u32 {
        let ready = || self.endpoints.reach(service, family).ready;
        let weight = self.patience.weight(service, family);
        // Ones on their way out are as good as one, as long as they are all there is.
        weight.unwrap_or_else(ready).max(1)
    }

    /// Takes a change of a slice in.
    pub(super) fn slice(&mut self, change: Change<EndpointSlice>) {
        let (key, slice) = match change {
            Change::Apply(slice) => (ObjectKey::of(&slice), Some(slice)),
            Change::Delete((namespace, name)) => (ObjectKey { namespace, name }, None),
            Change::Unreadable(..) => return,
            Change::Synced => return self.synced("endpointslices"),
        };
        let before = self.endpoints.owner(&key).cloned();
        let after = slice.as_ref().and_then(EndpointSlice::service);
        let owners: BTreeSet<ObjectKey> = before.into_iter().chain(after).collect();
        let reach = |endpoints: &Endpoints, owner: &ObjectKey| {
            [Family::V4, Family::V6].map(|family| (family, endpoints.reach(owner, family)))
        };
        let before: Vec<_> = owners
            .iter()
            .map(|owner| reach(&self.endpoints, owner))
            .collect();
        match &slice {
            Some(slice) => self.endpoints.apply(slice, &self.node_name),
            None => self.endpoints.forget(&key),
        }
        for (owner, before) in owners.iter().zip(before) {
            for (family, before) in before {
                let after = self.endpoints.reach(owner, family);
                if before != after && self.endpoints_changed(owner, family, before, after) {
                    self.concerns(owner);
                }
            }
        }
    }

    /// Returns whether it is different for what is announced now.
    fn endpoints_changed(
        &mut self,
        service: &ObjectKey,
        family: Family,
        before: Reach,
        after: Reach,
    ) -> bool {
        let Some(known) = self.services.get(service) else {
            return false;
        };
        let policies = [known.policy, known.cluster_policy].map(scope);
        let weighs = self.weighs && known.policy == TrafficPolicy::Local;
        let mut different = false;
        for scope in [Scope::Here, Scope::Anywhere] {
            let (was, is) = (is_in(scope, before), is_in(scope, after));
            if was != is && policies.contains(&scope) {
                different = true;
                let alone = scope == Scope::Anywhere || !after.elsewhere;
                self.came_or_went((service.clone(), family, scope), is, alone);
            }
        }
        if weighs && before.ready != after.ready {
            different |= self.weighs_else(service, family, before.ready, after.ready);
        }
        different
    }

    fn came_or_went(&mut self, side: Side, is_there: bool, alone: bool) {
        match self.happening() {
            Some(now) if is_there => self.patience.returned(&side, alone, now),
            Some(now) => self.patience.lost(side, now),
            None => {}
        }
    }

    /// Returns whether it is to be told at once.
    fn weighs_else(
        &mut self,
        service: &ObjectKey,
        family: Family,
        before: u32,
        after: u32,
    ) -> bool {
        let Some(now) = self.happening() else {
            return true;
        };
        self.patience.weighed(service, family, (before, after), now);
        before == 0 || after == 0
    }

    /// The time, if what comes in is news. What is learned while starting is not what happens.
    fn happening(&self) -> Option<Instant> {
        self.now.filter(|_| self.waiting_for.is_empty())
    }
}

/// Whose endpoints a policy lets a node deliver to.
const fn scope(policy: TrafficPolicy) -> Scope {
    match policy {
        TrafficPolicy::Local => Scope::Here,
        TrafficPolicy::Cluster => Scope::Anywhere,
    }
}

const fn is_in(scope: Scope, reach: Reach) -> bool {
    match scope {
        Scope::Here => reach.here,
        Scope::Anywhere => reach.anywhere(),
    }
}
