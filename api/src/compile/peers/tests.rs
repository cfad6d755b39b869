//! What a peer says becomes a rule, or a refusal with field and remedy.

use super::*;
use crate::compile::{Compiled, compile};
use crate::condition::{ACCEPTED, RESOLVED_REFS, Verdict};
use crate::crd::{
    BGPPeer, BgpRole, DynamicAsn, Listen, SecretReference, TcpAoAlgorithm, TcpAuthenticationOption,
};

type Edit = fn(&mut BGPPeerSpec);

fn mk_spec() -> BGPPeerSpec {
    BGPPeerSpec {
        my_asn: 65000,
        peer_asn: Some(65001),
        peer_address: Some("192.0.2.1".into()),
        peer_port: 179,
        ..Default::default()
    }
}

fn mk_tcp_ao(key_id: i32) -> TcpAuthenticationOption {
    TcpAuthenticationOption {
        key_secret: SecretReference {
            name: "key".into(),
            namespace: None,
        },
        key_id,
        algorithm: TcpAoAlgorithm::HmacSha1,
    }
}

fn unnumbered(spec: &mut BGPPeerSpec) {
    spec.peer_address = None;
    spec.interface = Some("eth1".into());
}

fn on_link(spec: &mut BGPPeerSpec, router: &str) {
    unnumbered(spec);
    spec.peer_address = Some(router.into());
}

fn compiled(specs: &[BGPPeerSpec]) -> Compiled {
    let mut sources = Sources::default();
    for (index, spec) in specs.iter().enumerate() {
        let name = format!("p{index}");
        sources
            .peers
            .insert(name.clone(), BGPPeer::new(&name, spec.clone()));
    }
    compile(&sources, None)
}

fn verdict(compiled: &Compiled, name: &str, kind: &str) -> Verdict {
    let judgement = compiled.judgements.iter().find(|it| it.name == name);
    let verdicts = &judgement.unwrap().verdicts;
    verdicts.iter().find(|it| it.kind == kind).unwrap().clone()
}

