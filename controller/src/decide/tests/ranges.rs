//! How ranges are written, and what they keep back.

use super::*;

#[test]
fn every_way_to_write_a_range_gives_its_first_address_first() {
    for (text, exact, expected) in [
        ("192.0.2.0/24", "192.0.2.255", "192.0.2.0"),
        ("192.0.2.77/24", "192.0.2.0", "192.0.2.1"),
        ("192.0.2.10-192.0.2.11", "192.0.2.11", "192.0.2.10"),
        ("192.0.2.10 - 192.0.2.11", "192.0.2.11", "192.0.2.10"),
        ("192.0.2.9-192.0.2.9", "", "192.0.2.9"),
        ("192.0.2.9/32", "", "192.0.2.9"),
        ("10.0.0.0/8", "10.255.255.255", "10.0.0.0"),
        ("0.0.0.0/0", "255.255.255.255", "0.0.0.0"),
        (
            "2001:db8::/32",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db8::",
        ),
        ("2001:db8::/64", "2001:db8::ffff", "2001:db8::"),
        ("2001:db8::5-2001:db8::7", "2001:db8::7", "2001:db8::5"),
        ("2001:db8::5/128", "", "2001:db8::5"),
        ("::/0", "ffff::", "::"),
    ] {
        let mut world = mk_world(&[]);
        world.edit_pool("p", "", |spec| spec.addresses = vec![text.to_owned()]);
        let family = if text.contains(':') { "IPv6" } else { "IPv4" };
        for (name, exact) in [("exact", exact), ("first", "")] {
            if name == "exact" && exact.is_empty() {
                continue;
            }
            world.edit(name, |service| {
                service.spec.ip_families = vec![family.to_owned()];
                ask(exact)(service);
            });
        }
        world.settle();
        world.expect(text, &[("first", expected)]);
        if !exact.is_empty() {
            world.expect(text, &[("exact", exact)]);
        }
    }
}

#[test]
fn a_range_that_can_not_be_meant_is_refused_with_words_and_the_other_pools_serve() {
    for text in [
        "10.0.0.0/33",
        "10.0.0.9-10.0.0.1",
        "10.0.0.1-2001:db8::1",
        "ten",
        "",
    ] {
        let mut world = mk_world(&[("good", "10.1.0.0/24")]);
        world.edit_pool("bad", "", |spec| spec.addresses = vec![text.to_owned()]);
        world.create("s");
        world.settle();
        world.expect(text, &[("s", "10.1.0.0")]);
        let accepted = world.condition("bad", "Accepted");
        assert_eq!(accepted.status, "False", "{text}");
        assert!(
            accepted.message.contains("spec.addresses"),
            "{}",
            accepted.message
        );
        assert_eq!(
            world.condition("bad", "Ready").reason,
            "NotAccepted",
            "{text}"
        );
    }
}

#[test]
fn addresses_that_old_routers_drop_are_never_used_not_even_by_name_and_ipv6_is_not_concerned() {
    let mut world = mk_world(&[]);
    world.edit_pool(
        "p",
        "10.0.0.254-10.0.1.1 2001:db8::ff-2001:db8::100",
        |spec| {
            spec.avoid_buggy_ips = true;
        },
    );
    world.create("a");
    world.create("b");
    world.create("c");
    world.edit("zero", ask("10.0.1.0"));
    world.edit("last", ask("10.0.0.255"));
    world.edit("six", |s| s.spec.ip_families = vec!["IPv6".to_owned()]);
    world.settle();
    world.expect(
        "avoided",
        &[
            ("a", "10.0.0.254"),
            ("b", "10.0.1.1"),
            ("c", "Exhausted"),
            ("zero", "AddressExcluded"),
            ("last", "AddressExcluded"),
            ("six", "2001:db8::ff"),
        ],
    );
}

#[test]
fn what_a_pool_begins_to_keep_back_its_holders_lose_and_nobody_else_loses_anything() {
    for (row, edit) in [
        (
            "avoidBuggyIPs",
            (|spec| spec.avoid_buggy_ips = true) as fn(&mut IPAddressPoolSpec),
        ),
        ("excludedAddresses", |spec| {
            spec.excluded_addresses = vec!["10.0.0.0/32".to_owned()];
        }),
        ("excluded without a length", |spec| {
            spec.excluded_addresses = vec!["10.0.0.0".to_owned()];
        }),
        ("excluded as a range", |spec| {
            spec.excluded_addresses = vec!["9.0.0.0-10.0.0.0".to_owned()];
        }),
    ] {
        let mut world = mk_world(&[("p", "10.0.0.0/24")]);
        for name in ["a", "b"] {
            world.create(name);
        }
        world.edit("exact", ask("10.0.0.9"));
        world.settle();
        world.edit_pool("p", "10.0.0.0/24", edit);
        world.settle();
        world.expect(
            row,
            &[("a", "10.0.0.2"), ("b", "10.0.0.1"), ("exact", "10.0.0.9")],
        );
        assert_eq!(world.noted("b: AddressReleased"), 0, "{row}");
        // Turned off again, nobody moves back.
        world.pool("p", "10.0.0.0/24");
        world.create("c");
        world.settle();
        world.expect(row, &[("a", "10.0.0.2"), ("c", "10.0.0.0")]);
    }
}

#[test]
fn a_whole_range_can_be_kept_back() {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/30 2001:db8::/64", |spec| {
        spec.excluded_addresses = vec!["10.0.0.0/29".to_owned(), "2001:db8::/65".to_owned()];
    });
    world.create("four");
    world.edit("six", |s| s.spec.ip_families = vec!["IPv6".to_owned()]);
    world.settle();
    world.expect("", &[("four", "Exhausted"), ("six", "2001:db8:0:0:8000::")]);
}
