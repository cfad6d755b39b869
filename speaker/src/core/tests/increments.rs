//! A plan that is brought up to date is the plan made anew.

use portolan_api::crd::Bandwidth;
use proptest::prelude::*;

use super::*;

/// A few Services that share addresses and aggregates, or move between them.
#[derive(Clone, Debug)]
enum Step {
    Service(u8, Vec<u8>, bool, bool, bool),
    Gone(u8),
    Slice(u8, bool, bool),
    NoSlice(u8),
}

fn any_step() -> impl Strategy<Value = Step> {
    let service = 0_u8..4;
    let vips = proptest::collection::vec(0_u8..6, 0..3);
    prop_oneof![
        4 => (service.clone(), vips, any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(name, vips, local, gold, answers)| Step::Service(name, vips, local, gold, answers)),
        1 => service.clone().prop_map(Step::Gone),
        4 => (service.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(name, here, ready)| Step::Slice(name, here, ready)),
        1 => service.prop_map(Step::NoSlice),
    ]
}

fn mk_event(step: &Step) -> Event {
    let named = |number: &u8| format!("service-{number}");
    let key = |number: &u8| ("default".to_owned(), named(number));
    match step {
        Step::Service(number, vips, local, gold, answers) => {
            let policy = if *local {
                TrafficPolicy::Local
            } else {
                TrafficPolicy::Cluster
            };
            let mut service = mk_service(policy, if *answers { NODE } else { "n2" });
            service.metadata.name = Some(named(number));
            service.metadata.labels = gold.then(|| [("tier".to_owned(), "gold".to_owned())].into());
            let entry = |vip: &u8| Ingress {
                ip: Some(format!("192.0.2.{vip}")),
                ..Ingress::default()
            };
            service.status.load_balancer.ingress = vips.iter().map(entry).collect();
            // Some share an external IP, and some have one inside of the pool.
            let external = |vip: &u8| format!("192.0.2.{}", vip + 4);
            service.spec.external_ips = vips.iter().map(external).collect();
            service.spec.cluster_ips = vec![format!("10.96.0.{number}")];
            Event::Service(Change::Apply(service))
        }
        Step::Gone(number) => Event::Service(Change::Delete(key(number))),
        Step::Slice(number, here, is_ready) => {
            let mut conditions = ready();
            conditions.ready = Some(*is_ready);
            let node = if *here { NODE } else { "n2" };
            let mut slice = mk_slice(&named(number), &[(node, conditions)]);
            let labels = slice.metadata.labels.get_or_insert_default();
            labels.insert(
                portolan_api::annotation::SERVICE_NAME.to_owned(),
                named(number),
            );
            Event::Slice(Change::Apply(slice))
        }
        Step::NoSlice(number) => Event::Slice(Change::Delete(key(number))),
    }
}

proptest! {
    #[test]
    fn a_plan_brought_up_to_date_is_the_plan_made_anew(steps in proptest::collection::vec(any_step(), 1..40)) {
        let mut model = mk_model();
        let mut config = mk_config();
        let wide = BgpRule { aggregation_length: 30, communities: Communities { standard: vec![7], ..Communities::default() }, ..config.bgp[0].clone() };
        let gold = BgpRule {
            service_selectors: vec![LabelSelector {
                match_labels: [("tier".to_owned(), "gold".to_owned())].into(),
                ..LabelSelector::default()
            }],
            local_pref: Some(200),
            ..wide.clone()
        };
        let bandwidth = Some(Bandwidth::LocalEndpoints);
        let kinds = [RouteKind::ExternalIP, RouteKind::ClusterIP, RouteKind::ClusterIPRange];
        let others = BgpRule { bandwidth, ..mk_bgp("others", &kinds) };
        config.bgp.extend([wide, gold, others]);
        apply_config(&mut model, config);
        model.take_due();
        let mut plan = model.plan();
        for step in steps {
            model.handle(mk_event(&step));
            let before = plan.routes.clone();
            match model.take_due() {
                Due::Nothing => {}
                Due::Vips(vips) => {
                    let difference = model.replan(&vips, &mut plan);
                    let mut told = before;
                    for (prefix, audience) in difference.routes {
                        match audience {
                            Some(audience) => told.insert(prefix, audience),
                            None => told.remove(&prefix),
                        };
                    }
                    prop_assert_eq!(&told, &plan.routes, "what is told leads to the plan");
                }
                Due::Everything => prop_assert!(false, "a Service does not concern everything"),
            }
            let anew = model.plan();
            prop_assert_eq!(&plan.routes, &anew.routes, "after {:?}", &step);
            prop_assert_eq!(&plan.l2, &anew.l2, "after {:?}", &step);
            prop_assert_eq!(&plan.attracted, &anew.attracted, "after {:?}", &step);
        }
    }
}
