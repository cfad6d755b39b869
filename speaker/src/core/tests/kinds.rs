//! Kinds of routes beside addresses of type LoadBalancer.

use super::*;

const EXTERNAL: &str = "198.51.100.7";
const CLUSTER: &str = "10.96.0.9";

/// A Service of any type, with an endpoint on this node or elsewhere.
fn mk_other(name: &str, kind: &str) -> Service {
    let mut service = Service {
        metadata: mk_meta("default", name),
        ..Service::default()
    };
    service.spec.kind = Some(kind.into());
    service.spec.external_ips = vec![EXTERNAL.into(), "2001:db8:e::7".into(), "not one".into()];
    service.spec.cluster_ips = vec![CLUSTER.into(), "fd00:96::9".into()];
    service
}

/// A model whose only rule announces these kinds, with nothing but the Node.
fn mk_announcing(kinds: &[RouteKind]) -> Model {
    let mut model = mk_model();
    let mut config = mk_config();
    config.bgp = vec![mk_bgp("rule", kinds)];
    apply_config(&mut model, config);
    let web = ("default".to_owned(), "web".to_owned());
    model.handle(Event::Service(Change::Delete(web)));
    model.take_due();
    model
}

/// The Service of these tests has the endpoints of `web`.
fn tell(model: &mut Model, service: Service) {
    let generation = model.others_wanted().expect("a rule asks for it");
    model.handle(Event::OtherService(generation, Change::Apply(service)));
}

#[test]
fn each_kind_of_address_is_announced_alone_and_only_if_a_rule_asks_for_it() {
    use RouteKind::{ClusterIP, ClusterIPRange, ExternalIP, LoadBalancerIP};
    for (kinds, v4, v6) in [
        (
            vec![ExternalIP],
            vec!["198.51.100.7/32"],
            vec!["2001:db8:e::7/128"],
        ),
        (
            vec![ClusterIP],
            vec!["10.96.0.9/32"],
            vec!["fd00:96::9/128"],
        ),
        (
            vec![ClusterIP, ExternalIP],
            vec!["10.96.0.9/32", "198.51.100.7/32"],
            vec!["2001:db8:e::7/128", "fd00:96::9/128"],
        ),
        (
            vec![ClusterIPRange],
            vec!["10.96.0.0/12"],
            vec!["fd00:96::/112"],
        ),
        (vec![LoadBalancerIP], vec![], vec![]),
    ] {
        let mut model = mk_announcing(&kinds);
        let asked = kinds != [LoadBalancerIP];
        assert_eq!(model.others_wanted().is_some(), asked, "{kinds:?}");
        if asked {
            tell(&mut model, mk_other("web", "ClusterIP"));
        }
        let plan = model.plan();
        assert_eq!(routes(&plan, "v4"), v4, "{kinds:?}");
        assert_eq!(routes(&plan, "v6"), v6, "{kinds:?}");
    }
}

#[test]
fn services_of_type_load_balancer_have_other_addresses_too_whatever_their_class() {
    let mut model = mk_announcing(&[RouteKind::ExternalIP, RouteKind::ClusterIP]);
    let mut service = mk_other("web", "LoadBalancer");
    service.spec.load_balancer_class = Some("somebody.else".into());
    service.status.load_balancer.ingress = vec![Ingress {
        ip: Some(VIP4.into()),
        ..Ingress::default()
    }];
    model.handle(Event::Service(Change::Apply(service)));
    assert_eq!(
        routes(&model.plan(), "v4"),
        ["10.96.0.9/32", "198.51.100.7/32"]
    );
}

#[test]
fn policies_decide_which_nodes_announce_single_addresses() {
    use TrafficPolicy::{Cluster, Local};
    // Endpoints elsewhere: (external, internal) policy, whether the external IP and the ClusterIP are announced.
    for (external, internal, want) in [
        (Cluster, Cluster, vec!["10.96.0.9/32", "198.51.100.7/32"]),
        (Cluster, Local, vec!["198.51.100.7/32"]),
        (Local, Cluster, vec![]),
        (Local, Local, vec![]),
    ] {
        let mut model = mk_announcing(&[RouteKind::ExternalIP, RouteKind::ClusterIP]);
        let mut service = mk_other("web", "ClusterIP");
        service.spec.external_traffic_policy = external;
        service.spec.internal_traffic_policy = internal;
        tell(&mut model, service);
        apply_slices(&mut model, "web-1", &[("n2", ready())]);
        assert_eq!(
            routes(&model.plan(), "v4"),
            want,
            "{external:?} {internal:?}"
        );
        apply_slices(&mut model, "web-1", &[(NODE, ready())]);
        assert_eq!(
            routes(&model.plan(), "v4").len(),
            2,
            "{external:?} {internal:?}"
        );
        apply_slices(&mut model, "web-1", &[]);
        assert!(
            routes(&model.plan(), "v4").is_empty(),
            "{external:?} {internal:?}"
        );
    }
}