fn mk_rule(edit: Edit) -> PeerRule {
    let mut spec = mk_spec();
    edit(&mut spec);
    let compiled = compiled(&[spec]);
    let verdict = verdict(&compiled, "p0", ACCEPTED);
    assert!(verdict.status, "{}", verdict.message);
    compiled.config.peers[0].clone()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn contradictions_are_refused_with_field_and_remedy() {
    let table: &[(&str, Edit, &str, &str)] = &[
        (
            "two as",
            |s| s.dynamic_asn = Some(DynamicAsn::External),
            "spec.peerASN",
            "beside dynamicASN",
        ),
        (
            "local as 0",
            |s| s.local_asn = Some(0),
            "spec.localASN",
            "1 to",
        ),
        (
            "multihop to our local as",
            |s| {
                s.local_asn = Some(65001);
                s.ebgp_multi_hop = true;
            },
            "spec.ebgpMultiHop",
            "our own AS",
        ),
        (
            "multihop to any internal",
            |s| {
                s.peer_asn = None;
                s.dynamic_asn = Some(DynamicAsn::Internal);
                s.ebgp_multi_hop = true;
            },
            "spec.ebgpMultiHop",
            "our own AS",
        ),
        (
            "a role towards our own as",
            |s| {
                s.my_asn = 65001;
                s.role = Some(BgpRole::Customer);
            },
            "spec.role",
            "our own AS",
        ),
        (
            "a role towards any internal",
            |s| {
                s.peer_asn = None;
                s.dynamic_asn = Some(DynamicAsn::Internal);
                s.role = Some(BgpRole::Peer);
            },
            "spec.role",
            "our own AS",
        ),
        (
            "multihop of one hop",
            |s| {
                s.ebgp_multi_hop = true;
                s.ttl_security = true;
            },
            "spec.ebgpMultiHop",
            "keep one",
        ),
        (
            "multihop on a link",
            |s| {
                unnumbered(s);
                s.ebgp_multi_hop = true;
            },
            "spec.ebgpMultiHop",
            "beside interface",
        ),
        (
            "an address that says enough, and an interface",
            |s| s.interface = Some("eth1".into()),
            "spec.interface",
            "no IPv6 link-local address",
        ),
        (
            "an IPv4 link-local address and an interface",
            |s| {
                s.peer_address = Some("169.254.0.1".into());
                s.interface = Some("eth1".into());
            },
            "spec.interface",
            "no IPv6 link-local address",
        ),
        (
            "link-local with a source",
            |s| {
                on_link(s, "fe80::1");
                s.source_address = Some("fe80::9".into());
            },
            "spec.sourceAddress",
            "remove it",
        ),
        (
            "small segments",
            |s| s.tcp_mss = Some(255),
            "spec.tcpMSS",
            "256 to 32767",
        ),
        (
            "large segments",
            |s| s.tcp_mss = Some(32768),
            "spec.tcpMSS",
            "256 to 32767",
        ),
        (
            "unnumbered with a source",
            |s| {
                unnumbered(s);
                s.source_address = Some("192.0.2.9".into());
            },
            "spec.sourceAddress",
            "remove it",
        ),
        (
            "no device",
            |s| {
                s.peer_address = None;
                s.interface = Some("a/b".into());
            },
            "spec.interface",
            "network device",
        ),
        (
            "long device",
            |s| s.vrf = Some("a-vrf-with-a-long-name".into()),
            "spec.vrf",
            "network device",
        ),
        (
            "a part of a second",
            |s| s.connect_time = Some("1500ms".into()),
            "spec.connectTime",
            "whole seconds",
        ),
        (
            "restart time alone",
            |s| s.graceful_restart_time = Some("60s".into()),
            "spec.gracefulRestartTime",
            "enableGracefulRestart",
        ),
        (
            "restart time too long",
            |s| {
                s.enable_graceful_restart = true;
                s.graceful_restart_time = Some("4096s".into());
            },
            "spec.gracefulRestartTime",
            "4095s",
        ),
        (
            "stale time in parts",
            |s| {
                s.enable_graceful_restart = true;
                s.long_lived_stale_time = Some("1500ms".into());
            },
            "spec.longLivedStaleTime",
            "whole seconds",
        ),
        (
            "signed twice",
            |s| {
                s.password = Some("x".into());
                s.tcp_authentication_option = Some(mk_tcp_ao(1));
            },
            "spec.tcpAuthenticationOption",
            "keep one",
        ),
        (
            "key identifier",
            |s| s.tcp_authentication_option = Some(mk_tcp_ao(256)),
            "spec.tcpAuthenticationOption.keyID",
            "0 to 255",
        ),
    ];
    for (row, edit, field, remedy) in table {
        let mut spec = mk_spec();
        edit(&mut spec);
        let verdict = verdict(&compiled(&[spec]), "p0", ACCEPTED);
        assert_eq!(
            (verdict.status, verdict.reason),
            (false, "Invalid"),
            "{row}: {}",
            verdict.message
        );
        for words in [field, remedy] {
            assert!(
                verdict.message.contains(words),
                "{row}: {}",
                verdict.message
            );
        }
    }
}

#[test]
fn a_local_as_replaces_ours_towards_the_peer() {
    assert_eq!(mk_rule(|s| s.local_asn = Some(64999)).my_asn, 64999);
}

#[test]
fn an_unnumbered_peer_carries_both_families_with_ipv6_next_hops() {
    let rule = mk_rule(|s| {
        unnumbered(s);
        s.peer_asn = None;
        s.dynamic_asn = Some(DynamicAsn::External);
    });
    assert_eq!(rule.neighbour(), "eth1");
    assert_eq!((rule.address, rule.peer_asn), (None, None));
    assert_eq!(rule.dynamic_asn, Some(DynamicAsn::External));
    assert!(rule.dual_stack && rule.extended_next_hop);
    for address in ["10.0.0.1", "2001:db8::1"] {
        assert!(rule.carries(address.parse().unwrap()), "{address}");
    }
}

#[test]
fn a_router_that_is_named_on_its_link_is_as_one_that_is_found_there() {
    let rule = mk_rule(|s| on_link(s, "fe80::1"));
    assert_eq!(rule.neighbour(), "fe80::1%eth1");
    assert_eq!(rule.interface.as_deref(), Some("eth1"));
    assert!(rule.dual_stack && rule.extended_next_hop);
    assert!(rule.carries("10.0.0.1".parse().unwrap()));
    assert_eq!(mk_rule(|s| s.tcp_mss = Some(1220)).tcp_mss, Some(1220));
}

#[test]
fn a_session_carries_its_own_family_unless_both_are_wanted() {
    let v6 = "2001:db8::1".parse().unwrap();
    assert!(!mk_rule(|_| {}).carries(v6));
    assert!(mk_rule(|s| s.dual_stack_address_family = true).carries(v6));
}

#[test]
fn restart_times_are_numbers_of_seconds() {
    assert_eq!(mk_rule(|_| {}).graceful_restart_seconds, None);
    let on = mk_rule(|s| s.enable_graceful_restart = true);
    assert_eq!(
        (on.graceful_restart_seconds, on.long_lived_stale_seconds),
        (Some(120), None)
    );
    let long = mk_rule(|s| {
        s.enable_graceful_restart = true;
        s.graceful_restart_time = Some("4095s".into());
        s.long_lived_stale_time = Some("24h".into());
    });
    assert_eq!(
        (long.graceful_restart_seconds, long.long_lived_stale_seconds),
        (Some(4095), Some(86_400))
    );
}

#[test]
fn a_profile_that_is_not_there_costs_only_a_condition() {
    let mut spec = mk_spec();
    spec.bfd_profile = Some("fast".into());
    let compiled = compiled(&[spec]);
    assert!(verdict(&compiled, "p0", ACCEPTED).status);
    let refs = verdict(&compiled, "p0", RESOLVED_REFS);
    assert_eq!((refs.status, refs.reason), (false, "NotFound"));
    assert!(refs.message.contains("BFDProfile fast"), "{}", refs.message);
    assert_eq!(compiled.config.peers[0].bfd.as_deref(), Some("fast"));
}

#[test]
fn peers_that_a_node_could_not_tell_apart_are_rivals() {
    let table: &[(&str, Edit, Edit, bool)] = &[
        ("the same socket", |_| {}, |_| {}, true),
        ("another port", |_| {}, |s| s.peer_port = 1179, false),
        (
            "another source",
            |_| {},
            |s| s.source_address = Some("192.0.2.9".into()),
            false,
        ),
        (
            "both may connect to us, whatever the port",
            |s| s.listen = Listen::Passive,
            |s| {
                s.listen = Listen::Both;
                s.peer_port = 1179;
            },
            true,
        ),
        (
            "one waits, one connects to another port",
            |s| s.listen = Listen::Passive,
            |s| s.peer_port = 1179,
            false,
        ),
        ("another vrf", |_| {}, |s| s.vrf = Some("red".into()), false),
        (
            "the same interface, whatever the port",
            unnumbered,
            |s| {
                unnumbered(s);
                s.peer_port = 1179;
            },
            true,
        ),
        (
            "two routers of one link",
            |s| on_link(s, "fe80::1"),
            |s| on_link(s, "fe80::2"),
            false,
        ),
        (
            "one router of a link twice",
            |s| on_link(s, "fe80::1"),
            |s| on_link(s, "fe80::1"),
            true,
        ),
        (
            "a router that is named, and whoever is found",
            |s| on_link(s, "fe80::1"),
            unnumbered,
            true,
        ),
        (
            "another interface",
            unnumbered,
            |s| {
                unnumbered(s);
                s.interface = Some("eth2".into());
            },
            false,
        ),
    ];
    for (row, one, other, rivals) in table {
        let (mut first, mut second) = (mk_spec(), mk_spec());
        one(&mut first);
        other(&mut second);
        let verdict = verdict(&compiled(&[first, second]), "p1", ACCEPTED);
        assert_eq!(verdict.status, !rivals, "{row}: {}", verdict.message);
        if *rivals {
            assert_eq!(verdict.reason, "Conflict", "{row}");
        }
    }
}
