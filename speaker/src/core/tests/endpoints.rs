//! Who attracts traffic: policies and endpoints.

use super::*;

#[test]
fn policy_and_readiness_decide_who_attracts_traffic() {
    let not_ready = Conditions {
        ready: Some(false),
        serving: Some(false),
        terminating: Some(false),
    };
    let leaving = Conditions {
        ready: Some(false),
        serving: Some(true),
        terminating: Some(true),
    };
    let left = Conditions {
        ready: Some(false),
        serving: Some(false),
        terminating: Some(true),
    };
    let table: &[(&str, TrafficPolicy, Endpoints<'_>, bool)] = &[
        (
            "cluster, ready elsewhere",
            TrafficPolicy::Cluster,
            &[("n2", ready())],
            true,
        ),
        (
            "cluster, ready outside the cluster",
            TrafficPolicy::Cluster,
            &[("", ready())],
            true,
        ),
        ("cluster, none", TrafficPolicy::Cluster, &[], false),
        (
            "cluster, none ready",
            TrafficPolicy::Cluster,
            &[("n2", not_ready.clone())],
            false,
        ),
        (
            "local, ready here",
            TrafficPolicy::Local,
            &[(NODE, ready())],
            true,
        ),
        (
            "local, ready elsewhere",
            TrafficPolicy::Local,
            &[("n2", ready())],
            false,
        ),
        (
            "local, not ready here",
            TrafficPolicy::Local,
            &[(NODE, not_ready)],
            false,
        ),
        (
            "local, terminating but serving here",
            TrafficPolicy::Local,
            &[(NODE, leaving)],
            true,
        ),
        (
            "local, terminating and gone here",
            TrafficPolicy::Local,
            &[(NODE, left)],
            false,
        ),
    ];
    for (row, policy, endpoints, announced) in table {
        let mut model = mk_model();
        model.handle(Event::Service(Change::Apply(mk_service(*policy, NODE))));
        apply_slices(&mut model, "web-1", endpoints);
        let plan = model.plan();
        assert_eq!(!routes(&plan, "v4").is_empty(), *announced, "BGP: {row}");
        assert_eq!(!plan.l2.is_empty(), *announced, "layer 2: {row}");
    }
}

#[test]
fn each_family_needs_endpoints_of_its_own() {
    let mut model = mk_model();
    model.handle(Event::Slice(Change::Apply(mk_slice("web-1-v6", &[]))));
    let plan = model.plan();
    assert_eq!(routes(&plan, "v4"), ["192.0.2.10/32"]);
    assert!(routes(&plan, "v6").is_empty());
    assert_eq!(answered(&plan), [VIP4]);
}

#[test]
fn endpoints_add_up_over_slices_and_go_with_them() {
    let mut model = mk_model();
    model.handle(Event::Service(Change::Apply(mk_service(
        TrafficPolicy::Local,
        NODE,
    ))));
    apply_slices(&mut model, "web-2", &[(NODE, ready())]);
    forget_slices(&mut model, "web-1");
    assert!(!routes(&model.plan(), "v4").is_empty());
    forget_slices(&mut model, "web-2");
    assert!(routes(&model.plan(), "v4").is_empty());
}
