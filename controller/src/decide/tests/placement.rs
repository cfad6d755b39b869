//! Nodes that answer for layer-2 addresses.

use k8s_openapi::api::coordination::v1::Lease;
use portolan_api::annotation::{L2_NODES, SERVICE_NAME, SPEAKER_LEASE_PREFIX};
use portolan_api::crd::{L2Advertisement, L2AdvertisementSpec};
use portolan_api::view::{Endpoint, EndpointSlice};

use super::*;

impl World {
    pub(super) fn speaker(&mut self, node: &str, holder: &str) {
        let mut lease = Lease::default();
        lease.metadata.name = Some(format!("{SPEAKER_LEASE_PREFIX}{node}"));
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(holder.to_owned());
        self.observe(Event::Lease(Change::Apply(lease)));
    }

    /// Endpoints of a Service: a node each, ready or not.
    pub(super) fn endpoints(&mut self, service: &str, nodes: &[&str]) {
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

    pub(super) fn l2(&mut self) {
        let all = L2Advertisement::new("all", L2AdvertisementSpec::default());
        self.observe(Event::L2(Change::Apply(all)));
    }

    pub(super) fn placement(&self, name: &str) -> Option<&str> {
        self.service(name).annotation(L2_NODES)
    }
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