#[test]
fn in_an_announced_range_a_policy_local_gets_a_route_from_nodes_with_endpoints() {
    use TrafficPolicy::{Cluster, Local};
    for (external, internal, alone) in [
        (Cluster, Cluster, false),
        (Cluster, Local, true),
        (Local, Cluster, true),
    ] {
        let mut model = mk_announcing(&[RouteKind::ClusterIPRange]);
        let mut service = mk_other("web", "ClusterIP");
        service.spec.external_traffic_policy = external;
        service.spec.internal_traffic_policy = internal;
        tell(&mut model, service);
        let mut want = vec!["10.96.0.0/12"];
        if alone {
            want.push("10.96.0.9/32");
        }
        assert_eq!(
            routes(&model.plan(), "v4"),
            want,
            "{external:?} {internal:?}"
        );
        apply_slices(&mut model, "web-1", &[("n2", ready())]);
        assert_eq!(routes(&model.plan(), "v4"), ["10.96.0.0/12"], "elsewhere");
    }
}

#[test]
fn selectors_choose_services_by_label_for_single_addresses() {
    let mut model = mk_announcing(&[]);
    let mut config = mk_config();
    let mut rule = mk_bgp("gold", &[RouteKind::ExternalIP, RouteKind::ClusterIP]);
    rule.service_selectors = vec![LabelSelector {
        match_labels: [("tier".to_owned(), "gold".to_owned())].into(),
        ..LabelSelector::default()
    }];
    config.bgp = vec![rule];
    apply_config(&mut model, config);
    tell(&mut model, mk_other("web", "ClusterIP"));
    assert!(routes(&model.plan(), "v4").is_empty());
    let mut gold = mk_other("web", "ClusterIP");
    gold.metadata.labels = Some([("tier".to_owned(), "gold".to_owned())].into());
    tell(&mut model, gold);
    assert_eq!(routes(&model.plan(), "v4").len(), 2);
}

#[test]
fn addresses_of_the_node_and_of_its_peers_are_left_out_and_named() {
    let mut model = mk_announcing(&[RouteKind::ExternalIP]);
    let mut service = mk_other("web", "ClusterIP");
    service.spec.external_ips = vec!["10.0.0.11".into(), "10.0.0.1".into(), EXTERNAL.into()];
    tell(&mut model, service);
    assert_eq!(routes(&model.plan(), "v4"), ["198.51.100.7/32"]);
    let words = model.problems();
    assert!(
        words.len() == 2 && words.iter().any(|w| w.contains("10.0.0.11")),
        "{words:?}"
    );
}

#[test]
fn the_address_of_a_peer_of_other_nodes_is_announced_and_not_complained_of() {
    let mut config = mk_config();
    config.bgp[0].routes = vec![RouteKind::ExternalIP];
    config.peers.push(PeerRule {
        node_selectors: vec![LabelSelector {
            match_labels: [("zone".to_owned(), "b".to_owned())].into(),
            ..LabelSelector::default()
        }],
        ..mk_peer("elsewhere", EXTERNAL)
    });
    let mut model = mk_announcing(&[RouteKind::ExternalIP]);
    apply_config(&mut model, config);
    let mut service = mk_other("web", "ClusterIP");
    service.spec.external_ips = vec![EXTERNAL.into()];
    tell(&mut model, service);
    assert_eq!(routes(&model.plan(), "v4"), ["198.51.100.7/32"]);
    assert_eq!(model.problems(), [""; 0]);
}

#[test]
fn pod_ranges_of_the_own_node_go_out_without_any_service() {
    let mut model = mk_announcing(&[RouteKind::PodCIDR]);
    assert!(routes(&model.plan(), "v4").is_empty());
    let mut node = mk_node();
    node.spec.pod_cidrs = vec!["10.244.1.0/24".into(), "fd00:244:1::/64".into(), "?".into()];
    model.handle(Event::Node(Change::Apply(node)));
    assert_eq!(model.take_due(), Due::Everything);
    let plan = model.plan();
    assert_eq!(routes(&plan, "v4"), ["10.244.1.0/24"]);
    assert_eq!(routes(&plan, "v6"), ["fd00:244:1::/64"]);
    assert!(
        plan.attracted.is_empty(),
        "the CNI answers for its own range"
    );
}

