//! One thing is broken in a healthy cluster; the explanation must say so.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use portolan_api::annotation::{ADDRESS_POOL, DRAIN, EXCLUDE_NODE};
use portolan_api::condition::ACCEPTED;
use portolan_api::crd::Reservation;
use portolan_api::crd::{ConflictReport, Quarantined, SessionState, TakeoverReport};
use portolan_api::selector::LabelSelector;

use super::*;
use crate::fixture::{mk_condition, mk_interface, mk_key, mk_neighbour, mk_snapshot};
use crate::snapshot::Judged;

fn mk_selector(key: &str, value: &str) -> LabelSelector {
    LabelSelector {
        match_labels: [(key.to_owned(), value.to_owned())].into(),
        ..LabelSelector::default()
    }
}

fn service(snapshot: &mut Snapshot) -> &mut Service {
    snapshot.services.get_mut(&mk_key()).unwrap()
}

fn report<'a>(
    snapshot: &'a mut Snapshot,
    node: &str,
) -> &'a mut portolan_api::crd::NodeReportStatus {
    snapshot
        .reports
        .get_mut(node)
        .unwrap()
        .status
        .as_mut()
        .unwrap()
}

fn rules(snapshot: &mut Snapshot) -> &mut portolan_api::crd::SpeakerConfigSpec {
    &mut snapshot.config.as_mut().unwrap().spec
}

/// What is broken, how it is broken, and the finding that must name it.
type Case = (&'static str, fn(&mut Snapshot), Topic, Mark, &'static str);

fn check(cases: &[Case]) {
    for (name, break_it, topic, mark, words) in cases {
        let mut snapshot = mk_snapshot();
        break_it(&mut snapshot);
        let findings = explain(&snapshot, &mk_key());
        let said = findings
            .iter()
            .any(|f| f.topic == *topic && f.mark == *mark && f.text.contains(words));
        assert!(
            said,
            "{name}: nothing says {words:?}\n{}",
            render(&mk_key(), &findings)
        );
    }
}

#[test]
fn a_healthy_service_has_nothing_in_its_way() {
    let findings = explain(&mk_snapshot(), &mk_key());
    let text = render(&mk_key(), &findings);
    assert!(
        findings.iter().all(|finding| finding.mark == Mark::Good),
        "{text}"
    );
    for words in [
        "controller controller-0 leads",
        "192.0.2.10 from pool public",
        "usable on n1, n2",
        "192.0.2.10 is placed on n1 and reports that it answers on eth0; standing by: n2",
        "192.0.2.10 is announced to tor by n1, n2",
    ] {
        assert!(text.contains(words), "{words:?} is missing\n{text}");
    }
}

#[test]
fn a_service_that_is_not_served_is_told_why() {
    check(&[
        (
            "gone",
            |s| s.services.clear(),
            Topic::Service,
            Mark::Bad,
            "no Service demo/web",
        ),
        (
            "type",
            |s| service(s).spec.kind = Some("ClusterIP".to_owned()),
            Topic::Service,
            Mark::Bad,
            "type is ClusterIP",
        ),
        (
            "class",
            |s| service(s).spec.load_balancer_class = Some("other".to_owned()),
            Topic::Service,
            Mark::Bad,
            "loadBalancerClass other",
        ),
        (
            "our class",
            |s| s.lb_class = Some("ours".to_owned()),
            Topic::Service,
            Mark::Bad,
            "no loadBalancerClass, Portolan serves class ours",
        ),
        (
            "no leader",
            |s| {
                s.leases
                    .as_mut()
                    .unwrap()
                    .get_mut(CONTROLLER_LEASE)
                    .unwrap()
                    .fresh = false;
            },
            Topic::Service,
            Mark::Bad,
            "no controller leads",
        ),
        (
            "no right to read Leases",
            |s| s.leases = None,
            Topic::Service,
            Mark::Note,
            "can not be read",
        ),
    ]);
}

