//! The controller without a cluster: a core, and a status that its writes land in.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use portolan_api::ObjectKey;
use portolan_api::annotation::{ALLOW_SHARED_IP, L2_NODES, LOAD_BALANCER_IPS, POOL, SERVICE_NAME};
use portolan_api::crd::{
    IPAddressPool, IPAddressPoolSpec, L2Advertisement, L2AdvertisementSpec, SpeakerConfig,
};
use portolan_api::view::{Endpoint, EndpointSlice, Ingress, Namespace, Node, TrafficPolicy};
use portolan_daemon::watch::Change;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::model::Listed;
use crate::write::Body;
use portolan_api::annotation::{ASSIGNED, SPEAKER_LEASE_PREFIX};

/// A cluster that consists of what the core sees of it.
struct World {
    core: Core,
    services: BTreeMap<ObjectKey, Service>,
    pools: BTreeMap<String, IPAddressPool>,
    config: Option<SpeakerConfig>,
    version: u64,
    start: Instant,
    now: Instant,
    /// Reasons of Events, in order, with the Service.
    notes: Vec<String>,
    /// Status writes to Services.
    writes: usize,
}

fn mk_core() -> Core {
    Core::new("me", "portolan-system", None)
}

fn mk_world(pools: &[(&str, &str)]) -> World {
    let now = tokio::time::Instant::now().into_std();
    let mut world = World {
        core: mk_core(),
        services: BTreeMap::new(),
        pools: BTreeMap::new(),
        config: None,
        version: 100,
        start: now,
        now,
        notes: Vec::new(),
        writes: 0,
    };
    for (name, addresses) in pools {
        world.pool(name, addresses);
    }
    world.restart();
    world
}

fn mk_namespace(name: &str) -> Namespace {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.to_owned());
    namespace
}

fn show(service: &mut Service, addresses: &[&str]) {
    let entry = |address: &&str| Ingress {
        ip: Some((*address).to_owned()),
        ..Ingress::default()
    };
    service.status.load_balancer.ingress = addresses.iter().map(entry).collect();
}

fn listed<T>(items: impl Iterator<Item = T>) -> Listed<T> {
    Listed {
        items: items.collect(),
        version: None,
    }
}

fn mk_key(name: &str) -> ObjectKey {
    ObjectKey::new("shop", name)
}

fn key_of(key: &ObjectKey) -> (String, String) {
    (key.namespace.clone(), key.name.clone())
}

