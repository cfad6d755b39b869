//! What happens to the cluster, and what can be seen of it.

use serde_json::Value;

use super::*;
use crate::write::Body;

impl World {
    pub(super) fn next_version(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    pub(super) fn observe(&mut self, event: Event) {
        self.core.observe(event, self.now);
    }

    /// A controller that starts: it lists everything, and leads.
    pub(super) fn restart(&mut self) {
        self.start_with(|_| {});
    }

    /// As [`Self::restart`], and it finds something more in the cluster.
    pub(super) fn start_with(&mut self, more: impl FnOnce(&mut Self)) {
        self.core = mk_core();
        more(self);
        for service in self.services.values().cloned().collect::<Vec<_>>() {
            self.observe(Event::Service(Change::Apply(service)));
        }
        for pool in self.pools.values().cloned().collect::<Vec<_>>() {
            self.observe(Event::Pool(Change::Apply(pool)));
        }
        if let Some(config) = self.config.clone() {
            self.observe(Event::Config(Change::Apply(config)));
        }
        for namespace in self.namespaces.values().cloned().collect::<Vec<_>>() {
            self.observe(Event::Namespace(Change::Apply(namespace)));
        }
        for node in self.nodes.values().cloned().collect::<Vec<_>>() {
            self.observe(Event::Node(Change::Apply(node)));
        }
        for (node, report) in self.reports.clone() {
            self.speaker(&node, "alive");
            self.observe(Event::Report(Change::Apply(report)));
        }
        for synced in [
            Event::Service(Change::Synced),
            Event::Pool(Change::Synced),
            Event::L2(Change::Synced),
            Event::Bgp(Change::Synced),
            Event::Peer(Box::new(Change::Synced)),
            Event::BfdProfile(Change::Synced),
            Event::Community(Change::Synced),
            Event::ServiceCidr(Change::Synced),
            Event::Config(Change::Synced),
            Event::Namespace(Change::Synced),
            Event::Node(Change::Synced),
            Event::Slice(Change::Synced),
            Event::Report(Change::Synced),
            Event::Lease(Change::Synced),
        ] {
            self.observe(synced);
        }
        assert!(self.core.is_synced());
        self.lead();
    }

    /// A term begins.
    pub(super) fn lead(&mut self) {
        let snapshot = Snapshot {
            services: listed(self.services.values().cloned()),
            pools: listed(self.pools.values().cloned().map(Change::Apply)),
            config: self.config.clone(),
            ..Snapshot::default()
        };
        self.core.lead(snapshot, self.now);
    }

    pub(super) fn pool(&mut self, name: &str, addresses: &str) {
        self.edit_pool(name, addresses, |_| {});
    }

    pub(super) fn edit_pool(
        &mut self,
        name: &str,
        addresses: &str,
        edit: impl FnOnce(&mut IPAddressPoolSpec),
    ) {
        let mut spec = IPAddressPoolSpec {
            addresses: addresses.split(' ').map(str::to_owned).collect(),
            auto_assign: true,
            ..IPAddressPoolSpec::default()
        };
        edit(&mut spec);
        let mut pool = IPAddressPool::new(name, spec);
        pool.status = self.pools.get(name).and_then(|held| held.status.clone());
        pool.metadata.resource_version = Some(self.next_version());
        self.pools.insert(name.to_owned(), pool.clone());
        self.observe(Event::Pool(Change::Apply(pool)));
    }

    pub(super) fn delete_pool(&mut self, name: &str) {
        self.pools.remove(name);
        let key = (String::new(), name.to_owned());
        self.observe(Event::Pool(Change::Delete(key)));
    }

    pub(super) fn create(&mut self, name: &str) {
        self.edit(name, |_| {});
    }

    /// Creates or changes a Service, and lets the core see it.
    pub(super) fn edit(&mut self, name: &str, change: impl FnOnce(&mut Service)) {
        let key = mk_key(name);
        let version = Some(self.next_version());
        let mut service = self.services.get(&key).cloned().unwrap_or_else(|| {
            let mut service = Service::default();
            service.metadata.namespace = Some(key.namespace.clone());
            service.metadata.name = Some(key.name.clone());
            service.metadata.uid = version.clone();
            let created = Timestamp::from_second(i64::try_from(self.version).unwrap());
            service.metadata.creation_timestamp = created.ok().map(Time);
            service.spec.kind = Some("LoadBalancer".to_owned());
            service.spec.ip_families = vec!["IPv4".to_owned()];
            service
        });
        change(&mut service);
        service.metadata.resource_version = version;
        self.services.insert(key, service.clone());
        self.observe(Event::Service(Change::Apply(service)));
    }

    pub(super) fn delete(&mut self, name: &str) {
        let key = mk_key(name);
        self.services.remove(&key);
        self.observe(Event::Service(Change::Delete(key_of(&key))));
    }

    /// Wall clock and monotonic clock run together.
    pub(super) fn moment(&self) -> Moment {
        let since = self.now.duration_since(self.start);
        Moment {
            now: self.now,
            wall: Timestamp::UNIX_EPOCH + since,
        }
    }

    /// Decides, and lets the writes land, until there is nothing more to write.
    pub(super) fn settle(&mut self) {
        for _ in 0..20 {
            let writes = self.core.decide(self.moment());
            let is_due = self.core.deadline().is_some_and(|due| due <= self.now);
            if writes.is_empty() && !is_due {
                return self.assert_calm();
            }
            for write in writes {
                self.land(&write);
            }
        }
        panic!("the core writes for ever");
    }

    /// Deciding everything again finds nothing to write.
    pub(super) fn assert_calm(&mut self) {
        let dirty = &mut self.core.model.dirty;
        (dirty.all_services, dirty.config, dirty.nodes) = (true, true, true);
        let mut writes = self.core.decide(self.moment());
        // Kinds that this world does not have are written in vain.
        let is_here = |write: &mut Write| !matches!(&write.target, Target::Object(kind, _) if *kind != Kind::Pool);
        for write in writes.extract_if(.., |write| !is_here(write)) {
            let target = write.target;
            let result = Err(Failure::Gone);
            self.core.finish(Outcome { target, result }, self.now);
        }
        // Words follow what stands in the way a moment later.
        if self.core.counters.due.is_some() {
            for write in writes.extract_if(.., |write| changes_words_only(write)) {
                self.land(&write);
            }
        }
        assert!(
            writes.is_empty(),
            "written although nothing happened: {writes:#?}"
        );
    }

    pub(super) fn land(&mut self, write: &Write) {
        let target = write.target.clone();
        let result = self.apply(write);
        if result.is_ok() {
            let about = |note: &crate::write::Note| {
                let name = note.regarding.name.as_deref().unwrap_or_default();
                format!("{name}: {}", note.reason)
            };
            self.notes.extend(write.notes.iter().map(about));
        }
        self.core.finish(Outcome { target, result }, self.now);
    }

    pub(super) fn apply(&mut self, write: &Write) -> Result<Event, Failure> {
        let version = Some(self.next_version());
        match (&write.target, &write.body) {
            (Target::Service(key), Body::Status(patch)) => {
                self.writes += 1;
                let held = self.services.get_mut(key).ok_or(Failure::Gone)?;
                let mut json = serde_json::to_value(&*held).unwrap();
                if json["metadata"]["resourceVersion"] != patch["metadata"]["resourceVersion"] {
                    return Err(Failure::Conflict);
                }
                merge(&mut json, patch);
                *held = serde_json::from_value(json).unwrap();
                held.metadata.resource_version = version;
                Ok(Event::Service(Change::Apply(held.clone())))
            }
            (Target::Object(Kind::Pool, name), Body::Status(patch)) => {
                let held = self.pools.get_mut(name).ok_or(Failure::Gone)?;
                let mut json = serde_json::to_value(&*held).unwrap();
                merge(&mut json, patch);
                *held = serde_json::from_value(json).unwrap();
                held.metadata.resource_version = version;
                Ok(Event::Pool(Change::Apply(held.clone())))
            }
            (Target::Object(..), _) => Err(Failure::Gone),
            (_, Body::Config(config)) => {
                let mut config = (**config).clone();
                config.metadata.resource_version = version;
                self.config = Some(config.clone());
                Ok(Event::Config(Change::Apply(config)))
            }
            (Target::Config, Body::Status(_)) => panic!("SpeakerConfig has no status"),
        }
    }

    pub(super) fn service(&self, name: &str) -> &Service {
        &self.services[&mk_key(name)]
    }

    /// The addresses in the status, comma separated.
    pub(super) fn ips(&self, name: &str) -> String {
        let vips = self.service(name).vips();
        vips.iter()
            .map(IpAddr::to_string)
            .collect::<Vec<_>>()
            .join(",")
    }

    /// Status and reason of our condition.
    pub(super) fn verdict(&self, name: &str) -> (String, String) {
        let conditions = &self.service(name).status.conditions;
        let ours = conditions.iter().find(|c| c.type_ == ASSIGNED).unwrap();
        (ours.status.clone(), ours.reason.clone())
    }

    /// The words of our condition.
    pub(super) fn message(&self, name: &str) -> String {
        let conditions = &self.service(name).status.conditions;
        let ours = conditions.iter().find(|c| c.type_ == ASSIGNED).unwrap();
        ours.message.clone()
    }

    /// What Services hold and why, as `10.0.0.1` or as the reason for having nothing.
    #[track_caller]
    pub(super) fn expect(&self, row: &str, expected: &[(&str, &str)]) {
        for (name, expected) in expected {
            let ips = self.ips(name);
            let found = if ips.is_empty() {
                self.verdict(name).1
            } else {
                ips
            };
            assert_eq!(found, *expected, "{row}: {name}");
        }
    }

    /// A condition of a pool.
    pub(super) fn condition(&self, pool: &str, kind: &str) -> Condition {
        let status = self.pools[pool].status.as_ref().unwrap();
        let condition = status.conditions.iter().find(|c| c.type_ == kind);
        condition
            .unwrap_or_else(|| panic!("{pool} has no {kind}"))
            .clone()
    }

    /// Time passes, and what is due is done.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.settle();
    }

