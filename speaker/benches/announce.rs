//! The speaker's way from an event to bytes for a router, with 5000 VIPs and three peers: the part of the budgets of
//! design section 9 that is ours alone, without API server and sockets.

#![allow(
    missing_docs,
    reason = "criterion's macros make undocumented functions"
)]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{Criterion, criterion_group, criterion_main};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portolan_api::crd::{
    BgpRule, IPAddressPoolSpec, PeerRule, PoolRule, RouteKind, SpeakerConfig, SpeakerConfigSpec,
};
use portolan_api::view::{Conditions, Endpoint, EndpointSlice, Ingress, Node, Service};
use portolan_daemon::watch::Change;
use portolan_proto::bgp::{AdjOut, Asn, Export, Families, Family, NextHops, Relation, Rib};
use portolan_speaker::core::{Due, Event, Model, Plan};

const VIPS: u32 = 5000;
const PEERS: [&str; 3] = ["a", "b", "c"];
/// More than all messages of a full table.
const ROOM: usize = 1 << 20;

fn mk_meta(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some("default".to_owned()),
        ..ObjectMeta::default()
    }
}

fn mk_vip(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a40_0000 + number).into()
}

fn mk_peer(name: &str) -> PeerRule {
    PeerRule {
        name: name.to_owned(),
        my_asn: 65000,
        peer_asn: Some(65001),
        address: Some(Ipv4Addr::new(172, 30, 0, 1).into()),
        port: 179,
        hold_time_seconds: 90,
        ..PeerRule::default()
    }
}

fn mk_config() -> SpeakerConfig {
    let pool = IPAddressPoolSpec {
        addresses: vec!["10.64.0.0/14".to_owned()],
        ..IPAddressPoolSpec::default()
    };
    let spec = SpeakerConfigSpec {
        pools: vec![PoolRule {
            name: "pool".to_owned(),
            spec: pool,
        }],
        bgp: vec![BgpRule {
            name: "bgp".to_owned(),
            routes: vec![RouteKind::LoadBalancerIP],
            pools: vec!["pool".to_owned()],
            aggregation_length: 32,
            aggregation_length_v6: 128,
            ..BgpRule::default()
        }],
        peers: PEERS.map(mk_peer).to_vec(),
        ..SpeakerConfigSpec::default()
    };
    SpeakerConfig {
        metadata: mk_meta("default"),
        spec,
    }
}

fn mk_service(number: u32, vip: IpAddr) -> Service {
    let mut service = Service {
        metadata: mk_meta(&format!("service-{number}")),
        ..Service::default()
    };
    service.spec.kind = Some("LoadBalancer".to_owned());
    service.status.load_balancer.ingress = vec![Ingress {
        ip: Some(vip.to_string()),
        ..Ingress::default()
    }];
    service
}

fn mk_slice(number: u32) -> EndpointSlice {
    let name = format!("service-{number}");
    let mut metadata = mk_meta(&name);
    let owner = portolan_api::annotation::SERVICE_NAME.to_owned();
    metadata.labels = Some([(owner, name)].into());
    EndpointSlice {
        address_type: "IPv4".to_owned(),
        metadata,
        endpoints: vec![Endpoint {
            conditions: Conditions::default(),
            node_name: Some("node".to_owned()),
        }],
    }
}

fn mk_model() -> Model {
    let mut model = Model::new("node".to_owned(), "portolan-system".to_owned(), None);
    model.handle(Event::Config(Change::Apply(mk_config())));
    model.handle(Event::Node(Change::Apply(Node {
        metadata: mk_meta("node"),
        ..Node::default()
    })));
    for number in 0..VIPS {
        let service = mk_service(number, mk_vip(number));
        model.handle(Event::Service(Change::Apply(service)));
        model.handle(Event::Slice(Change::Apply(mk_slice(number))));
    }
    for synced in [
        Event::Service(Change::Synced),
        Event::Slice(Change::Synced),
        Event::Config(Change::Synced),
        Event::Node(Change::Synced),
    ] {
        model.handle(synced);
    }
    assert_eq!(model.take_due(), Due::Everything, "a first plan");
    model
}

fn mk_rib(plan: &Plan) -> Rib {
    let mut rib = Rib::default();
    rib.replace(&plan.routes);
    rib.set_synced();
    rib
}

fn mk_adj_out() -> Option<AdjOut> {
    let export = Export {
        relation: Relation::External,
        local_as: Asn::new(65000).ok()?,
        as4: true,
        next_hops: NextHops::from(IpAddr::from(Ipv4Addr::new(172, 30, 0, 11))),
        extended_next_hop: false,
        only_to_customer: false,
    };
    Some(AdjOut::new(export, Families::only(Family::V4Unicast)))
}

/// One Service among 5000 gets another address: model, plan, the rib, and messages for each of three peers.
fn one_change(c: &mut Criterion) {
    let mut model = mk_model();
    let mut plan = model.plan();
    let mut rib = mk_rib(&plan);
    let mut sessions = PEERS.map(|peer| (peer, mk_adj_out()));
    let mut out = Vec::new();
    let mut round = 0;
    c.bench_function("one of 5000 Services changes: event to messages", |b| {
        b.iter(|| {
            round += 1;
            let vip = mk_vip(VIPS + round % 2);
            model.handle(Event::Service(Change::Apply(mk_service(7, vip))));
            let Due::Vips(vips) = model.take_due() else {
                unreachable!("a Service concerns its addresses only")
            };
            let difference = model.replan(&vips, &mut plan);
            assert_eq!(difference.routes.len(), 2, "one goes, one comes");
            for (prefix, audience) in &difference.routes {
                rib.set(*prefix, audience.as_ref());
            }
            for (peer, adj_out) in &mut sessions {
                out.clear();
                if let Some(adj_out) = adj_out {
                    black_box(adj_out.pull(rib.follower(peer), ROOM, &mut out));
                }
            }
        });
    });
}

/// What a change of the configuration costs.
fn everything(c: &mut Criterion) {
    let model = mk_model();
    let plan = model.plan();
    let mut rib = mk_rib(&plan);
    c.bench_function("5000 VIPs: a complete plan for three peers", |b| {
        b.iter(|| black_box(model.plan()));
    });
    c.bench_function("5000 VIPs: an equal plan changes nothing in a rib", |b| {
        b.iter(|| assert_eq!(rib.replace(&plan.routes), 0));
    });
    c.bench_function("5000 VIPs: all messages for a new session", |b| {
        let mut out = Vec::new();
        b.iter(|| {
            out.clear();
            let pulled =
                mk_adj_out().map(|mut adj_out| adj_out.pull(rib.follower("a"), ROOM, &mut out));
            assert_eq!(pulled.map(|pulled| pulled.messages), Some(8), "packed");
        });
    });
}

criterion_group!(benches, one_change, everything);
criterion_main!(benches);