impl World {
    fn next_version(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    fn observe(&mut self, event: Event) {
        self.core.observe(event, self.now);
    }

    /// A controller that starts: it lists everything, and leads.
    fn restart(&mut self) {
        self.core = mk_core();
        for service in self.services.values().cloned().collect::<Vec<_>>() {
            self.observe(Event::Service(Change::Apply(service)));
        }
        for pool in self.pools.values().cloned().collect::<Vec<_>>() {
            self.observe(Event::Pool(Change::Apply(pool)));
        }
        if let Some(config) = self.config.clone() {
            self.observe(Event::Config(Change::Apply(config)));
        }
        self.observe(Event::Namespace(Change::Apply(mk_namespace("shop"))));
        for synced in [
            Event::Service(Change::Synced),
            Event::Pool(Change::Synced),
            Event::L2(Change::Synced),
            Event::Bgp(Change::Synced),
            Event::Peer(Change::Synced),
            Event::BfdProfile(Change::Synced),
            Event::Community(Change::Synced),
            Event::ServiceCidr(Change::Synced),
            Event::Config(Change::Synced),
            Event::Namespace(Change::Synced),
            Event::Node(Change::Synced),
            Event::Slice(Change::Synced),
            Event::Lease(Change::Synced),
        ] {
            self.observe(synced);
        }
        assert!(self.core.is_synced());
        self.lead();
    }

    /// A term begins.
    fn lead(&mut self) {
        let snapshot = Snapshot {
            services: listed(self.services.values().cloned()),
            pools: listed(self.pools.values().cloned().map(Change::Apply)),
            config: self.config.clone(),
            ..Snapshot::default()
        };
        self.core.lead(snapshot, self.now);
    }

    fn pool(&mut self, name: &str, addresses: &str) {
        self.edit_pool(name, addresses, |_| {});
    }

    fn edit_pool(
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

    fn delete_pool(&mut self, name: &str) {
        self.pools.remove(name);
        let key = (String::new(), name.to_owned());
        self.observe(Event::Pool(Change::Delete(key)));
    }

    fn create(&mut self, name: &str) {
        self.edit(name, |_| {});
    }

    /// Creates or changes a Service, and lets the core see it.
    fn edit(&mut self, name: &str, change: impl FnOnce(&mut Service)) {
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

    fn delete(&mut self, name: &str) {
        let key = mk_key(name);
        self.services.remove(&key);
        self.observe(Event::Service(Change::Delete(key_of(&key))));
    }

    /// Wall clock and monotonic clock run together.
    fn moment(&self) -> Moment {
        let since = self.now.duration_since(self.start);
        Moment {
            now: self.now,
            wall: Timestamp::UNIX_EPOCH + since,
        }
    }

    /// Decides, and lets the writes land, until there is nothing more to write.
    fn settle(&mut self) {
        for _ in 0..20 {
            let writes = self.core.decide(self.moment());
            if writes.is_empty() {
                return;
            }
            for write in writes {
                self.land(&write);
            }
        }
        panic!("the core writes for ever");
    }

    fn land(&mut self, write: &Write) {
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

    fn apply(&mut self, write: &Write) -> Result<Event, Failure> {
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

    fn service(&self, name: &str) -> &Service {
        &self.services[&mk_key(name)]
    }

    /// The addresses in the status, comma separated.
    fn ips(&self, name: &str) -> String {
        let vips = self.service(name).vips();
        vips.iter()
            .map(IpAddr::to_string)
            .collect::<Vec<_>>()
            .join(",")
    }

    /// Status and reason of our condition.
    fn verdict(&self, name: &str) -> (String, String) {
        let conditions = &self.service(name).status.conditions;
        let ours = conditions.iter().find(|c| c.type_ == ASSIGNED).unwrap();
        (ours.status.clone(), ours.reason.clone())
    }

    fn node(&mut self, name: &str) {
        let mut node = Node::default();
        node.metadata.name = Some(name.to_owned());
        self.observe(Event::Node(Change::Apply(node)));
    }

    fn speaker(&mut self, node: &str, holder: &str) {
        let mut lease = Lease::default();
        lease.metadata.name = Some(format!("{SPEAKER_LEASE_PREFIX}{node}"));
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(holder.to_owned());
        self.observe(Event::Lease(Change::Apply(lease)));
    }

    /// Endpoints of a Service: a node each, ready or not.
    fn endpoints(&mut self, service: &str, nodes: &[&str]) {
        let mut slice = EndpointSlice::default();
        slice.metadata.name = Some(format!("{service}-1"));
        slice.metadata.namespace = Some("shop".to_owned());
        slice.metadata.labels = Some(BTreeMap::from([(
            SERVICE_NAME.to_owned(),
            service.to_owned(),
        )]));
        let endpoint = |node: &&str| Endpoint {
            node_name: Some((*node).to_owned()),
            ..Endpoint::default()
        };
        slice.endpoints = nodes.iter().map(endpoint).collect();
        self.observe(Event::Slice(Change::Apply(slice)));
    }

    fn l2(&mut self) {
        let all = L2Advertisement::new("all", L2AdvertisementSpec::default());
        self.observe(Event::L2(Change::Apply(all)));
    }

    fn placement(&self, name: &str) -> Option<&str> {
        self.service(name).annotation(L2_NODES)
    }
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

fn annotate(service: &mut Service, name: &str, value: &str) {
    let annotations = service.metadata.annotations.get_or_insert_default();
    annotations.insert(name.to_owned(), value.to_owned());
}

#[test]
fn a_new_service_gets_address_annotation_condition_and_one_event() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("web");
    world.settle();
    assert_eq!(world.ips("web"), "10.0.0.0");
    assert_eq!(world.service("web").annotation(POOL), Some("p"));
    assert_eq!(world.verdict("web"), ("True".into(), "Assigned".into()));
    assert_eq!(
        world.service("web").status.load_balancer.ingress[0]
            .ip_mode
            .as_deref(),
        Some("VIP")
    );
    world.settle();
    assert_eq!(
        (world.notes.as_slice(), world.writes),
        (&["web: AddressAssigned".to_owned()][..], 1)
    );
}

#[test]
fn a_restart_adopts_and_writes_nothing() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    for name in ["a", "b", "c"] {
        world.create(name);
    }
    world.settle();
    world.delete("a");
    world.settle();
    let writes = world.writes;
    world.restart();
    world.create("d");
    world.settle();
    assert_eq!(world.writes, writes + 1, "only the new Service is written");
    let held = ["b", "c", "d"].map(|name| world.ips(name));
    assert_eq!(held, ["10.0.0.1", "10.0.0.2", "10.0.0.0"]);
}

#[test]
fn a_status_that_looks_empty_gets_the_same_address_again() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("web");
    world.settle();
    world.edit("web", |service| {
        service.status = portolan_api::view::ServiceStatus::default();
    });
    world.create("other");
    world.settle();
    assert_eq!(world.ips("web"), "10.0.0.0");
    assert_eq!(world.ips("other"), "10.0.0.1");
}

#[test]
fn an_event_older_than_what_is_known_is_ignored() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("web");
    let stale = world.service("web").clone();
    world.settle();
    let writes = world.writes;
    world.observe(Event::Service(Change::Apply(stale)));
    world.settle();
    assert_eq!(world.writes, writes);
}

#[test]
fn whoever_lacks_an_address_gets_the_one_that_is_given_up() {
    let mut world = mk_world(&[("p", "10.0.0.0/32")]);
    world.create("first");
    world.create("second");
    world.settle();
    assert_eq!(world.ips("second"), "");
    assert_eq!(
        world.verdict("second"),
        ("False".into(), "Exhausted".into())
    );
    world.settle();
    let failures = world
        .notes
        .iter()
        .filter(|note| note.contains("Failed"))
        .count();
    assert_eq!(failures, 1, "{:?}", world.notes);
    world.delete("first");
    world.settle();
    assert_eq!(world.ips("second"), "10.0.0.0");
}

#[test]
fn a_service_that_stops_being_a_load_balancer_loses_all_that_we_wrote() {
    let mut world = mk_world(&[("p", "10.0.0.0/32")]);
    world.create("web");
    world.create("waiting");
    world.settle();
    for change in [
        (|s: &mut Service| s.spec.kind = Some("ClusterIP".to_owned())) as fn(&mut Service),
        |s| s.spec.load_balancer_class = Some("other".to_owned()),
    ] {
        world.edit("web", change);
        world.settle();
        let service = world.service("web");
        assert!(service.status.load_balancer.ingress.is_empty());
        assert!(service.status.conditions.is_empty());
        assert_eq!(service.annotation(POOL), None);
        assert_eq!(world.ips("waiting"), "10.0.0.0");
        world.delete("waiting");
        world.edit("web", |s| {
            s.spec.kind = Some("LoadBalancer".to_owned());
            s.spec.load_balancer_class = None;
        });
        world.settle();
        assert_eq!(world.ips("web"), "10.0.0.0");
        world.create("waiting");
        world.settle();
    }
}

#[test]
fn a_service_of_another_class_is_left_alone_and_its_address_is_not_given_away() {
    let mut world = mk_world(&[("p", "10.0.0.0/31")]);
    world.edit("foreign", |service| {
        service.spec.load_balancer_class = Some("other".to_owned());
        service.status.load_balancer.ingress = vec![Ingress {
            ip: Some("10.0.0.0".to_owned()),
            ..Ingress::default()
        }];
    });
    world.create("web");
    world.settle();
    assert_eq!(world.ips("foreign"), "10.0.0.0");
    assert_eq!(world.ips("web"), "10.0.0.1");
}

#[test]
fn of_two_holders_of_one_address_the_older_keeps_it() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    for name in ["old", "new"] {
        world.edit(name, |service| {
            service.status.load_balancer.ingress = vec![Ingress {
                ip: Some("10.0.0.7".to_owned()),
                ..Ingress::default()
            }];
        });
    }
    world.restart();
    world.settle();
    assert_eq!(world.ips("old"), "10.0.0.7");
    assert_eq!(world.ips("new"), "10.0.0.0");
    assert!(
        world.notes.contains(&"new: AddressConflict".to_owned()),
        "{:?}",
        world.notes
    );
}

#[test]
fn a_host_name_in_the_status_stays() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.edit("web", |service| {
        service.status.load_balancer.ingress = vec![Ingress {
            hostname: Some("web.example".to_owned()),
            ..Ingress::default()
        }];
    });
    world.settle();
    let ingress = &world.service("web").status.load_balancer.ingress;
    assert_eq!(ingress.len(), 2);
    assert_eq!(ingress[1].hostname.as_deref(), Some("web.example"));
}