#[test]
fn a_missing_or_stray_address_is_explained() {
    fn pending(snapshot: &mut Snapshot) -> &mut Service {
        let service = service(snapshot);
        service.status.load_balancer.ingress.clear();
        service.status.conditions.clear();
        service
    }
    check(&[
        (
            "refused",
            |s| {
                pending(s).status.conditions =
                    vec![mk_condition(ASSIGNED, false, "Exhausted", "add a range")];
            },
            Topic::Address,
            Mark::Bad,
            "Exhausted: add a range",
        ),
        (
            "not judged",
            |s| _ = pending(s),
            Topic::Address,
            Mark::Bad,
            "has not judged",
        ),
        (
            "pools on offer",
            |s| _ = pending(s),
            Topic::Address,
            Mark::Note,
            "pool public: 9 IPv4 and 0 IPv6",
        ),
        (
            "shared",
            |s| {
                let other = s.services[&mk_key()].clone();
                s.services.insert(ObjectKey::new("demo", "dns"), other);
            },
            Topic::Address,
            Mark::Good,
            "192.0.2.10 from pool public, shared with demo/dns",
        ),
        (
            "reserved",
            |s| {
                service(s).status.load_balancer.ingress.clear();
                let pool = s.pools.values_mut().next().unwrap();
                pool.spec.reservations = vec![Reservation {
                    namespace: "demo".to_owned(),
                    name: "web".to_owned(),
                    address: "192.0.2.99".to_owned(),
                }];
            },
            Topic::Address,
            Mark::Note,
            "192.0.2.99 is reserved for this Service",
        ),
        (
            "unknown pool",
            |s| {
                let annotations = pending(s).metadata.annotations.as_mut().unwrap();
                annotations.insert(ADDRESS_POOL.to_owned(), "nowhere".to_owned());
            },
            Topic::Address,
            Mark::Bad,
            "names pool nowhere, which does not exist",
        ),
        (
            "no pool at all",
            |s| {
                pending(s);
                s.pools.clear();
            },
            Topic::Address,
            Mark::Bad,
            "create one",
        ),
        (
            "outside all pools",
            |s| rules(s).pools.clear(),
            Topic::Address,
            Mark::Bad,
            "in no accepted IPAddressPool",
        ),
        (
            "no advertisement",
            |s| {
                rules(s).l2.clear();
                rules(s).bgp.clear();
            },
            Topic::Address,
            Mark::Bad,
            "announced in no way",
        ),
    ]);
}

#[test]
fn who_took_over_who_fights_and_who_is_not_seen_is_said() {
    check(&[
        (
            "taken over",
            |s| {
                report(s, "n2").l2_vips = std::mem::take(&mut report(s, "n1").l2_vips);
                report(s, "n2").acting = vec!["192.0.2.10".to_owned()];
            },
            Topic::Layer2,
            Mark::Note,
            "192.0.2.10 is answered by n2 on eth0: it took over",
        ),
        (
            "the last takeover",
            |s| {
                report(s, "n1").last_takeover = Some(TakeoverReport {
                    time: "2026-11-21T12:00:00Z".to_owned(),
                    from: "n2".to_owned(),
                    cause: "BFD".to_owned(),
                    addresses: 3,
                    milliseconds: 312,
                });
            },
            Topic::Layer2,
            Mark::Good,
            "of n1 was at 2026-11-21T12:00:00Z: 3 addresses of n2 (BFD), announced 312 ms after",
        ),
        (
            "since when",
            |s| report(s, "n1").l2_vips[0].since = Some("2026-11-21T12:00:00Z".to_owned()),
            Topic::Layer2,
            Mark::Good,
            "reports that it answers on eth0 since 2026-11-21T12:00:00Z",
        ),
        (
            "a stranger",
            |s| {
                report(s, "n2").conflicts = vec![ConflictReport {
                    address: "192.0.2.10".to_owned(),
                    mac: "02:00:00:00:00:09".to_owned(),
                    interface: "eth0".to_owned(),
                    last: "2026-11-21T12:00:00Z".to_owned(),
                    before_use: true,
                }];
            },
            Topic::Layer2,
            Mark::Bad,
            "outside the cluster, 02:00:00:00:00:09, heard by n2 on eth0",
        ),
        (
            "not seen",
            |s| report(s, "n2").neighbours = vec![mk_neighbour("n1", "Down")],
            Topic::Layer2,
            Mark::Note,
            "n2 does not see n1 (192.0.2.1 on eth0): BFD is Down",
        ),
    ]);
}

