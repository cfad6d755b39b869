//! What became of a write is told by its answer and by the watch, in either order, and the object may be gone meanwhile.

use super::*;

/// Applies the writes of a decision to the cluster; their answers are still on their way.
fn happen(world: &mut World) -> Vec<Outcome> {
    let writes = world.core.decide(world.moment());
    let answer = |write: Write| Outcome {
        result: world.apply(&write),
        target: write.target,
    };
    writes.into_iter().map(answer).collect()
}

fn hear(world: &mut World, outcomes: Vec<Outcome>) {
    for outcome in outcomes {
        world.core.finish(outcome, world.now);
    }
}

#[test]
fn an_answer_does_not_bring_back_a_service_that_was_deleted_meanwhile() {
    let mut world = mk_world(&[("p", "10.0.0.0/32")]);
    world.create("a");
    let outcomes = happen(&mut world);
    world.delete("a");
    hear(&mut world, outcomes);
    world.create("b");
    world.settle();
    assert_eq!(world.ips("b"), "10.0.0.0");
}

#[test]
fn an_answer_does_not_bring_back_a_pool_that_was_deleted_meanwhile() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    let outcomes = happen(&mut world);
    world.delete_pool("p");
    hear(&mut world, outcomes);
    world.create("web");
    world.settle();
    assert_eq!(world.ips("web"), "");
    world.pool("q", "10.0.0.0/24");
    world.settle();
    assert_eq!(world.ips("web"), "10.0.0.0");
    assert_eq!(world.service("web").annotation(POOL), Some("q"));
}

#[test]
fn a_speaker_config_that_was_deleted_before_its_answer_came_is_written_again() {
    let mut world = mk_world(&[]);
    world.pool("p", "10.0.0.0/24");
    let outcomes = happen(&mut world);
    assert!(world.config.is_some());
    world.config = None;
    let key = (String::new(), portolan_api::SPEAKER_CONFIG.to_owned());
    world.observe(Event::Config(Change::Delete(key)));
    hear(&mut world, outcomes);
    world.settle();
    assert!(world.config.is_some());
}

/// A Service that this controller has read at the begin of its term, and of which its watch has not told yet.
fn mk_unwatched() -> World {
    let mut world = mk_world(&[("p", "10.0.0.0/32")]);
    world.settle();
    world.core.follow();
    let mut fresh = Service::default();
    fresh.metadata.namespace = Some("shop".to_owned());
    fresh.metadata.name = Some("web".to_owned());
    fresh.metadata.uid = Some("web-1".to_owned());
    fresh.metadata.resource_version = Some(world.next_version());
    fresh.spec.kind = Some("LoadBalancer".to_owned());
    fresh.spec.ip_families = vec!["IPv4".to_owned()];
    world.services.insert(mk_key("web"), fresh);
    world.core.prepare_lead();
    world.lead();
    world.settle();
    assert_eq!(world.ips("web"), "10.0.0.0");
    world
}

#[test]
fn a_late_word_of_the_predecessors_deletion_takes_nothing_from_a_service() {
    let mut world = mk_unwatched();
    world.observe(Event::Service(Change::Delete(key_of(&mk_key("web")))));
    world.create("thief");
    world.settle();
    assert_eq!(world.ips("thief"), "");
    assert_eq!(world.ips("web"), "10.0.0.0");
}

#[test]
fn a_service_that_only_a_list_and_our_own_answers_told_of_is_gone_when_two_lists_lack_it() {
    let mut world = mk_unwatched();
    world.services.remove(&mk_key("web"));
    for _ in 0..2 {
        world.observe(Event::Service(Change::Synced));
    }
    world.create("next");
    world.settle();
    assert_eq!(world.ips("next"), "10.0.0.0");
}

#[test]
fn a_service_that_only_a_list_told_of_is_gone_when_a_write_says_so() {
    let mut world = mk_unwatched();
    world.services.remove(&mk_key("web"));
    let gone = Outcome {
        target: Target::Service(mk_key("web")),
        result: Err(Failure::Gone),
    };
    hear(&mut world, vec![gone]);
    world.create("next");
    world.settle();
    assert_eq!(world.ips("next"), "10.0.0.0");
}