#[test]
fn a_bad_edit_of_a_pool_keeps_it_in_force_and_its_deletion_does_not() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("web");
    world.settle();
    world.pool("p", "10.0.0.0/33");
    world.create("more");
    world.settle();
    assert_eq!(world.ips("web"), "10.0.0.0");
    assert_eq!(world.ips("more"), "10.0.0.1");
    let conditions = &world.pools["p"].status.as_ref().unwrap().conditions;
    assert_eq!(conditions[0].status, "False");
    assert!(
        world.notes.contains(&"p: Invalid".to_owned()),
        "{:?}",
        world.notes
    );
    world.delete_pool("p");
    world.settle();
    assert_eq!(world.ips("web"), "");
    assert_eq!(world.verdict("web"), ("False".into(), "NoPool".into()));
}

fn mk_sharer(service: &mut Service, key: &str, port: i32) {
    annotate(service, ALLOW_SHARED_IP, key);
    service.spec.ports = vec![portolan_api::view::Port {
        protocol: Some("TCP".to_owned()),
        port,
    }];
}

#[test]
fn services_with_one_key_share_an_address_as_long_as_their_ports_differ() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.edit("a", |service| mk_sharer(service, "k", 80));
    world.edit("b", |service| mk_sharer(service, "k", 443));
    world.edit("c", |service| mk_sharer(service, "k", 80));
    world.edit("d", |service| mk_sharer(service, "other", 8080));
    world.settle();
    let held = ["a", "b", "c", "d"].map(|name| world.ips(name));
    assert_eq!(held, ["10.0.0.0", "10.0.0.0", "10.0.0.1", "10.0.0.2"]);
    let writes = world.writes;
    world.restart();
    world.settle();
    assert_eq!(world.writes, writes, "a restart finds them as they are");
    // The one that changes leaves.
    world.edit("b", |service| mk_sharer(service, "k", 80));
    world.settle();
    assert_eq!(
        (world.ips("a"), world.ips("b")),
        ("10.0.0.0".into(), "10.0.0.3".into())
    );
    // Alone on its address, a Service may change its key.
    world.edit("b", |service| mk_sharer(service, "mine", 80));
    world.settle();
    assert_eq!(world.ips("b"), "10.0.0.3");
}

