//! A small healthy cluster: nodes n1 and n2, one pool, one peer, both ways of announcing, one Service with an endpoint on
//! each node. Tests break one thing at a time.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use portolan_api::ObjectKey;
use portolan_api::annotation::{L2_NODES, POOL, SERVICE_NAME};
use portolan_api::condition::ACCEPTED;
use portolan_api::crd::{
    AnnouncedVip, BfdReport, BgpRule, IPAddressPool, IPAddressPoolSpec, IPAddressPoolStatus,
    InterfaceReport, L2Rule, NeighbourReport, NodeReport, NodeReportStatus, PeerRule, PoolRule,
    RouteKind, SessionReport, SessionState, SpeakerConfig, SpeakerConfigSpec,
};
use portolan_api::view::{
    Endpoint, EndpointSlice, Ingress, LoadBalancerStatus, Node, Service, ServiceSpec, ServiceStatus,
};

use crate::snapshot::{CONTROLLER_LEASE, Lease, Snapshot};
use portolan_api::annotation::ASSIGNED;

/// The Service of the fixture.
pub(crate) fn mk_key() -> ObjectKey {
    ObjectKey::new("demo", "web")
}

pub(crate) fn mk_snapshot() -> Snapshot {
    let alive = |holder: &str| Lease {
        holder: holder.to_owned(),
        fresh: true,
    };
    let leases = [
        (CONTROLLER_LEASE.to_owned(), alive("controller-0")),
        ("portolan-speaker-n1".to_owned(), alive("n1")),
        ("portolan-speaker-n2".to_owned(), alive("n2")),
    ];
    let named = |name: &str| {
        (
            name.to_owned(),
            Node {
                metadata: mk_meta(name),
                ..Node::default()
            },
        )
    };
    Snapshot {
        lb_class: None,
        services: [(mk_key(), mk_service())].into(),
        slices: [(mk_key(), vec![mk_slice()])].into(),
        nodes: [named("n1"), named("n2")].into(),
        pools: [("public".to_owned(), mk_pool())].into(),
        judged: Vec::new(),
        config: Some(mk_config()),
        reports: [
            ("n1".to_owned(), mk_report("n1", &["192.0.2.10"])),
            ("n2".to_owned(), mk_report("n2", &[])),
        ]
        .into(),
        leases: Some(leases.into()),
    }
}

pub(crate) fn mk_condition(kind: &str, holds: bool, reason: &str, message: &str) -> Condition {
    Condition {
        type_: kind.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
        observed_generation: None,
    }
}

fn mk_meta(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    }
}

fn mk_service() -> Service {
    let annotations = [
        (POOL.to_owned(), "public".to_owned()),
        (L2_NODES.to_owned(), "n1,n2".to_owned()),
    ];
    Service {
        metadata: ObjectMeta {
            namespace: Some("demo".to_owned()),
            annotations: Some(annotations.into()),
            ..mk_meta("web")
        },
        spec: ServiceSpec {
            kind: Some("LoadBalancer".to_owned()),
            ..ServiceSpec::default()
        },
        status: ServiceStatus {
            load_balancer: LoadBalancerStatus {
                ingress: vec![Ingress {
                    ip: Some("192.0.2.10".to_owned()),
                    ..Ingress::default()
                }],
            },
            conditions: vec![mk_condition(ASSIGNED, true, "Assigned", "")],
        },
    }
}

fn mk_slice() -> EndpointSlice {
    let on = |node: &str| Endpoint {
        node_name: Some(node.to_owned()),
        ..Endpoint::default()
    };
    EndpointSlice {
        address_type: "IPv4".to_owned(),
        metadata: ObjectMeta {
            namespace: Some("demo".to_owned()),
            labels: Some(BTreeMap::from([(
                SERVICE_NAME.to_owned(),
                "web".to_owned(),
            )])),
            ..mk_meta("web-1")
        },
        endpoints: vec![on("n1"), on("n2")],
    }
}

fn mk_pool() -> IPAddressPool {
    IPAddressPool {
        metadata: mk_meta("public"),
        spec: mk_pool_spec(),
        status: Some(IPAddressPoolStatus {
            assigned_ipv4: 1,
            available_ipv4: 9,
            conditions: vec![mk_condition(ACCEPTED, true, "Accepted", "in force")],
            ..IPAddressPoolStatus::default()
        }),
    }
}

fn mk_pool_spec() -> IPAddressPoolSpec {
    IPAddressPoolSpec {
        addresses: vec!["192.0.2.10-192.0.2.19".to_owned()],
        auto_assign: true,
        ..IPAddressPoolSpec::default()
    }
}

fn mk_config() -> SpeakerConfig {
    SpeakerConfig {
        metadata: ObjectMeta {
            generation: Some(5),
            ..mk_meta("default")
        },
        spec: SpeakerConfigSpec {
            pools: vec![PoolRule {
                name: "public".to_owned(),
                spec: mk_pool_spec(),
            }],
            l2: vec![L2Rule {
                name: "lan".to_owned(),
                pools: vec!["public".to_owned()],
                ..L2Rule::default()
            }],
            bgp: vec![BgpRule {
                name: "routers".to_owned(),
                routes: vec![RouteKind::LoadBalancerIP],
                pools: vec!["public".to_owned()],
                aggregation_length: 32,
                aggregation_length_v6: 128,
                ..BgpRule::default()
            }],
            peers: vec![mk_peer()],
            ..SpeakerConfigSpec::default()
        },
    }
}

fn mk_peer() -> PeerRule {
    PeerRule {
        name: "tor".to_owned(),
        my_asn: 64512,
        peer_asn: Some(64513),
        address: Some([10, 0, 0, 1].into()),
        port: 179,
        hold_time_seconds: 90,
        ..PeerRule::default()
    }
}

/// A node that another one watches by BFD.
pub(crate) fn mk_neighbour(node: &str, state: &str) -> NeighbourReport {
    NeighbourReport {
        node: node.to_owned(),
        interface: "eth0".to_owned(),
        address: "192.0.2.1".to_owned(),
        bfd: BfdReport {
            state: state.to_owned(),
            since: "2026-11-21T11:00:00Z".to_owned(),
            ..BfdReport::default()
        },
    }
}

/// An interface with one address.
pub(crate) fn mk_interface(name: &str, running: bool, address: &str) -> InterfaceReport {
    InterfaceReport {
        name: name.to_owned(),
        mac: "02:00:00:00:00:01".to_owned(),
        running,
        addresses: vec![address.to_owned()],
    }
}

fn mk_report(node: &str, vips: &[&str]) -> NodeReport {
    let answered = vips.iter().map(|vip| AnnouncedVip {
        address: (*vip).to_owned(),
        interfaces: vec!["eth0".to_owned()],
        since: None,
    });
    NodeReport {
        metadata: mk_meta(node),
        status: Some(NodeReportStatus {
            config_generation: 5,
            sessions_summary: "1/1".to_owned(),
            sessions: vec![SessionReport {
                peer: "tor".to_owned(),
                address: "10.0.0.1".to_owned(),
                state: SessionState::Established,
                established_count: 1,
                prefixes: 1,
                ..SessionReport::default()
            }],
            routes: 1,
            l2_vip_count: i64::try_from(vips.len()).unwrap(),
            l2_vips: answered.collect(),
            ..NodeReportStatus::default()
        }),
        ..NodeReport::default()
    }
}
