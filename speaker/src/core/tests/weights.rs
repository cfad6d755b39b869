//! Link bandwidth: endpoints counted, and changes of the count told when they are quiet.

use std::time::Duration;

use portolan_api::crd::Bandwidth;

use super::*;

const GBIT: u64 = 125_000_000;

fn mk_weighing(policy: TrafficPolicy) -> Model {
    let mut model = mk_model();
    let mut config = mk_config();
    config.bgp[0].bandwidth = Some(Bandwidth::LocalEndpoints);
    apply_config(&mut model, config);
    model.handle(Event::Service(Change::Apply(mk_service(policy, NODE))));
    model.take_due();
    model
}

fn bandwidth(model: &Model) -> Option<u64> {
    let plan = model.plan();
    told(&plan, "v4").values().next()?.bandwidth
}

#[test]
fn each_ready_endpoint_here_counts_for_policy_local_and_none_for_policy_cluster() {
    let leaving = Conditions {
        ready: Some(false),
        serving: Some(true),
        terminating: Some(true),
    };
    let table: &[(&str, TrafficPolicy, Endpoints<'_>, Option<u64>)] = &[
        ("one", TrafficPolicy::Local, &[(NODE, ready())], Some(GBIT)),
        (
            "three here and one elsewhere",
            TrafficPolicy::Local,
            &[
                (NODE, ready()),
                (NODE, ready()),
                ("n2", ready()),
                (NODE, ready()),
            ],
            Some(3 * GBIT),
        ),
        (
            "one of two is leaving",
            TrafficPolicy::Local,
            &[(NODE, ready()), (NODE, leaving.clone())],
            Some(GBIT),
        ),
        (
            "all are leaving and still serve",
            TrafficPolicy::Local,
            &[(NODE, leaving.clone()), (NODE, leaving)],
            Some(GBIT),
        ),
        (
            "policy Cluster",
            TrafficPolicy::Cluster,
            &[(NODE, ready()), (NODE, ready())],
            None,
        ),
    ];
    for (row, policy, endpoints, want) in table {
        let mut model = mk_weighing(*policy);
        apply_slices(&mut model, "web-1", endpoints);
        assert_eq!(bandwidth(&model), *want, "{row}");
    }
}

#[test]
fn an_aggregate_weighs_what_its_services_weigh_however_many_rules_announce_it() {
    let mut model = mk_weighing(TrafficPolicy::Local);
    let mut config = mk_config();
    config.bgp[0].bandwidth = Some(Bandwidth::LocalEndpoints);
    config.bgp[0].aggregation_length = 24;
    config.bgp.push(config.bgp[0].clone());
    apply_config(&mut model, config);
    let mut other = mk_service(TrafficPolicy::Local, NODE);
    other.metadata.name = Some("other".into());
    other.status.load_balancer.ingress[0].ip = Some("192.0.2.77".into());
    model.handle(Event::Service(Change::Apply(other)));
    let mut slice = mk_slice("other-1", &[(NODE, ready()), (NODE, ready())]);
    let owner = portolan_api::annotation::SERVICE_NAME.to_owned();
    slice.metadata.labels = Some([(owner, "other".to_owned())].into());
    model.handle(Event::Slice(Change::Apply(slice)));
    assert_eq!(bandwidth(&model), Some(3 * GBIT));
}

#[test]
fn a_change_of_weight_waits_for_a_quiet_second_unless_it_is_from_or_to_none() {
    let start = tokio::time::Instant::now().into_std();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let many = |count: usize| vec![(NODE, ready()); count];
    let mut model = mk_weighing(TrafficPolicy::Local);
    model.advance(at(0));
    apply_slices(&mut model, "web-1", &many(3));
    assert_eq!(model.take_due(), Due::Nothing, "not yet");
    assert_eq!(bandwidth(&model), Some(GBIT));
    model.advance(at(900));
    apply_slices(&mut model, "web-1", &many(4));
    model.advance(at(1800));
    assert_eq!(
        model.take_due(),
        Due::Nothing,
        "it was not quiet for a second"
    );
    assert_eq!(model.next_deadline(), Some(at(1900)));
    model.advance(at(1900));
    assert!(matches!(model.take_due(), Due::Vips(_)));
    assert_eq!(bandwidth(&model), Some(4 * GBIT));
    assert_eq!(model.next_deadline(), None);
    // Back to what was told: nothing to tell.
    apply_slices(&mut model, "web-1", &many(2));
    apply_slices(&mut model, "web-1", &many(4));
    model.advance(at(9000));
    assert_eq!(model.take_due(), Due::Nothing);
    // To none and from none at once.
    apply_slices(&mut model, "web-1", &[]);
    assert!(matches!(model.take_due(), Due::Vips(_)));
    assert_eq!(bandwidth(&model), None);
    apply_slices(&mut model, "web-1", &many(5));
    assert!(matches!(model.take_due(), Due::Vips(_)));
    assert_eq!(bandwidth(&model), Some(5 * GBIT));
}

#[test]
fn where_nobody_asks_for_weights_a_count_is_no_news() {
    let mut model = mk_model();
    model.handle(Event::Service(Change::Apply(mk_service(
        TrafficPolicy::Local,
        NODE,
    ))));
    model.take_due();
    apply_slices(&mut model, "web-1", &[(NODE, ready()), (NODE, ready())]);
    assert_eq!(model.take_due(), Due::Nothing);
}
