//! What one node announces, as tables.

mod bfd;
mod drain;
mod duties;
mod endpoints;
mod increments;
mod kinds;
mod patience;
mod peers;
mod rules;
mod weights;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portolan_api::crd::{
    BgpRule, Communities, IPAddressPoolSpec, L2Rule, PeerRule, PoolRule, RouteKind, SpeakerConfig,
    SpeakerConfigSpec,
};
use portolan_api::selector::LabelSelector;
use portolan_api::view::{
    Conditions, Endpoint, EndpointSlice, Ingress, Node, NodeAddress, NodeCondition, Service,
    TrafficPolicy,
};
use portolan_daemon::watch::Change;
use portolan_proto::bgp::{Prefix, RouteAttrs};

use super::secrets::{Secret, SecretData};
use super::*;
use crate::l2::Interfaces;

const NODE: &str = "n1";
const VIP4: &str = "192.0.2.10";
const VIP6: &str = "2001:db8::10";

type Endpoints<'a> = &'a [(&'a str, Conditions)];
type Edit = Box<dyn Fn(&mut SpeakerConfigSpec)>;

fn mk_meta(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        ..ObjectMeta::default()
    }
}

fn mk_peer(name: &str, address: &str) -> PeerRule {
    PeerRule {
        name: name.to_owned(),
        my_asn: 65000,
        peer_asn: Some(65001),
        address: Some(address.parse().unwrap()),
        port: 179,
        hold_time_seconds: 90,
        ..PeerRule::default()
    }
}

fn mk_bgp(name: &str, routes: &[RouteKind]) -> BgpRule {
    BgpRule {
        name: name.to_owned(),
        routes: routes.to_vec(),
        pools: vec!["pool".to_owned()],
        aggregation_length: 32,
        aggregation_length_v6: 128,
        ..BgpRule::default()
    }
}

fn mk_config() -> SpeakerConfigSpec {
    let spec = IPAddressPoolSpec {
        addresses: vec!["192.0.2.0/24".into(), "2001:db8::/112".into()],
        ..IPAddressPoolSpec::default()
    };
    SpeakerConfigSpec {
        pools: vec![PoolRule {
            name: "pool".into(),
            spec,
        }],
        l2: vec![L2Rule {
            name: "l2".into(),
            pools: vec!["pool".into()],
            ..L2Rule::default()
        }],
        bgp: vec![mk_bgp("bgp", &[RouteKind::LoadBalancerIP])],
        peers: vec![mk_peer("v4", "10.0.0.1"), mk_peer("v6", "fd00::1")],
        cluster_ip_ranges: vec![
            "10.96.0.0/12".parse().unwrap(),
            "fd00:96::/112".parse().unwrap(),
        ],
        ..SpeakerConfigSpec::default()
    }
}

fn mk_node() -> Node {
    let mut node = Node {
        metadata: mk_meta("", NODE),
        ..Node::default()
    };
    node.metadata.uid = Some("uid".into());
    node.metadata.labels = Some([("zone".to_owned(), "a".to_owned())].into());
    node.status.addresses = vec![NodeAddress {
        kind: "InternalIP".into(),
        address: "10.0.0.11".into(),
    }];
    node
}

fn mk_service(policy: TrafficPolicy, l2_nodes: &str) -> Service {
    let mut service = Service {
        metadata: mk_meta("default", "web"),
        ..Service::default()
    };
    service.metadata.annotations = Some(
        [(
            portolan_api::annotation::L2_NODES.to_owned(),
            l2_nodes.to_owned(),
        )]
        .into(),
    );
    service.spec.kind = Some("LoadBalancer".into());
    service.spec.external_traffic_policy = policy;
    let entry = |ip: &str| Ingress {
        ip: Some(ip.to_owned()),
        ..Ingress::default()
    };
    service.status.load_balancer.ingress = vec![entry(VIP4), entry(VIP6)];
    service
}

fn mk_slice(name: &str, endpoints: &[(&str, Conditions)]) -> EndpointSlice {
    let mut metadata = mk_meta("default", name);
    metadata.labels = Some(
        [(
            portolan_api::annotation::SERVICE_NAME.to_owned(),
            "web".to_owned(),
        )]
        .into(),
    );
    let endpoint = |(node, conditions): &(&str, Conditions)| Endpoint {
        conditions: conditions.clone(),
        node_name: (!node.is_empty()).then(|| (*node).to_owned()),
    };
    EndpointSlice {
        metadata,
        address_type: if name.ends_with("-v6") {
            "IPv6"
        } else {
            "IPv4"
        }
        .to_owned(),
        endpoints: endpoints.iter().map(endpoint).collect(),
    }
}

/// Slices of both families with the same endpoints.
fn apply_slices(model: &mut Model, name: &str, endpoints: Endpoints<'_>) {
    for name in [name.to_owned(), format!("{name}-v6")] {
        model.handle(Event::Slice(Change::Apply(mk_slice(&name, endpoints))));
    }
}

fn forget_slices(model: &mut Model, name: &str) {
    for name in [name.to_owned(), format!("{name}-v6")] {
        model.handle(Event::Slice(Change::Delete(("default".into(), name))));
    }
}

fn ready() -> Conditions {
    Conditions {
        ready: Some(true),
        serving: Some(true),
        terminating: Some(false),
    }
}

fn apply_config(model: &mut Model, spec: SpeakerConfigSpec) {
    let config = SpeakerConfig {
        metadata: mk_meta("", "default"),
        spec,
    };
    model.handle(Event::Config(Change::Apply(config)));
}

/// A model that knows everything: one Service with a ready endpoint on this node, announced every way.
fn mk_model() -> Model {
    let mut model = mk_keyless();
    let key = duties::mk_secret(Some("sixteen bytes or more"));
    model.handle(Event::SpeakerKey(Change::Apply(key)));
    model
}

/// The same without the key of the speakers.
fn mk_keyless() -> Model {
    let mut model = Model::new(NODE.into(), "portolan-system".into(), None);
    apply_config(&mut model, mk_config());
    model.handle(Event::Node(Change::Apply(mk_node())));
    model.handle(Event::Service(Change::Apply(mk_service(
        TrafficPolicy::Cluster,
        "n1,n2",
    ))));
    apply_slices(&mut model, "web-1", &[(NODE, ready())]);
    for synced in [
        Event::Service(Change::Synced),
        Event::Slice(Change::Synced),
        Event::Config(Change::Synced),
        Event::Node(Change::Synced),
    ] {
        model.handle(synced);
    }
    model
}

/// What a peer is to be told.
fn told(plan: &Plan, peer: &str) -> BTreeMap<Prefix, RouteAttrs> {
    let routes = plan.routes.iter();
    let told = routes.filter_map(|(prefix, audience)| {
        let attrs = audience.attrs(peer)?;
        Some((*prefix, RouteAttrs::clone(attrs)))
    });
    told.collect()
}

fn routes(plan: &Plan, peer: &str) -> Vec<String> {
    let told = told(plan, peer);
    told.keys().map(Prefix::to_string).collect()
}

fn answered(plan: &Plan) -> Vec<String> {
    plan.l2.keys().map(IpAddr::to_string).collect()
}

#[test]
fn nothing_is_planned_before_everything_required_is_known() {
    let mut model = Model::new(NODE.into(), "portolan-system".into(), None);
    model.handle(Event::Node(Change::Apply(mk_node())));
    for event in [
        Event::Service(Change::Synced),
        Event::Slice(Change::Synced),
        Event::Config(Change::Synced),
    ] {
        model.handle(event);
        assert_eq!(model.take_due(), Due::Nothing);
    }
    assert_eq!(model.waiting_for(), ["node"]);
    model.handle(Event::Node(Change::Synced));
    assert_ne!(model.take_due(), Due::Nothing);
    assert_eq!(model.take_due(), Due::Nothing, "one change is one plan");
}

#[test]
fn each_session_carries_the_family_of_its_address() {
    let plan = mk_model().plan();
    assert_eq!(routes(&plan, "v4"), ["192.0.2.10/32"]);
    assert_eq!(routes(&plan, "v6"), ["2001:db8::10/128"]);
    assert_eq!(answered(&plan), [VIP4, VIP6]);
}

#[test]
fn a_configuration_that_can_not_be_read_is_no_empty_one() {
    let unreadable = || {
        Event::Config(Change::Unreadable(
            (String::new(), "default".into()),
            "too new".into(),
        ))
    };
    let mut model = Model::new(NODE.into(), "portolan-system".into(), None);
    for event in [
        Event::Node(Change::Apply(mk_node())),
        Event::Node(Change::Synced),
        Event::Service(Change::Synced),
        Event::Slice(Change::Synced),
        unreadable(),
        Event::Config(Change::Synced),
    ] {
        model.handle(event);
    }
    assert_eq!(model.waiting_for(), ["speakerconfig"]);
    apply_config(&mut model, mk_config());
    assert!(model.waiting_for().is_empty());
    // Once one was read, it stays in force.
    model.handle(unreadable());
    model.handle(Event::Config(Change::Synced));
    assert_eq!(model.plan().peers.len(), 2);
}

#[test]
fn every_placed_node_has_a_duty_on_layer_2_while_all_announce_by_bgp() {
    for (placement, has_duty) in [
        ("n1", true),
        ("n1,n2", true),
        ("n2, n1", true),
        ("n2,n3", false),
        ("", false),
        ("n11", false),
    ] {
        let mut model = mk_model();
        model.handle(Event::Service(Change::Delete((
            "default".into(),
            "web".into(),
        ))));
        model.handle(Event::Service(Change::Apply(mk_service(
            TrafficPolicy::Cluster,
            placement,
        ))));
        let plan = model.plan();
        assert_eq!(!plan.l2.is_empty(), has_duty, "{placement:?}");
        assert!(!routes(&plan, "v4").is_empty(), "{placement:?}");
    }
}

#[test]
fn an_excluded_node_keeps_its_sessions_and_its_duties_and_announces_nothing() {
    let mut labelled = mk_node();
    labelled
        .metadata
        .labels
        .as_mut()
        .unwrap()
        .insert(portolan_api::annotation::EXCLUDE_NODE.into(), String::new());
    let mut cut_off = mk_node();
    cut_off.status.conditions = vec![NodeCondition {
        kind: "NetworkUnavailable".into(),
        status: "True".into(),
    }];
    for node in [labelled, cut_off] {
        let mut model = mk_model();
        model.handle(Event::Node(Change::Apply(node)));
        let plan = model.plan();
        assert!(plan.excluded.is_some());
        assert_eq!(plan.peers.len(), 2);
        assert!(plan.routes.is_empty());
        assert_eq!(answered(&plan), [VIP4, VIP6], "to be handed over");
    }
}

#[test]
fn interfaces_of_several_rules_add_up_and_a_rule_without_any_means_all() {
    let named = |names: &[&str]| L2Rule {
        name: "named".into(),
        pools: vec!["pool".into()],
        interfaces: names.iter().map(|n| (*n).to_owned()).collect(),
        ..L2Rule::default()
    };
    let all = |names: &[&str]| Interfaces::Named(names.iter().map(|n| (*n).to_owned()).collect());
    for (rules, expected) in [
        (vec![named(&["eth0"])], all(&["eth0"])),
        (
            vec![named(&["eth0"]), named(&["eth1"])],
            all(&["eth0", "eth1"]),
        ),
        (vec![named(&["eth0"]), named(&[])], Interfaces::All),
        (vec![named(&[]), named(&["eth0"])], Interfaces::All),
    ] {
        let mut model = mk_model();
        let mut config = mk_config();
        config.l2.clone_from(&rules);
        apply_config(&mut model, config);
        assert_eq!(
            model.plan().l2[&VIP4.parse().unwrap()].interfaces,
            expected,
            "{rules:?}"
        );
    }
}

#[test]
fn an_address_outside_all_pools_is_announced_by_nobody() {
    let mut model = mk_model();
    let mut service = mk_service(TrafficPolicy::Cluster, NODE);
    service.status.load_balancer.ingress = vec![Ingress {
        ip: Some("198.51.100.1".into()),
        ..Ingress::default()
    }];
    model.handle(Event::Service(Change::Apply(service)));
    let plan = model.plan();
    assert!(routes(&plan, "v4").is_empty() && plan.l2.is_empty());
}

#[test]
fn a_deleted_configuration_withdraws_nothing() {
    let mut model = mk_model();
    assert_ne!(model.take_due(), Due::Nothing);
    model.handle(Event::Config(Change::Delete((
        String::new(),
        "default".into(),
    ))));
    assert_eq!(model.take_due(), Due::Nothing);
    assert!(!routes(&model.plan(), "v4").is_empty());
}

#[test]
fn a_service_that_leaves_our_class_is_let_go() {
    let mut model = mk_model();
    let mut service = mk_service(TrafficPolicy::Cluster, NODE);
    service.spec.load_balancer_class = Some("other".into());
    model.handle(Event::Service(Change::Apply(service)));
    assert!(routes(&model.plan(), "v4").is_empty());
}

#[test]
fn a_repeated_event_is_no_news() {
    let mut model = mk_model();
    assert_ne!(model.take_due(), Due::Nothing);
    model.handle(Event::Service(Change::Apply(mk_service(
        TrafficPolicy::Cluster,
        "n1,n2",
    ))));
    apply_slices(&mut model, "web-1", &[(NODE, ready())]);
    model.handle(Event::Node(Change::Apply(mk_node())));
    assert_eq!(model.take_due(), Due::Nothing);
}