#[test]
fn services_that_share_an_address_are_placed_on_one_node() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.l2();
    for node in ["n1", "n2", "n3"] {
        world.node(node);
        world.speaker(node, "alive");
    }
    for (name, port) in [("a", 80), ("b", 443), ("c", 8443)] {
        world.edit(name, |service| mk_sharer(service, "k", port));
        world.endpoints(name, &["n1", "n2"]);
    }
    world.settle();
    let placed = |world: &World, name: &str| world.placement(name).map(str::to_owned);
    let before = placed(&world, "a");
    assert!(before.is_some());
    assert_eq!(placed(&world, "b"), before);
    assert_eq!(placed(&world, "c"), before);
    let first = before.unwrap().split(',').next().unwrap().to_owned();
    world.speaker(&first, "");
    world.settle();
    let after = placed(&world, "c");
    assert_ne!(
        after.as_deref().and_then(|p| p.split(',').next()),
        Some(first.as_str())
    );
    assert_eq!(placed(&world, "a"), after);
    assert_eq!(placed(&world, "b"), after);
}

#[test]
fn an_edit_of_the_status_by_hand_is_followed_when_lawful_and_undone_when_not() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("web");
    world.create("other");
    world.settle();
    world.edit("web", |service| show(service, &["10.0.0.77"]));
    world.settle();
    assert_eq!(world.ips("web"), "10.0.0.77");
    world.create("third");
    world.settle();
    assert_eq!(world.ips("third"), "10.0.0.0", "what was given up is free");
    for (row, addresses) in [
        ("held by another", &["10.0.0.1"][..]),
        ("in no pool", &["192.0.2.1"]),
    ] {
        world.now += Duration::from_mins(5);
        world.edit("web", |service| show(service, addresses));
        world.settle();
        assert_eq!(world.ips("web"), "10.0.0.77", "{row}");
    }
    assert_eq!(world.ips("other"), "10.0.0.1");
}