#[test]
fn an_address_that_a_stranger_uses_is_said_with_the_station_that_does() {
    check(&[
        (
            "its own",
            |s| {
                let service = s.services.get_mut(&mk_key()).unwrap();
                let words = "station 02:00:00:00:00:09 uses it";
                service.status.conditions =
                    vec![mk_condition(ASSIGNED, true, "AddressConflict", words)];
            },
            Topic::Address,
            Mark::Bad,
            "AddressConflict: station 02:00:00:00:00:09 uses it",
        ),
        (
            "one that it can not have",
            |s| {
                let service = s.services.get_mut(&mk_key()).unwrap();
                service.status.load_balancer.ingress.clear();
                let pool = s.pools.get_mut("public").unwrap();
                let status = pool.status.as_mut().unwrap();
                status.quarantined_count = 1;
                status.quarantined = vec![Quarantined {
                    address: "192.0.2.11".to_owned(),
                    mac: "02:00:00:00:00:09".to_owned(),
                    node: "n1".to_owned(),
                    interface: "eth0".to_owned(),
                    since: Time(jiff::Timestamp::UNIX_EPOCH),
                    until: None,
                }];
            },
            Topic::Address,
            Mark::Note,
            "192.0.2.11 is in quarantine: station 02:00:00:00:00:09, heard by n1 on eth0, uses it",
        ),
    ]);
}

#[test]
fn a_node_that_can_not_answer_is_told_why() {
    check(&[
        (
            "no link that works",
            |s| report(s, "n2").interfaces = vec![mk_interface("eth0", false, "192.0.2.2/24")],
            Topic::Layer2,
            Mark::Bad,
            "not on n2: no interface that works is one that L2Advertisement lan means (it has eth0 (down))",
        ),
        (
            "a link that is not meant",
            |s| {
                rules(s).l2[0].interface_expressions = vec!["bond.*".to_owned()];
                report(s, "n2").interfaces = vec![mk_interface("eth0", true, "192.0.2.2/24")];
            },
            Topic::Layer2,
            Mark::Bad,
            "L2Advertisement lan means (it has eth0)",
        ),
        (
            "another subnet",
            |s| {
                report(s, "n1").interfaces = vec![mk_interface("eth0", true, "192.0.2.1/24")];
                report(s, "n2").interfaces = vec![mk_interface("eth0", true, "198.51.100.2/24")];
            },
            Topic::Layer2,
            Mark::Note,
            "not on n2: it has no address in the subnet of 192.0.2.10, and others, like n1, have",
        ),
        (
            "drain",
            |s| {
                let node = s.nodes.get_mut("n2").unwrap();
                let annotations = node.metadata.annotations.get_or_insert_default();
                annotations.insert(DRAIN.to_owned(), "true".to_owned());
            },
            Topic::Layer2,
            Mark::Note,
            "not on n2: the Node drains (portolan.dev/drain)",
        ),
    ]);
}

