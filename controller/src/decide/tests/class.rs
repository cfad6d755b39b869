//! Services that come to us and leave us: type, class.

use portolan_api::annotation::CLASS;

use super::*;

#[test]
fn a_service_that_stops_being_a_load_balancer_loses_all_that_we_wrote() {
    let mut world = mk_world(&[("p", "10.0.0.0/32")]);
    world.create("web");
    world.create("waiting");
    world.settle();
    for change in [
        (|s: &mut Service| s.spec.kind = Some("ClusterIP".to_owned())) as fn(&mut Service),
        |s| s.spec.load_balancer_class = Some("other".to_owned()),
    ] {
        world.edit("web", change);
        world.settle();
        let service = world.service("web");
        assert!(service.status.load_balancer.ingress.is_empty());
        assert!(service.status.conditions.is_empty());
        assert_eq!(service.annotation(POOL), None);
        assert_eq!(world.ips("waiting"), "10.0.0.0");
        world.delete("waiting");
        world.edit("web", |s| {
            s.spec.kind = Some("LoadBalancer".to_owned());
            s.spec.load_balancer_class = None;
        });
        world.settle();
        assert_eq!(world.ips("web"), "10.0.0.0");
        world.create("waiting");
        world.settle();
    }
}

#[test]
fn a_service_of_another_class_is_left_alone_and_its_address_is_not_given_away() {
    let mut world = mk_world(&[("p", "10.0.0.0/31")]);
    world.edit("foreign", |service| {
        service.spec.load_balancer_class = Some("other".to_owned());
        service.status.load_balancer.ingress = vec![Ingress {
            ip: Some("10.0.0.0".to_owned()),
            ..Ingress::default()
        }];
    });
    world.create("web");
    world.settle();
    assert_eq!(world.ips("foreign"), "10.0.0.0");
    assert_eq!(world.ips("web"), "10.0.0.1");
}

fn leave_class(service: &mut Service) {
    service.spec.load_balancer_class = Some("other".to_owned());
}

fn leave_type(service: &mut Service) {
    service.spec.kind = Some("NodePort".to_owned());
}

/// The API server drops the class with the type.
fn leave_both(service: &mut Service) {
    service.spec.kind = Some("ClusterIP".to_owned());
    service.spec.load_balancer_class = None;
}

#[test]
fn whatever_way_a_service_leaves_us_its_address_goes_to_whoever_waits() {
    for (row, class, leave) in [
        ("class", None, leave_class as fn(&mut Service)),
        ("type", None, leave_type),
        ("class, ours has a name", Some("portolan"), leave_class),
        ("type and with it the class", Some("portolan"), leave_both),
        ("class removed", Some("portolan"), |s| {
            s.spec.load_balancer_class = None;
        }),
    ] {
        let mut world = mk_world(&[("p", "10.0.0.0/32")]);
        world.core.class = class.map(str::to_owned);
        let ours =
            |service: &mut Service| service.spec.load_balancer_class = class.map(str::to_owned);
        world.edit("web", ours);
        world.edit("waiting", ours);
        world.settle();
        world.expect(row, &[("web", "10.0.0.0"), ("waiting", "Exhausted")]);
        world.edit("web", leave);
        world.settle();
        assert_eq!(world.ips("web"), "", "{row}");
        world.expect(row, &[("waiting", "10.0.0.0")]);
        assert_eq!(world.noted("web: AddressReleased"), 1, "{row}");
    }
}

#[test]
fn only_services_of_our_class_are_served() {
    for (ours, theirs, served) in [
        (None, None, true),
        (None, Some("x"), false),
        (Some("x"), Some("x"), true),
        (Some("x"), None, false),
        (Some("x"), Some("y"), false),
    ] {
        let mut world = mk_world(&[("p", "10.0.0.0/24")]);
        world.core.class = ours.map(str::to_owned);
        world.edit("s", |s| {
            s.spec.load_balancer_class = theirs.map(str::to_owned);
        });
        world.settle();
        assert_eq!(!world.ips("s").is_empty(), served, "{ours:?} {theirs:?}");
        assert_eq!(world.writes > 0, served, "{ours:?} {theirs:?}");
    }
}

#[test]
fn a_service_that_left_while_no_controller_ran_is_cleaned_up_by_the_next() {
    let mut world = mk_world(&[("p", "10.0.0.0/32")]);
    world.create("web");
    world.create("waiting");
    world.settle();
    let key = mk_key("web");
    leave_class(world.services.get_mut(&key).unwrap());
    world.restart();
    world.settle();
    assert_eq!(world.ips("web"), "");
    assert_eq!(world.service("web").annotation(POOL), None);
    world.expect("freed", &[("waiting", "10.0.0.0")]);
}

#[test]
fn controllers_of_two_classes_leave_each_other_alone() {
    for (ours, theirs) in [
        (None, Some("internal")),
        (Some("a"), Some("b")),
        (Some("a"), None),
    ] {
        let mut world = mk_world(&[("p", "10.0.0.0/24"), ("q", "2001:db8::/64")]);
        world.core.class = theirs.map(str::to_owned);
        world.edit("web", |s| {
            s.spec.load_balancer_class = theirs.map(str::to_owned);
        });
        world.edit("waits", |s| {
            s.spec.load_balancer_class = theirs.map(str::to_owned);
            ask_pool("unknown")(s);
        });
        world.settle();
        assert_eq!(world.service("web").annotation(CLASS), theirs);
        let before = world.services.clone();
        for stripped in [false, true] {
            if stripped {
                world.edit("web", |s| {
                    unannotate(s, POOL);
                    unannotate(s, CLASS);
                });
            }
            world.restart();
            world.core.class = ours.map(str::to_owned);
            world.lead();
            world.settle();
            for name in ["web", "waits"] {
                let status = &world.service(name).status;
                assert_eq!(
                    status,
                    &before[&mk_key(name)].status,
                    "{ours:?} {theirs:?} {name}"
                );
            }
        }
    }
}

#[test]
fn what_our_class_wrote_while_it_served_a_service_goes_when_it_left_unseen() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.core.class = Some("portolan".to_owned());
    world.edit("web", |s| {
        s.spec.load_balancer_class = Some("portolan".to_owned());
    });
    world.settle();
    leave_both(world.services.get_mut(&mk_key("web")).unwrap());
    world.restart();
    world.core.class = Some("portolan".to_owned());
    world.lead();
    world.settle();
    assert_eq!(world.ips("web"), "");
    assert_eq!(world.service("web").annotation(POOL), None);
    assert_eq!(world.service("web").annotation(CLASS), None);
    assert!(world.service("web").status.conditions.is_empty());
}
