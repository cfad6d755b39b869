//! Endpoints that come and go: gone at once, back at once a few times, then later and later.

use std::time::{Duration, Instant};

use super::*;

/// A clock and a model with one Service.
struct Flapping {
    model: Model,
    now: Instant,
    elsewhere: bool,
}

impl Flapping {
    fn new(policy: TrafficPolicy, elsewhere: bool) -> Self {
        let mut model = mk_model();
        model.handle(Event::Service(Change::Apply(mk_service(policy, NODE))));
        model.take_due();
        let now = tokio::time::Instant::now().into_std();
        model.advance(now);
        let mut it = Self {
            model,
            now,
            elsewhere,
        };
        it.set(true);
        it
    }

    fn set(&mut self, here: bool) {
        let mut endpoints = Vec::new();
        if here {
            endpoints.push((NODE, ready()));
        }
        if self.elsewhere {
            endpoints.push(("n2", ready()));
        }
        apply_slices(&mut self.model, "web-1", &endpoints);
    }

    fn flap(&mut self) {
        self.set(false);
        assert!(!self.announced(), "what is gone is withdrawn at once");
        self.set(true);
    }

    fn announced(&self) -> bool {
        !routes(&self.model.plan(), "v4").is_empty()
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.model.advance(self.now);
    }

    /// How long the route is held back now, in whole seconds.
    fn wait(&mut self) -> u64 {
        let mut seconds = 0;
        while !self.announced() {
            self.pass(Duration::from_secs(1));
            seconds += 1;
            assert!(seconds < 100, "it never comes back");
        }
        seconds
    }
}

#[test]
fn three_losses_in_a_minute_are_free_and_further_ones_cost_longer_and_longer() {
    let mut it = Flapping::new(TrafficPolicy::Local, true);
    for _ in 0..3 {
        it.flap();
        assert!(it.announced());
    }
    let mut waits = Vec::new();
    for _ in 0..6 {
        it.flap();
        waits.push(it.wait());
    }
    assert_eq!(waits, [2, 4, 8, 16, 30, 30]);
    // A quiet minute, and all is forgotten.
    it.pass(Duration::from_secs(60));
    for _ in 0..3 {
        it.flap();
        assert!(it.announced());
    }
    it.flap();
    assert_eq!(it.wait(), 2);
}

#[test]
fn the_end_of_a_wait_concerns_the_addresses_and_its_words_go_with_it() {
    let mut it = Flapping::new(TrafficPolicy::Local, true);
    for _ in 0..4 {
        it.flap();
    }
    it.model.take_due();
    assert_eq!(it.model.held_back(), 2, "both families");
    let words = it.model.problems();
    assert!(
        words[0].contains("default/web") && words[0].contains("2 s"),
        "{words:?}"
    );
    assert_eq!(
        it.model.next_deadline(),
        Some(it.now + Duration::from_secs(2))
    );
    it.pass(Duration::from_secs(2));
    let Due::Vips(vips) = it.model.take_due() else {
        panic!("nothing is due")
    };
    assert!(vips.contains(&VIP4.parse().unwrap()));
    assert!(it.model.problems().is_empty() && it.model.held_back() == 0);
}

#[test]
fn what_goes_again_while_it_waits_is_not_announced_when_the_wait_is_over() {
    let mut it = Flapping::new(TrafficPolicy::Local, true);
    for _ in 0..4 {
        it.flap();
    }
    it.set(false);
    it.pass(Duration::from_secs(5));
    assert!(!it.announced());
    assert!(it.model.problems().is_empty(), "it is gone, not held back");
}

#[test]
fn the_only_node_that_can_serve_is_not_held_back_for_long() {
    for (policy, elsewhere) in [
        (TrafficPolicy::Local, false),
        (TrafficPolicy::Cluster, false),
    ] {
        let mut it = Flapping::new(policy, elsewhere);
        for _ in 0..3 {
            it.flap();
            assert!(it.announced(), "{policy:?}");
        }
        for _ in 0..5 {
            it.flap();
            assert_eq!(it.wait(), 2, "{policy:?}");
        }
    }
}

#[test]
fn slow_changes_and_the_first_picture_of_the_cluster_cost_nothing() {
    let mut it = Flapping::new(TrafficPolicy::Local, true);
    for _ in 0..20 {
        it.flap();
        assert!(it.announced());
        it.pass(Duration::from_secs(21));
    }
    let mut model = Model::new(NODE.into(), "portolan-system".into(), None);
    model.advance(tokio::time::Instant::now().into_std());
    apply_config(&mut model, mk_config());
    model.handle(Event::Node(Change::Apply(mk_node())));
    let service = mk_service(TrafficPolicy::Local, NODE);
    model.handle(Event::Service(Change::Apply(service)));
    for _ in 0..10 {
        apply_slices(&mut model, "web-1", &[(NODE, ready())]);
        forget_slices(&mut model, "web-1");
    }
    apply_slices(&mut model, "web-1", &[(NODE, ready())]);
    assert!(!routes(&model.plan(), "v4").is_empty());
    assert_eq!(model.next_deadline(), None);
}