#[test]
fn an_address_that_nobody_answers_for_is_explained() {
    check(&[
        (
            "not placed",
            |s| service(s).metadata.annotations = None,
            Topic::Layer2,
            Mark::Bad,
            "no node is placed",
        ),
        (
            "placed but silent",
            |s| {
                report(s, "n1").l2_vips.clear();
                report(s, "n1").l2_vip_count = 0;
            },
            Topic::Layer2,
            Mark::Bad,
            "does not report that it answers",
        ),
        (
            "a report that lists only some",
            |s| {
                report(s, "n1").l2_vips.clear();
                report(s, "n1").l2_vip_count = 400;
            },
            Topic::Layer2,
            Mark::Note,
            "more addresses than its NodeReport lists",
        ),
        (
            "placed and without a report",
            |s| _ = s.reports.remove("n1"),
            Topic::Layer2,
            Mark::Bad,
            "placed on n1 but has no NodeReport",
        ),
        (
            "two answer",
            |s| report(s, "n2").l2_vips = report(s, "n1").l2_vips.clone(),
            Topic::Layer2,
            Mark::Bad,
            "answered by n2 too",
        ),
        (
            "dead speaker",
            |s| drop(s.leases.as_mut().unwrap().remove("portolan-speaker-n2")),
            Topic::Layer2,
            Mark::Bad,
            "not on n2: its speaker does not renew its Lease",
        ),
        (
            "node selector",
            |s| rules(s).l2[0].node_selectors = vec![mk_selector("rack", "a")],
            Topic::Layer2,
            Mark::Note,
            "not on n1, n2: nodeSelectors of L2Advertisement lan",
        ),
        (
            "service selector",
            |s| rules(s).l2[0].service_selectors = vec![mk_selector("app", "other")],
            Topic::Layer2,
            Mark::Note,
            "no L2Advertisement covers 192.0.2.10",
        ),
    ]);
}

#[test]
fn a_node_that_does_not_announce_by_bgp_is_explained() {
    check(&[
        (
            "session down",
            |s| {
                report(s, "n2").sessions[0].state = SessionState::Active;
                report(s, "n2").sessions[0].last_error = Some("connection refused".to_owned());
            },
            Topic::Bgp,
            Mark::Bad,
            "n2: session to tor (10.0.0.1) is Active: connection refused",
        ),
        (
            "family not agreed",
            |s| {
                let why = "the peer does not take IPv4 unicast on this session";
                report(s, "n2").sessions[0].unsent = 1;
                report(s, "n2").sessions[0].unsent_reasons = vec![why.to_owned()];
            },
            Topic::Bgp,
            Mark::Bad,
            "n2: session to tor (10.0.0.1) is Established, but the peer does not take IPv4",
        ),
        (
            "session unknown",
            |s| report(s, "n2").sessions.clear(),
            Topic::Bgp,
            Mark::Bad,
            "reports no session to tor",
        ),
        (
            "no report",
            |s| drop(s.reports.remove("n2")),
            Topic::Bgp,
            Mark::Bad,
            "n2: it has no NodeReport",
        ),
        (
            "excluded",
            |s| {
                let labels = [(EXCLUDE_NODE.to_owned(), String::new())];
                s.nodes.get_mut("n2").unwrap().metadata.labels = Some(labels.into());
            },
            Topic::Bgp,
            Mark::Note,
            "n2: the Node is excluded by",
        ),
        (
            "policy Local",
            |s| {
                service(s).spec.external_traffic_policy = TrafficPolicy::Local;
                s.slices.get_mut(&mk_key()).unwrap()[0].endpoints.pop();
            },
            Topic::Bgp,
            Mark::Note,
            "n2: no usable endpoint on it",
        ),
        (
            "node selector",
            |s| rules(s).bgp[0].node_selectors = vec![mk_selector("rack", "a")],
            Topic::Bgp,
            Mark::Note,
            "nodeSelectors of BGPAdvertisement routers do not select it",
        ),
        (
            "nobody",
            |s| rules(s).bgp[0].node_selectors = vec![mk_selector("rack", "a")],
            Topic::Bgp,
            Mark::Bad,
            "no node announces 192.0.2.10",
        ),
        (
            "peer of the other family",
            |s| rules(s).peers[0].address = "2001:db8::1".parse().ok(),
            Topic::Bgp,
            Mark::Note,
            "no BGPPeer that carries IPv4",
        ),
        (
            "peer of other nodes",
            |s| rules(s).peers[0].node_selectors = vec![mk_selector("rack", "a")],
            Topic::Bgp,
            Mark::Note,
            "no BGPPeer that carries IPv4",
        ),
        (
            "no endpoints",
            |s| s.slices.clear(),
            Topic::Endpoints,
            Mark::Bad,
            "no usable endpoint, so no node announces",
        ),
    ]);
}