    /// How often a note was given.
    pub(super) fn noted(&self, note: &str) -> usize {
        self.notes.iter().filter(|one| *one == note).count()
    }

    pub(super) fn namespace(&mut self, name: &str, labels: &[(&str, &str)]) {
        let mut namespace = mk_namespace(name);
        namespace.metadata.labels = Some(mk_labels(labels));
        self.namespaces.insert(name.to_owned(), namespace.clone());
        self.observe(Event::Namespace(Change::Apply(namespace)));
    }

    pub(super) fn node(&mut self, name: &str) {
        self.node_at(name, &[]);
    }

    pub(super) fn node_at(&mut self, name: &str, addresses: &[&str]) {
        let mut node = Node::default();
        node.metadata.name = Some(name.to_owned());
        let own = |address: &&str| NodeAddress {
            kind: "InternalIP".to_owned(),
            address: (*address).to_owned(),
        };
        node.status.addresses = addresses.iter().map(own).collect();
        self.nodes.insert(name.to_owned(), node.clone());
        self.observe(Event::Node(Change::Apply(node)));
    }
}

fn changes_words_only(write: &Write) -> bool {
    let Body::Status(patch) = &write.body else {
        return false;
    };
    patch["metadata"]["annotations"].is_null() && patch["status"]["loadBalancer"].is_null()
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let target = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
