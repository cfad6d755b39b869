//! Judging the peer's OPEN, and what both sides agree on (RFC 4271 §6.2).

use std::time::Duration;

use super::super::{
    Asn, Capabilities, Code, Families, HoldTime, Notification, Open, Relation, RouterId,
};
use super::Config;

/// KEEPALIVEs must not come more often (RFC 4271 §4.4).
const SHORTEST_KEEPALIVE: Duration = Duration::from_secs(1);

/// What holds for a session; computed once from both OPENs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The peer's identifier.
    pub peer_id: RouterId,
    /// The peer's AS.
    pub peer_as: Asn,
    /// eBGP or iBGP.
    pub relation: Relation,
    /// How long silence is endured.
    pub hold: HoldTime,
    /// Longest time between our keepalives; `None` if they are off.
    pub keepalive: Option<Duration>,
    /// What both offered.
    pub families: Families,
    /// Both write AS numbers in four octets.
    pub as4: bool,
    /// IPv4 routes may have an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
    /// Markers stand around what is sent again (RFC 7313).
    pub enhanced_refresh: bool,
    /// What the peer does about restarts, if both offered it (RFC 4724).
    pub graceful_restart: Option<PeerRestart>,
}

/// How the peer treats a restart of ours, and whether it has had one itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerRestart {
    /// It has just restarted (bit R).
    pub restarted: bool,
    /// Both said bit N: it keeps our routes when the hold timer expires or a NOTIFICATION other than Hard Reset
    /// comes (RFC 8538).
    pub notification: bool,
    /// Whose routes it wants to be kept while it restarts itself: none, if it helps others alone.
    pub families: Families,
    /// How long it takes for its own restarts.
    pub time: Duration,
    /// Both offered to keep stale routes as a last resort (RFC 9494).
    pub long_lived: bool,
}

impl Negotiated {
    /// Whether a NOTIFICATION leaves our routes in place unless it says Hard Reset (RFC 8538).
    #[must_use]
    pub fn keeps_routes_on_notification(&self) -> bool {
        self.graceful_restart
            .is_some_and(|restart| restart.notification)
    }
}

/// Judges `theirs`, given what `offered` of ours went out; the error is the answer to send.
///
/// Who the peer is comes first, then how it wants to talk: AS, identifier, hold time, role (RFC 4271 §6.2 lists the
/// faults and prescribes no order). Only what both sides offered counts, never what one of them would like.
pub fn validate_open(
    config: &Config,
    offered: &Capabilities,
    theirs: &Open,
) -> Result<Negotiated, Notification> {
    let caps = &theirs.capabilities;
    let peer_as = peer_as(theirs)?;
    if !config.peer_as.accepts(peer_as, config.local_as) {
        return Err(Code::BAD_PEER_AS.bare());
    }
    let relation = config.local_as.relation(peer_as);
    let identifier = theirs.identifier.to_be_bytes();
    let peer_id =
        RouterId::new(theirs.identifier).map_err(|_| Code::BAD_BGP_IDENTIFIER.with(&identifier))?;
    // RFC 6286 §2.2: unique within the AS, not in the world.
    if relation == Relation::Internal && peer_id == config.router_id {
        return Err(Code::BAD_BGP_IDENTIFIER.with(&identifier));
    }
    let hold = HoldTime::new(theirs.hold_time)
        .map_err(|_| Code::UNACCEPTABLE_HOLD_TIME.with(&theirs.hold_time.to_be_bytes()))?
        .negotiate(config.hold_time);
    check_role(config, offered, caps)?;
    Ok(Negotiated {
        peer_id,
        peer_as,
        relation,
        hold,
        keepalive: hold
            .keepalive()
            .map(|third| config.keepalive.map_or(third, |wish| wish.min(third)))
            .map(|interval| interval.max(SHORTEST_KEEPALIVE)),
        families: offered.families().common(caps.families()),
        as4: offered.four_octet_as.is_some() && caps.four_octet_as.is_some(),
        extended_next_hop: extended_next_hop(offered, caps),
        enhanced_refresh: offered.enhanced_refresh && caps.enhanced_refresh,
        graceful_restart: graceful_restart(offered, caps),
    })
}

/// Two roles must belong together; one alone is none (RFC 9234 §4.2, without the strict mode).
fn check_role(
    config: &Config,
    ours: &Capabilities,
    theirs: &Capabilities,
) -> Result<(), Notification> {
    let offered = config.role.filter(|_| ours.role.is_some());
    match offered.zip(theirs.role) {
        Some((role, claim)) if !claim.is(role.counterpart()) => Err(Code::ROLE_MISMATCH.bare()),
        Some(_) | None => Ok(()),
    }
}

/// RFC 8950 §4; such routes go in `MP_REACH_NLRI`, which needs capability 1 as well.
fn extended_next_hop(ours: &Capabilities, theirs: &Capabilities) -> bool {
    let can = |side: &Capabilities| side.extended_next_hop && side.multiprotocol.is_some();
    can(ours) && can(theirs)
}