#[test]
fn external_and_cluster_ips_are_explained_whatever_the_type_of_the_service() {
    fn external(s: &mut Snapshot) {
        service(s).spec.kind = Some("ClusterIP".into());
        service(s).spec.external_ips = vec!["198.51.100.7".into()];
        service(s).spec.cluster_ips = vec!["10.96.0.9".into()];
    }
    check(&[
        (
            "nobody announces it",
            external,
            Topic::Bgp,
            Mark::Note,
            "no BGPAdvertisement covers 198.51.100.7",
        ),
        (
            "announced",
            |s| {
                external(s);
                rules(s).bgp[0].routes = vec![RouteKind::ExternalIP];
            },
            Topic::Bgp,
            Mark::Good,
            "198.51.100.7 is announced to tor by n1, n2",
        ),
        (
            "the type is no obstacle",
            |s| {
                external(s);
                rules(s).bgp[0].routes = vec![RouteKind::ExternalIP];
            },
            Topic::Service,
            Mark::Good,
            "gets no address from Portolan",
        ),
        (
            "a ClusterIP in an announced range, from nodes with endpoints",
            |s| {
                external(s);
                service(s).spec.internal_traffic_policy = TrafficPolicy::Local;
                s.slices.get_mut(&mk_key()).unwrap()[0].endpoints.pop();
                rules(s).bgp[0].routes = vec![RouteKind::ClusterIPRange];
                rules(s).cluster_ip_ranges = vec!["10.96.0.0/12".parse().unwrap()];
            },
            Topic::Bgp,
            Mark::Good,
            "10.96.0.9 is announced to tor by n1",
        ),
        (
            "what the speaker holds back",
            |s| {
                let words = "Service demo/web: its IPv4 endpoints came and went too often";
                report(s, "n1").problems = vec![words.into(), "Service demo/other: no".into()];
            },
            Topic::Bgp,
            Mark::Bad,
            "n1: Service demo/web: its IPv4 endpoints",
        ),
        (
            "a draining node",
            |s| s.nodes.get_mut("n2").unwrap().spec.unschedulable = true,
            Topic::Bgp,
            Mark::Note,
            "n2: a last resort for routers, as the Node drains (unschedulable)",
        ),
    ]);
}

#[test]
fn refused_objects_are_named_with_their_reason() {
    check(&[
        (
            "refused peer",
            |s| {
                let conditions = vec![mk_condition(ACCEPTED, false, "Invalid", "peerASN: 0")];
                s.judged.push(Judged {
                    kind: "BGPPeer",
                    name: "bad".to_owned(),
                    conditions,
                });
            },
            Topic::Refused,
            Mark::Note,
            "BGPPeer bad: Accepted is False (Invalid): peerASN: 0",
        ),
        (
            "unjudged advertisement",
            |s| {
                s.judged.push(Judged {
                    kind: "L2Advertisement",
                    name: "new".to_owned(),
                    conditions: Vec::new(),
                });
            },
            Topic::Refused,
            Mark::Note,
            "L2Advertisement new: not judged yet",
        ),
    ]);
}

#[test]
fn long_lists_of_nodes_are_cut() {
    let names: Vec<String> = (0..20).map(|n| format!("n{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(listed(&names), "n0, n1, n2, n3, n4, n5, n6, n7 and 12 more");
    assert_eq!(listed(&["a", "b"]), "a, b");
}
