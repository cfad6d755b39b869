//! A node that is about to go is the last resort, and never withdraws by itself.

use portolan_api::annotation::DRAIN;
use portolan_api::view::Taint;

use super::*;

fn mk_marked(mark: impl FnOnce(&mut Node)) -> Node {
    let mut node = mk_node();
    mark(&mut node);
    node
}

fn attrs(model: &Model) -> RouteAttrs {
    told(&model.plan(), "v4")[&"192.0.2.10/32".parse().unwrap()].clone()
}

#[test]
fn a_node_drains_when_it_is_cordoned_marked_or_about_to_be_removed() {
    type Mark = fn(&mut Node);
    let table: [(&str, Mark, Option<&str>); 8] = [
        ("nothing", |_| {}, None),
        (
            "cordon",
            |n| n.spec.unschedulable = true,
            Some("unschedulable"),
        ),
        (
            "a label",
            |n| {
                n.metadata.labels = Some([(DRAIN.into(), String::new())].into());
            },
            Some(DRAIN),
        ),
        (
            "an annotation",
            |n| {
                n.metadata.annotations = Some([(DRAIN.into(), "true".into())].into());
            },
            Some(DRAIN),
        ),
        (
            "an annotation that says no",
            |n| {
                n.metadata.annotations = Some([(DRAIN.into(), "false".into())].into());
            },
            None,
        ),
        (
            "the cluster autoscaler",
            |n| n.spec.taints = mk_taint("ToBeDeletedByClusterAutoscaler"),
            Some("ToBeDeletedByClusterAutoscaler"),
        ),
        (
            "Karpenter",
            |n| n.spec.taints = mk_taint("karpenter.sh/disrupted"),
            Some("karpenter.sh/disrupted"),
        ),
        ("another taint", |n| n.spec.taints = mk_taint("gpu"), None),
    ];
    for (row, mark, reason) in table {
        let mut model = mk_model();
        model.take_due();
        model.handle(Event::Node(Change::Apply(mk_marked(mark))));
        let plan = model.plan();
        assert_eq!(plan.draining, reason, "{row}");
        assert!(plan.excluded.is_none(), "{row}");
        let shut = attrs(&model)
            .communities
            .iter()
            .any(|c| c.to_string() == "65535:0");
        assert_eq!(shut, reason.is_some(), "{row}");
    }
}

fn mk_taint(key: &str) -> Vec<Taint> {
    vec![Taint {
        key: key.to_owned(),
    }]
}

#[test]
fn a_draining_node_announces_the_same_prefixes_as_a_last_resort() {
    let mut model = mk_model();
    let mut config = mk_config();
    config.bgp[0].local_pref = Some(300);
    config.bgp[0].as_path_prepend = 2;
    config.bgp[0].communities.standard = vec![7];
    config.bgp[0].drain.standard = vec![8];
    config.bgp[0].drain.large = vec![[1, 2, 3]];
    apply_config(&mut model, config);
    model.take_due();
    let before = attrs(&model);
    assert_eq!((before.prepend, before.local_pref), (2, Some(300)));
    model.handle(Event::Node(Change::Apply(mk_marked(|n| {
        n.spec.unschedulable = true;
    }))));
    assert_eq!(model.take_due(), Due::Everything);
    let after = attrs(&model);
    assert_eq!((after.prepend, after.local_pref), (3, Some(0)));
    assert_eq!(after.communities.len(), 3, "{after:?}");
    assert_eq!(after.large.len(), 1);
    assert_eq!(
        answered(&model.plan()),
        [VIP4, VIP6],
        "layer 2 moves by placement"
    );
    // And back.
    model.handle(Event::Node(Change::Apply(mk_node())));
    assert_eq!(attrs(&model), before);
}

#[test]
fn a_change_of_one_service_is_told_as_a_last_resort_too() {
    let mut model = mk_model();
    model.handle(Event::Node(Change::Apply(mk_marked(|n| {
        n.spec.unschedulable = true;
    }))));
    model.take_due();
    let mut plan = model.plan();
    forget_slices(&mut model, "web-1");
    let Due::Vips(vips) = model.take_due() else {
        panic!("one Service does not concern everything")
    };
    let _ = model.replan(&vips, &mut plan);
    assert!(routes(&plan, "v4").is_empty());
    apply_slices(&mut model, "web-1", &[(NODE, ready())]);
    let _ = model.replan(&vips, &mut plan);
    assert_eq!(plan.routes, model.plan().routes);
    assert_eq!(told(&plan, "v4").values().next().unwrap().prepend, 1);
}