#[test]
fn a_program_that_rewrites_the_status_is_told_and_not_fought() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("web");
    world.settle();
    let writes = world.writes;
    for _ in 0..20 {
        world.now += Duration::from_secs(1);
        world.edit("web", |service| show(service, &["198.51.100.1"]));
        world.settle();
    }
    assert_eq!(world.ips("web"), "198.51.100.1", "the other one has won");
    assert_eq!(
        world.verdict("web"),
        ("False".into(), "StatusContested".into())
    );
    assert!(
        world.writes - writes <= 4,
        "{} writes",
        world.writes - writes
    );
    let told = world
        .notes
        .iter()
        .filter(|note| note.contains("StatusContested"));
    assert_eq!(told.count(), 1);
    world.create("new");
    world.settle();
    assert_eq!(world.ips("new"), "10.0.0.1", "its address stays taken");
    // The other program has gone.
    world.now += Duration::from_mins(11);
    world.settle();
    assert_eq!(world.ips("web"), "10.0.0.0");
    assert_eq!(world.verdict("web").1, "Assigned");
}

#[test]
fn whoever_asks_for_what_it_can_not_have_keeps_what_it_has_and_gives_way() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("a");
    world.create("b");
    world.settle();
    world.edit("a", |service| {
        annotate(service, LOAD_BALANCER_IPS, "10.0.0.1");
    });
    world.settle();
    assert_eq!(world.ips("a"), "10.0.0.0");
    assert_eq!(world.verdict("a"), ("False".into(), "AddressTaken".into()));
    // The two want to change places: without giving way both would wait for ever.
    world.edit("b", |service| {
        annotate(service, LOAD_BALANCER_IPS, "10.0.0.0");
    });
    world.settle();
    assert_eq!(
        (world.ips("a"), world.ips("b")),
        ("10.0.0.1".into(), "10.0.0.0".into())
    );
    assert_eq!(world.verdict("a").1, "Assigned");
}

#[test]
fn the_address_of_a_deleted_service_is_kept_for_its_name_and_given_back() {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/31", |spec| {
        spec.retain = Some("10m".to_owned());
    });
    world.create("a");
    world.create("b");
    world.settle();
    world.delete("a");
    world.create("c");
    world.settle();
    assert_eq!(world.ips("c"), "", "it is kept for another");
    assert_eq!(world.pools["p"].status.as_ref().unwrap().retained.len(), 1);
    world.restart();
    world.settle();
    assert_eq!(world.ips("c"), "", "a restart does not forget it");
    world.create("a");
    world.settle();
    assert_eq!(world.ips("a"), "10.0.0.0");
    assert!(
        world.pools["p"]
            .status
            .as_ref()
            .unwrap()
            .retained
            .is_empty()
    );
    world.delete("a");
    world.settle();
    world.now += Duration::from_mins(11);
    world.settle();
    assert_eq!(world.ips("c"), "10.0.0.0", "the time is over");
}

#[test]
fn a_leader_that_saw_the_deletion_as_a_follower_retains_the_address() {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/31", |spec| {
        spec.retain = Some("10m".to_owned());
    });
    world.create("a");
    world.settle();
    world.core.follow();
    world.delete("a");
    world.core.decide(world.moment());
    world.core.prepare_lead();
    world.lead();
    world.create("thief");
    world.settle();
    assert_eq!(world.ips("thief"), "10.0.0.1");
    world.create("a");
    world.settle();
    assert_eq!(world.ips("a"), "10.0.0.0");
}

