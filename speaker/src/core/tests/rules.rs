//! What rules select, and what several of them make together.

use super::*;

#[test]
fn cluster_ranges_go_out_from_every_eligible_node_without_any_service() {
    let mut model = mk_model();
    let mut config = mk_config();
    config.bgp = vec![mk_bgp("ranges", &[RouteKind::ClusterIPRange])];
    apply_config(&mut model, config);
    let plan = model.plan();
    assert_eq!(routes(&plan, "v4"), ["10.96.0.0/12"]);
    assert_eq!(routes(&plan, "v6"), ["fd00:96::/112"]);
}

#[test]
fn rules_peers_and_advertisements_select_nodes_services_pools_and_peers() {
    let on = |zone: &str| LabelSelector {
        match_labels: [("zone".to_owned(), zone.to_owned())].into(),
        ..LabelSelector::default()
    };
    let table: Vec<(&str, Edit, usize, usize)> = vec![
        (
            "rule on our zone",
            Box::new(move |c| c.bgp[0].node_selectors = vec![on("a")]),
            1,
            1,
        ),
        (
            "rule on another zone",
            Box::new(move |c| c.bgp[0].node_selectors = vec![on("b")]),
            0,
            0,
        ),
        (
            "services with a label",
            Box::new(move |c| c.bgp[0].service_selectors = vec![on("a")]),
            0,
            0,
        ),
        (
            "another pool",
            Box::new(|c| c.bgp[0].pools = vec!["other".into()]),
            0,
            0,
        ),
        (
            "one peer only",
            Box::new(|c| c.bgp[0].peers = vec!["v6".into()]),
            0,
            1,
        ),
        (
            "peer of another zone",
            Box::new(move |c| c.peers[0].node_selectors = vec![on("b")]),
            0,
            1,
        ),
    ];
    for (row, edit, v4, v6) in table {
        let mut model = mk_model();
        let mut config = mk_config();
        edit(&mut config);
        apply_config(&mut model, config);
        let plan = model.plan();
        assert_eq!(
            (routes(&plan, "v4").len(), routes(&plan, "v6").len()),
            (v4, v6),
            "{row}"
        );
    }
}

#[test]
fn several_rules_for_one_prefix_add_their_communities_and_aggregates_stand_beside_hosts() {
    let mut model = mk_model();
    let mut config = mk_config();
    config.bgp[0].communities.standard = vec![1];
    let mut second = mk_bgp("second", &[RouteKind::LoadBalancerIP]);
    second.communities.standard = vec![2];
    second.communities.large = vec![[1, 2, 3]];
    second.local_pref = Some(200);
    let mut wide = mk_bgp("wide", &[RouteKind::LoadBalancerIP]);
    wide.aggregation_length = 24;
    config.bgp.extend([second, wide]);
    apply_config(&mut model, config);
    let plan = model.plan();
    assert_eq!(routes(&plan, "v4"), ["192.0.2.0/24", "192.0.2.10/32"]);
    let attrs = &told(&plan, "v4")[&"192.0.2.10/32".parse().unwrap()];
    assert_eq!(
        (attrs.communities.len(), attrs.large.len(), attrs.local_pref),
        (2, 1, Some(200))
    );
}