fn graceful_restart(ours: &Capabilities, theirs: &Capabilities) -> Option<PeerRestart> {
    let (us, them) = (ours.restart?, theirs.restart?);
    Some(PeerRestart {
        restarted: them.restarted,
        notification: us.notification && them.notification,
        families: them.families,
        time: Duration::from_secs(u64::from(them.time)),
        long_lived: ours.long_lived.is_some() && theirs.long_lived.is_some(),
    })
}

/// The AS that an OPEN claims. The field and capability 65 must agree (RFC 6793 §4.1), and nobody's own number is
/// `AS_TRANS` (RFC 6793 §9).
fn peer_as(open: &Open) -> Result<Asn, Notification> {
    let bad = Code::BAD_PEER_AS;
    let asn = match open.capabilities.four_octet_as {
        Some(number) => Asn::new(number).map_err(|_| bad.bare())?,
        None if open.my_as == Asn::TRANS => return Err(bad.bare()),
        None => return Asn::new(u32::from(open.my_as)).map_err(|_| bad.bare()),
    };
    // AS_TRANS is also taken from those who could have written their number.
    let agrees = open.my_as == Asn::TRANS || asn.two_byte() == Some(open.my_as);
    if agrees && asn.two_byte() != Some(Asn::TRANS) {
        Ok(asn)
    } else {
        Err(bad.bare())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Family, Role, RoleClaim};
    use super::super::tests::mk_config;
    use super::super::{Offer, PeerAs};
    use super::*;

    fn mk_open() -> Open {
        let config = mk_config(65001, 65000, "10.0.0.9");
        let capabilities = Offer::FULL.capabilities(&config);
        config.open(capabilities)
    }

    fn judge(open: &Open) -> Result<Negotiated, Notification> {
        let config = mk_config(65000, 65001, "10.0.0.1");
        validate_open(&config, &Offer::FULL.capabilities(&config), open)
    }

    #[test]
    fn a_good_open_is_negotiated() {
        let got = judge(&Open {
            hold_time: 9,
            ..mk_open()
        })
        .unwrap();
        assert_eq!(got.hold.seconds(), 9);
        let long = judge(&Open {
            hold_time: 65535,
            ..mk_open()
        });
        assert_eq!(long.unwrap().hold, HoldTime::DEFAULT, "ours is shorter");
        assert_eq!(got.keepalive, Some(Duration::from_secs(3)));
        assert_eq!(got.families, Families::only(Family::V4Unicast));
        assert!(got.as4);
    }

    #[test]
    fn a_wrong_as_is_refused_wherever_it_stands() {
        // Name, field, capability 65.
        for (name, my_as, four_octet_as) in [
            ("another AS", 65002, None),
            ("another AS in both", 65002, Some(65002)),
            ("our own AS", 65000, Some(65000)),
            ("AS 0", 0, None),
            ("AS 0 in the capability", 65001, Some(0)),
            ("AS 0 in the field", 0, Some(65001)),
            ("AS_TRANS alone", Asn::TRANS, None),
            ("field and capability differ", 65002, Some(65001)),
        ] {
            let capabilities = Capabilities {
                four_octet_as,
                ..mk_open().capabilities
            };
            let open = Open {
                my_as,
                capabilities,
                ..mk_open()
            };
            assert_eq!(judge(&open), Err(Code::BAD_PEER_AS.bare()), "{name}");
        }
    }

    #[test]
    fn each_fault_has_its_own_answer_and_the_first_one_counts() {
        // Name, AS, identifier, hold time.
        for (name, my_as, identifier, hold_time, want) in [
            (
                "identifier 0",
                65001,
                0,
                90,
                Code::BAD_BGP_IDENTIFIER.with(&[0; 4]),
            ),
            (
                "hold 1",
                65001,
                9,
                1,
                Code::UNACCEPTABLE_HOLD_TIME.with(&[0, 1]),
            ),
            (
                "hold 2",
                65001,
                9,
                2,
                Code::UNACCEPTABLE_HOLD_TIME.with(&[0, 2]),
            ),
            ("all at once", 1, 0, 1, Code::BAD_PEER_AS.bare()),
            (
                "identifier and hold time",
                65001,
                0,
                1,
                Code::BAD_BGP_IDENTIFIER.with(&[0; 4]),
            ),
        ] {
            let open = Open {
                my_as,
                hold_time,
                identifier,
                ..mk_open()
            };
            assert_eq!(judge(&open), Err(want), "{name}");
        }
    }

    #[test]
    fn as_trans_is_nobodys_own_number() {
        let config = Config {
            peer_as: PeerAs::External,
            ..mk_config(65000, 65001, "10.0.0.1")
        };
        let capabilities = Capabilities {
            four_octet_as: Some(u32::from(Asn::TRANS)),
            ..mk_open().capabilities
        };
        let open = Open {
            my_as: Asn::TRANS,
            capabilities,
            ..mk_open()
        };
        let got = validate_open(&config, &Offer::FULL.capabilities(&config), &open);
        assert_eq!(got, Err(Code::BAD_PEER_AS.bare()));
    }

    #[test]
    fn keepalives_are_never_meant_to_come_more_often_than_each_second() {
        for wish in [Duration::ZERO, Duration::from_millis(10)] {
            let config = Config {
                keepalive: Some(wish),
                ..mk_config(65000, 65001, "10.0.0.1")
            };
            let offered = Offer::FULL.capabilities(&config);
            let got = validate_open(&config, &offered, &mk_open()).unwrap();
            assert_eq!(got.keepalive, Some(Duration::from_secs(1)), "{wish:?}");
        }
    }

    #[test]
    fn odd_but_legal_opens_are_taken() {
        let our_id = u32::from_be_bytes([10, 0, 0, 1]);
        for (name, open) in [
            (
                "AS_TRANS with capability",
                Open {
                    my_as: Asn::TRANS,
                    ..mk_open()
                },
            ),
            (
                "identifier 255.255.255.255",
                Open {
                    identifier: u32::MAX,
                    ..mk_open()
                },
            ),
            (
                "our identifier, other AS",
                Open {
                    identifier: our_id,
                    ..mk_open()
                },
            ),
            (
                "hold 0",
                Open {
                    hold_time: 0,
                    ..mk_open()
                },
            ),
            (
                "no capabilities",
                Open {
                    capabilities: Capabilities::default(),
                    ..mk_open()
                },
            ),
        ] {
            assert!(judge(&open).is_ok(), "{name}");
        }
    }

    #[test]
    fn roles_must_belong_together_where_both_sides_have_one() {
        let config = Config {
            role: Some(Role::Customer),
            ..mk_config(65000, 65001, "10.0.0.1")
        };
        let offered = Offer::FULL.capabilities(&config);
        for (name, theirs, fits) in [
            ("a provider", Some(RoleClaim::One(0)), true),
            ("none", None, true),
            ("another customer", Some(RoleClaim::One(3)), false),
            ("a peer", Some(RoleClaim::One(4)), false),
            ("no role at all", Some(RoleClaim::One(5)), false),
            ("several", Some(RoleClaim::Several), false),
        ] {
            let capabilities = Capabilities {
                role: theirs,
                ..mk_open().capabilities
            };
            let open = Open {
                capabilities,
                ..mk_open()
            };
            let got = validate_open(&config, &offered, &open).map(drop);
            let want = if fits {
                Ok(())
            } else {
                Err(Code::ROLE_MISMATCH.bare())
            };
            assert_eq!(got, want, "{name}");
            assert!(judge(&open).is_ok(), "{name}, and we have none");
        }
    }

    #[test]
    fn our_identifier_within_our_as_is_refused() {
        let config = mk_config(65001, 65001, "10.0.0.9");
        let got = validate_open(&config, &Offer::FULL.capabilities(&config), &mk_open());
        assert_eq!(got, Err(Code::BAD_BGP_IDENTIFIER.with(&[10, 0, 0, 9])));
    }

    #[test]
    fn ipv6_next_hops_of_ipv4_need_both_sides_and_capability_1() {
        let config = Config {
            extended_next_hop: true,
            ..mk_config(65000, 65001, "10.0.0.1")
        };
        let ours = Offer::FULL.capabilities(&config);
        for (ours_too, theirs, multiprotocol, agreed) in [
            (true, true, true, true),
            (true, true, false, false),
            (true, false, true, false),
            (false, true, true, false),
        ] {
            let ours = Capabilities {
                extended_next_hop: ours_too,
                ..ours.clone()
            };
            let open = mk_open();
            let capabilities = Capabilities {
                extended_next_hop: theirs,
                multiprotocol: open.capabilities.multiprotocol.filter(|_| multiprotocol),
                ..open.capabilities.clone()
            };
            let open = Open {
                capabilities,
                ..open
            };
            let got = validate_open(&config, &ours, &open).unwrap();
            assert_eq!(
                got.extended_next_hop, agreed,
                "{ours_too} {theirs} {multiprotocol}"
            );
        }
    }

    #[test]
    fn only_what_both_offered_counts() {
        let config = mk_config(65000, 65001, "10.0.0.1");
        let bare = validate_open(&config, &Capabilities::default(), &mk_open()).unwrap();
        assert!(!bare.as4, "we did not offer it");
        let old = Capabilities {
            multiprotocol: Some(Families::only(Family::V6Unicast)),
            ..Capabilities::default()
        };
        let got = judge(&Open {
            capabilities: old,
            ..mk_open()
        })
        .unwrap();
        assert!(got.families.is_empty());
        assert!(!got.as4);
    }
}