#[test]
fn another_service_under_the_same_name_inherits_nothing() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.edit("web", |service| {
        annotate(service, LOAD_BALANCER_IPS, "10.0.0.9");
    });
    world.settle();
    // Deleted and created again while the watch was away: one Apply with another UID.
    world.services.remove(&mk_key("web"));
    world.create("web");
    world.settle();
    assert_eq!(world.ips("web"), "10.0.0.0");
    world.edit("second", |service| {
        annotate(service, LOAD_BALANCER_IPS, "10.0.0.9");
    });
    world.settle();
    assert_eq!(world.ips("second"), "10.0.0.9");
}

#[test]
fn a_term_forgets_what_the_former_one_decided_but_did_not_write() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("mine");
    let moment = Moment {
        now: world.now,
        wall: Timestamp::UNIX_EPOCH,
    };
    let lost = world.core.decide(moment);
    for write in lost {
        let outcome = Outcome {
            target: write.target,
            result: Err(Failure::NotLeader),
        };
        world.core.finish(outcome, world.now);
    }
    // Meanwhile another leader gave 10.0.0.0 to somebody else; our watch has not told us yet.
    let mut theirs = world.service("mine").clone();
    theirs.metadata.name = Some("theirs".to_owned());
    theirs.metadata.uid = Some("theirs".to_owned());
    theirs.status.load_balancer.ingress = vec![Ingress {
        ip: Some("10.0.0.0".to_owned()),
        ..Ingress::default()
    }];
    world.services.insert(mk_key("theirs"), theirs);
    let snapshot = Snapshot {
        services: listed(world.services.values().cloned()),
        pools: listed(world.pools.values().cloned().map(Change::Apply)),
        ..Snapshot::default()
    };
    world.core.lead(snapshot, world.now);
    world.settle();
    assert_eq!(world.ips("theirs"), "10.0.0.0");
    assert_eq!(world.ips("mine"), "10.0.0.1");
}

#[test]
fn a_follower_writes_nothing() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.core.follow();
    world.create("web");
    world.settle();
    assert_eq!(world.writes, 0);
}

#[test]
fn a_write_that_its_term_had_no_time_for_is_decided_again_when_the_term_goes_on() {
    for failure in [Failure::NotLeader, Failure::TimedOut, Failure::Conflict] {
        let mut world = mk_world(&[("p", "10.0.0.0/24")]);
        world.create("web");
        let moment = Moment {
            now: world.now,
            wall: Timestamp::UNIX_EPOCH,
        };
        let writes = world.core.decide(moment);
        for write in writes {
            let outcome = Outcome {
                target: write.target,
                result: Err(failure.clone()),
            };
            world.core.finish(outcome, world.now);
        }
        // No event comes; only the deadline wakes.
        world.now = world
            .core
            .deadline()
            .unwrap_or_else(|| panic!("{failure}: nothing wakes"));
        world.settle();
        assert_eq!(world.ips("web"), "10.0.0.0", "{failure}");
    }
}

#[test]
fn counters_follow_a_second_later_and_once() {
    let mut world = mk_world(&[("p", "10.0.0.0/30 2001:db8::/64")]);
    world.create("web");
    world.settle();
    assert_eq!(world.core.deadline(), Some(world.now + COUNTERS_DELAY));
    world.now += COUNTERS_DELAY;
    world.settle();
    let status = world.pools["p"].status.clone().unwrap();
    assert_eq!((status.assigned_ipv4, status.available_ipv4), (1, 3));
    assert_eq!((status.assigned_ipv6, status.available_ipv6), (0, i64::MAX));
    assert_eq!(world.core.deadline(), None);
}

