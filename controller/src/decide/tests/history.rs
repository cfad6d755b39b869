//! Random histories.

use proptest::prelude::*;

use super::*;

/// What happens to one of six Services.
#[derive(Debug, Clone)]
enum Step {
    Create(u8),
    Delete(u8),
    Exact(u8, u8),
    Leave(u8),
    Settle,
    Restart,
    Pool(u8),
    LosePatches,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u8..6).prop_map(Step::Create),
        2 => (0_u8..6).prop_map(Step::Delete),
        2 => (0_u8..6, 0_u8..6).prop_map(|(id, last)| Step::Exact(id, last)),
        1 => (0_u8..6).prop_map(Step::Leave),
        4 => Just(Step::Settle),
        1 => Just(Step::Restart),
        1 => (0_u8..3).prop_map(Step::Pool),
        1 => Just(Step::LosePatches),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn no_history_shows_one_address_twice_and_holders_keep_theirs(steps in prop::collection::vec(any_step(), 0..60)) {
        let mut world = mk_world(&[("p", "10.0.0.0/30")]);
        for step in steps {
            let before: BTreeMap<ObjectKey, Vec<IpAddr>> =
                world.services.iter().map(|(key, s)| (key.clone(), s.vips())).collect();
            let name = |id: u8| format!("s{id}");
            let harmless = matches!(step, Step::Create(_) | Step::Settle | Step::Restart | Step::LosePatches);
            let mut settles = true;
            match step {
                Step::Create(id) => {
                    settles = false;
                    if !world.services.contains_key(&mk_key(&name(id))) {
                        world.create(&name(id));
                    }
                }
                Step::Delete(id) => world.delete(&name(id)),
                Step::Exact(id, last) => world.edit(&name(id), |s| annotate(s, LOAD_BALANCER_IPS, &format!("10.0.0.{last}"))),
                Step::Leave(id) => world.edit(&name(id), |s| s.spec.kind = Some("ClusterIP".to_owned())),
                Step::Settle => {}
                Step::Restart => world.restart(),
                Step::Pool(variant) => world.pool("p", ["10.0.0.0/30", "10.0.0.1-10.0.0.5", "10.0.0.0/29"][usize::from(variant)]),
                Step::LosePatches => {
                    settles = false;
                    let moment = Moment { now: world.now, wall: Timestamp::UNIX_EPOCH };
                    for write in world.core.decide(moment) {
                        let outcome = Outcome { target: write.target, result: Err(Failure::TimedOut) };
                        world.core.finish(outcome, world.now);
                    }
                    world.now += Duration::from_secs(30);
                }
            }
            if settles {
                world.settle();
            }
            let mut shown: HashMap<IpAddr, &ObjectKey> = HashMap::new();
            for (key, service) in &world.services {
                for vip in service.vips() {
                    let other = shown.insert(vip, key);
                    prop_assert!(other.is_none(), "{vip} is shown by {key} and {other:?}");
                }
                let held = before.get(key).filter(|held| harmless && !held.is_empty());
                if let Some(held) = held {
                    prop_assert_eq!(&service.vips(), held, "{} changed its address", key);
                }
            }
        }
    }
}