#[test]
fn whoever_starts_waits_for_services_that_a_rule_asks_for_and_whoever_runs_goes_on() {
    let mut model = Model::new(NODE.into(), "portolan-system".into(), None);
    let mut config = mk_config();
    config.bgp.push(mk_bgp("single", &[RouteKind::ClusterIP]));
    apply_config(&mut model, config.clone());
    model.handle(Event::Node(Change::Apply(mk_node())));
    for event in [
        Event::Service(Change::Synced),
        Event::Slice(Change::Synced),
        Event::Config(Change::Synced),
        Event::Node(Change::Synced),
    ] {
        model.handle(event);
    }
    assert_eq!(model.take_due(), Due::Nothing);
    let generation = model.others_wanted().unwrap();
    model.handle(Event::OtherService(generation, Change::Synced));
    assert_eq!(model.take_due(), Due::Everything);

    let mut running = mk_model();
    running.take_due();
    apply_config(&mut running, config);
    assert!(running.waiting_for().is_empty());
    assert_eq!(running.take_due(), Due::Everything);
}

#[test]
fn another_rule_makes_a_new_watch_and_what_it_does_not_confirm_goes() {
    let mut model = mk_announcing(&[RouteKind::ClusterIP]);
    let first = model.others_wanted().unwrap();
    tell(&mut model, mk_other("web", "ClusterIP"));
    let mut config = mk_config();
    config.bgp = vec![mk_bgp(
        "rule",
        &[RouteKind::ClusterIP, RouteKind::ExternalIP],
    )];
    apply_config(&mut model, config.clone());
    let second = model.others_wanted().unwrap();
    assert_ne!(first, second);
    let announced = |model: &Model| routes(&model.plan(), "v4").len();
    assert_eq!(
        announced(&model),
        2,
        "what is known goes on being announced"
    );
    // The first watch is void.
    let key = || ("default".to_owned(), "web".to_owned());
    model.handle(Event::OtherService(first, Change::Delete(key())));
    model.handle(Event::OtherService(first, Change::Synced));
    assert_eq!(announced(&model), 2);
    model.handle(Event::OtherService(second, Change::Synced));
    assert_eq!(announced(&model), 0);
    config.bgp = vec![mk_bgp("rule", &[RouteKind::LoadBalancerIP])];
    apply_config(&mut model, config);
    assert_eq!(model.others_wanted(), None);
}

#[test]
fn a_service_that_becomes_a_load_balancer_keeps_its_route_whichever_watch_is_faster() {
    for deleted_first in [true, false] {
        let mut model = mk_announcing(&[RouteKind::ClusterIP]);
        let generation = model.others_wanted().unwrap();
        tell(&mut model, mk_other("web", "ClusterIP"));
        let key = ("default".to_owned(), "web".to_owned());
        let mut events = vec![
            Event::OtherService(generation, Change::Delete(key)),
            Event::Service(Change::Apply(mk_other("web", "LoadBalancer"))),
        ];
        if !deleted_first {
            events.reverse();
        }
        for event in events {
            model.handle(event);
        }
        assert_eq!(
            routes(&model.plan(), "v4"),
            ["10.96.0.9/32"],
            "{deleted_first}"
        );
    }
}

#[test]
fn announced_aggregates_and_ranges_attract_more_than_is_used_and_single_addresses_do_not() {
    let mut model = mk_model();
    let mut config = mk_config();
    let mut wide = mk_bgp("wide", &[RouteKind::LoadBalancerIP]);
    wide.aggregation_length = 24;
    config.bgp = vec![
        wide,
        mk_bgp("host", &[RouteKind::LoadBalancerIP]),
        mk_bgp("ranges", &[RouteKind::ClusterIPRange]),
    ];
    apply_config(&mut model, config);
    let attracted =
        |plan: &Plan| -> Vec<String> { plan.attracted.iter().map(IpNetwork::to_string).collect() };
    let mut plan = model.plan();
    assert_eq!(
        attracted(&plan),
        ["10.96.0.0/12", "192.0.2.0/24", "fd00:96::/112"]
    );
    model.take_due();
    forget_slices(&mut model, "web-1");
    let Due::Vips(vips) = model.take_due() else {
        panic!("one Service does not concern everything")
    };
    assert!(model.replan(&vips, &mut plan).attracted);
    assert_eq!(attracted(&plan), ["10.96.0.0/12", "fd00:96::/112"]);
    assert_eq!(plan.attracted, model.plan().attracted);
}