#[test]
fn placement_follows_endpoints_speakers_and_policy() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    for node in ["a", "b", "c", "d"] {
        world.node(node);
        world.speaker(node, node);
    }
    world.l2();
    world.create("web");
    world.settle();
    assert_eq!(world.placement("web"), None, "nobody to deliver to");
    world.endpoints("web", &["a", "b"]);
    world.settle();
    let first = world.placement("web").unwrap().to_owned();
    assert_eq!(first.split(',').count(), 3, "{first}");
    let answerer = first.split(',').next().unwrap().to_owned();
    world.speaker(&answerer, "");
    world.settle();
    let second = world.placement("web").unwrap().to_owned();
    assert_eq!(
        second.split(',').next(),
        first.split(',').nth(1),
        "the first standby takes over"
    );
    world.speaker(&answerer, &answerer);
    world.settle();
    assert_eq!(
        world.placement("web"),
        Some(second.as_str()),
        "a returning node takes nothing back"
    );
    world.edit("web", |s| {
        s.spec.external_traffic_policy = TrafficPolicy::Local;
    });
    world.settle();
    let local = world.placement("web").unwrap();
    assert!(
        local.split(',').all(|node| ["a", "b"].contains(&node)),
        "{local}"
    );
    world.endpoints("web", &[]);
    world.settle();
    assert_eq!(world.placement("web"), None);
}

#[test]
fn losing_every_speaker_moves_nothing() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.node("a");
    world.speaker("a", "a");
    world.l2();
    world.create("web");
    world.endpoints("web", &["a"]);
    world.settle();
    world.speaker("a", "");
    world.settle();
    assert_eq!(world.placement("web"), Some("a"));
}

/// What happens to one of six Services.
#[derive(Debug, Clone)]
enum Step {
    Create(u8),
    Delete(u8),
    Exact(u8, u8),
    Leave(u8),
    Settle,
    Restart,
    Pool(u8),
    LosePatches,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u8..6).prop_map(Step::Create),
        2 => (0_u8..6).prop_map(Step::Delete),
        2 => (0_u8..6, 0_u8..6).prop_map(|(id, last)| Step::Exact(id, last)),
        1 => (0_u8..6).prop_map(Step::Leave),
        4 => Just(Step::Settle),
        1 => Just(Step::Restart),
        1 => (0_u8..3).prop_map(Step::Pool),
        1 => Just(Step::LosePatches),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn no_history_shows_one_address_twice_and_holders_keep_theirs(steps in prop::collection::vec(any_step(), 0..60)) {
        let mut world = mk_world(&[("p", "10.0.0.0/30")]);
        for step in steps {
            let before: BTreeMap<ObjectKey, Vec<IpAddr>> =
                world.services.iter().map(|(key, s)| (key.clone(), s.vips())).collect();
            let name = |id: u8| format!("s{id}");
            let harmless = matches!(step, Step::Create(_) | Step::Settle | Step::Restart | Step::LosePatches);
            let mut settles = true;
            match step {
                Step::Create(id) => {
                    settles = false;
                    if !world.services.contains_key(&mk_key(&name(id))) {
                        world.create(&name(id));
                    }
                }
                Step::Delete(id) => world.delete(&name(id)),
                Step::Exact(id, last) => world.edit(&name(id), |s| annotate(s, LOAD_BALANCER_IPS, &format!("10.0.0.{last}"))),
                Step::Leave(id) => world.edit(&name(id), |s| s.spec.kind = Some("ClusterIP".to_owned())),
                Step::Settle => {}
                Step::Restart => world.restart(),
                Step::Pool(variant) => world.pool("p", ["10.0.0.0/30", "10.0.0.1-10.0.0.5", "10.0.0.0/29"][usize::from(variant)]),
                Step::LosePatches => {
                    settles = false;
                    let moment = Moment { now: world.now, wall: Timestamp::UNIX_EPOCH };
                    for write in world.core.decide(moment) {
                        let outcome = Outcome { target: write.target, result: Err(Failure::TimedOut) };
                        world.core.finish(outcome, world.now);
                    }
                    world.now += Duration::from_secs(30);
                }
            }
            if settles {
                world.settle();
            }
            let mut shown: HashMap<IpAddr, &ObjectKey> = HashMap::new();
            for (key, service) in &world.services {
                for vip in service.vips() {
                    let other = shown.insert(vip, key);
                    prop_assert!(other.is_none(), "{vip} is shown by {key} and {other:?}");
                }
                let held = before.get(key).filter(|held| harmless && !held.is_empty());
                if let Some(held) = held {
                    prop_assert_eq!(&service.vips(), held, "{} changed its address", key);
                }
            }
        }
    }
}