#[test]
fn a_late_word_of_the_predecessors_deletion_takes_no_pool_away() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.edit_pool("p", "10.0.0.0/24", |_| {});
    for name in ["a", "b", "c"] {
        world.create(name);
    }
    world.settle();
    world.delete("a");
    world.settle();
    world.core.follow();
    let pool = world.pools.get_mut("p").unwrap();
    pool.metadata.uid = Some("another".to_owned());
    pool.metadata.resource_version = Some("5000".to_owned());
    world.core.prepare_lead();
    world.lead();
    world.settle();
    let key = (String::new(), "p".to_owned());
    world.observe(Event::Pool(Change::Delete(key.clone())));
    world.settle();
    assert_eq!([world.ips("b"), world.ips("c")], ["10.0.0.1", "10.0.0.2"]);
    // The watch has come to the pool that is there; what it tells from now on counts.
    let pool = world.pools["p"].clone();
    world.observe(Event::Pool(Change::Apply(pool)));
    world.observe(Event::Pool(Change::Delete(key)));
    world.settle();
    assert_eq!(world.ips("b"), "");
}

#[test]
fn an_address_beside_a_host_name_is_taken() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.edit("other", |service| {
        service.spec.load_balancer_class = Some("cloud".to_owned());
        show(service, &["10.0.0.0"]);
        service.status.load_balancer.ingress[0].hostname = Some("lb.example".to_owned());
    });
    world.create("web");
    world.settle();
    assert_eq!(world.ips("web"), "10.0.0.1");
}

#[test]
fn a_speaker_config_without_its_crd_is_not_written_over_and_over() {
    let mut world = mk_world(&[]);
    world.pool("p", "10.0.0.0/24");
    let mut writes = 0;
    for _ in 0..50 {
        for write in world.core.decide(world.moment()) {
            if write.target == Target::Config {
                writes += 1;
                let result = Err(Failure::Gone);
                let target = Target::Config;
                world.core.finish(Outcome { target, result }, world.now);
            }
        }
    }
    assert_eq!(writes, 1);
    assert!(world.core.deadline().is_some_and(|at| at > world.now));
}

#[test]
fn a_burst_of_services_does_not_hold_up_the_record_of_what_is_retained() {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/16", |spec| {
        spec.retain = Some("10m".to_owned());
    });
    world.create("old");
    world.settle();
    for number in 0..1000 {
        world.create(&format!("s{number}"));
    }
    world.delete("old");
    let writes = world.core.decide(world.moment());
    let targets: Vec<&Target> = writes.iter().map(|write| &write.target).collect();
    assert!(targets.contains(&&Target::Object(Kind::Pool, "p".to_owned())));
    assert!(
        writes.len() <= crate::write::OUTSTANDING,
        "{}",
        writes.len()
    );
    // Nor is there more than the queue takes when the configuration changes now.
    world.pool("q", "10.9.0.0/24");
    let more = world.core.decide(world.moment());
    assert!(writes.len() + more.len() <= crate::write::OUTSTANDING);
}

#[test]
fn a_new_leader_does_not_retain_what_came_back_under_its_eyes() {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/24", |spec| {
        spec.retain = Some("24h".to_owned());
    });
    world.create("x");
    world.settle();
    world.core.follow();
    // Another one leads: the Service goes, comes back, and moves; its old address goes to somebody else.
    world.delete("x");
    world.core.decide(world.moment());
    world.edit("x", |service| show(service, &["10.0.0.3"]));
    world.edit("z", |service| show(service, &["10.0.0.0"]));
    world.core.prepare_lead();
    world.lead();
    world.settle();
    assert_eq!(world.pools["p"].status.as_ref().unwrap().retained, []);
    world.delete("x");
    world.settle();
    let retained = &world.pools["p"].status.as_ref().unwrap().retained;
    let addresses: Vec<&str> = retained.iter().map(|one| one.address.as_str()).collect();
    assert_eq!(addresses, ["10.0.0.3"]);
}
