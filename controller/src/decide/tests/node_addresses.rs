//! Addresses that nodes use themselves.

use super::*;

#[test]
fn the_address_of_a_node_is_given_to_nobody_not_even_by_name() {
    let mut world = mk_world(&[("p", "10.0.0.0/30 2001:db8::/126")]);
    world.node_at("n1", &["10.0.0.0", "2001:db8::", "n1.example"]);
    world.create("s");
    world.edit("six", |s| s.spec.ip_families = vec!["IPv6".to_owned()]);
    world.edit("exact", ask("10.0.0.0"));
    world.settle();
    world.expect(
        "stepped over",
        &[
            ("s", "10.0.0.1"),
            ("six", "2001:db8::1"),
            ("exact", "AddressUsedByNode"),
        ],
    );
    assert!(
        world.message("exact").contains("Node n1"),
        "{}",
        world.message("exact")
    );
    world.restart();
    world.settle();
    world.expect("after a restart", &[("exact", "AddressUsedByNode")]);
}

#[test]
fn an_address_that_a_node_gives_up_is_given_to_whoever_waits() {
    for leaves in [true, false] {
        let mut world = mk_world(&[("p", "10.0.0.0/32")]);
        world.node_at("n1", &["10.0.0.0"]);
        world.create("s");
        world.settle();
        world.expect("used by the node", &[("s", "Exhausted")]);
        if leaves {
            world.nodes.remove("n1");
            world.observe(Event::Node(Change::Delete((
                String::new(),
                "n1".to_owned(),
            ))));
        } else {
            world.node_at("n1", &["192.0.2.1"]);
        }
        world.settle();
        world.expect("given up", &[("s", "10.0.0.0")]);
    }
}

#[test]
fn an_address_of_two_nodes_is_free_when_both_have_let_go() {
    let mut world = mk_world(&[("p", "10.0.0.0/32")]);
    world.node_at("n1", &["10.0.0.0"]);
    world.node_at("n2", &["10.0.0.0"]);
    world.create("s");
    world.settle();
    world.node_at("n1", &[]);
    world.settle();
    world.expect("one", &[("s", "Exhausted")]);
    world.node_at("n2", &[]);
    world.settle();
    world.expect("none", &[("s", "10.0.0.0")]);
}

#[test]
fn a_holder_keeps_the_address_that_a_node_begins_to_use_and_is_warned() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("s");
    world.settle();
    world.node_at("n1", &["10.0.0.0"]);
    world.settle();
    world.expect("kept", &[("s", "10.0.0.0")]);
    assert_eq!(world.verdict("s").0, "True");
    assert!(
        world.message("s").contains("Node n1"),
        "{}",
        world.message("s")
    );
    assert_eq!(world.noted("s: AddressUsedByNode"), 1);
    world.restart();
    world.settle();
    world.expect("after a restart", &[("s", "10.0.0.0")]);
    world.node_at("n1", &[]);
    world.settle();
    assert_eq!(world.verdict("s"), ("True".into(), "Assigned".into()));
}