#[test]
fn a_pool_that_can_not_be_read_goes_on_serving_and_nothing_is_written_over_and_over() {
    let mut world = mk_world(&[("p", "10.0.0.0/30")]);
    world.node("a");
    world.speaker("a", "a");
    world.l2();
    world.create("web");
    world.endpoints("web", &["a"]);
    world.settle();
    let config = world.config.clone().map(|config| config.spec);
    let key = (String::new(), "p".to_owned());
    world.observe(Event::Pool(Change::Unreadable(key, "no idea".to_owned())));
    world.settle();
    assert_eq!(world.config.clone().map(|config| config.spec), config);
    assert_eq!(world.ips("web"), "10.0.0.0");
    assert_eq!(world.placement("web"), Some("a"));
    world.create("more");
    world.settle();
    assert_eq!(world.ips("more"), "10.0.0.1");
    world.pool("p", "10.0.0.0/30");
    world.settle();
    world.pool("p", "10.0.0.0/29");
    world.settle();
    let pools = &world.config.as_ref().unwrap().spec.pools;
    assert_eq!(
        (pools.len(), &pools[0].spec.addresses[0]),
        (1, &"10.0.0.0/29".to_owned())
    );
}

#[test]
fn addresses_of_another_load_balancer_stay_until_a_pool_has_them() {
    let mut world = mk_world(&[]);
    world.edit("one", |s| show(s, &["192.0.2.7"]));
    world.edit("many", |s| {
        show(s, &["192.0.2.8", "198.51.100.1", "198.51.100.2"]);
    });
    world.restart();
    world.settle();
    let outside = ("False".to_owned(), "AddressOutsidePools".to_owned());
    for (name, ips) in [
        ("one", "192.0.2.7"),
        ("many", "192.0.2.8,198.51.100.1,198.51.100.2"),
    ] {
        assert_eq!(world.ips(name), ips);
        assert_eq!(world.verdict(name), outside, "{name}");
    }
    world.pool("p", "192.0.2.0/24");
    world.settle();
    assert_eq!(world.ips("one"), "192.0.2.7");
    assert_eq!(world.service("one").annotation(POOL), Some("p"));
    assert_eq!(world.verdict("one"), ("True".into(), "Assigned".into()));
    assert_eq!(world.ips("many"), "192.0.2.8,198.51.100.1,198.51.100.2");
    // What we gave is ours to take back when its pool goes.
    world.delete_pool("p");
    world.settle();
    assert_eq!(world.ips("one"), "");
    // A Service that leaves us keeps what was never ours, all of it.
    world.edit("many", |s| {
        s.spec.load_balancer_class = Some("other".to_owned());
    });
    world.settle();
    assert_eq!(world.ips("many"), "192.0.2.8,198.51.100.1,198.51.100.2");
    assert!(world.service("many").status.conditions.is_empty());
    world.edit("many", |s| {
        s.spec.load_balancer_class = None;
        show(s, &[]);
    });
    world.pool("p", "192.0.2.0/24");
    world.settle();
    assert_eq!(world.verdict("many").0, "True");
}

#[test]
fn a_service_waits_until_its_namespace_is_known() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    let gone = (String::new(), "shop".to_owned());
    world.observe(Event::Namespace(Change::Delete(gone)));
    world.create("web");
    world.settle();
    assert_eq!((world.ips("web").as_str(), world.writes), ("", 0));
    world.observe(Event::Namespace(Change::Apply(mk_namespace("shop"))));
    world.settle();
    assert_eq!(world.ips("web"), "10.0.0.0");
}

#[test]
fn one_family_of_two_is_told_as_an_event() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.edit("web", |service| {
        service.spec.ip_families = vec!["IPv4".to_owned(), "IPv6".to_owned()];
        service.spec.ip_family_policy = Some("PreferDualStack".to_owned());
    });
    world.settle();
    assert_eq!(
        world.notes,
        ["web: AddressAssigned", "web: PartiallyAssigned"]
    );
}

#[test]
fn a_follower_does_not_remember_what_changed() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.core.follow();
    for name in ["a", "b", "c"] {
        world.create(name);
        world.settle();
        world.delete(name);
        world.settle();
    }
    assert!(world.core.model.dirty.services.is_empty());
}
