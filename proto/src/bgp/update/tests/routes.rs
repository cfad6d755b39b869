//! Where routes are looked for, and what it costs not to find them (RFC 7606 §3 j, §5).

use super::*;

#[test]
fn end_of_rib_is_recognised_per_family() {
    let v4 = examine(&mk_body(&[], &[], &[]), Relation::External, true);
    assert_eq!(v4.end_of_rib, Some(Family::V4Unicast));
    let unreach = [0x80, 15, 3, 0, 2, 1];
    let v6 = examine(&mk_body(&[], &unreach, &[]), Relation::Internal, true);
    assert_eq!(v6.end_of_rib, Some(Family::V6Unicast));
    assert_eq!(v6.verdict, Verdict::Fine);
}

#[test]
fn faulty_attributes_without_a_route_reset_the_session() {
    let lost = Verdict::Reset(Code::MALFORMED_ATTRIBUTE_LIST.bare());
    let communities = [0xc0, 8, 3, 1, 2, 3];
    let unreach = |nlri: &[u8]| {
        let length = u8::try_from(3 + nlri.len()).unwrap();
        [&[0x80, 15, length, 0, 2, 1][..], nlri].concat()
    };
    let foreign = [0x80, 14, 8, 0, 25, 70, 0, 0, 1, 2, 3];
    let reach = |nlri: &[u8]| mp_reach(2, &[0xfd; 16], nlri);
    for (name, attributes, nlri, want) in [
        ("with a route", plus(&communities), ROUTE, Verdict::Withdraw),
        ("alone", plus(&communities), &[], lost.clone()),
        ("ORIGIN of 2", vec![0x40, 1, 2, 0, 0], &[], lost.clone()),
        ("overrun", plus(&[0xc0, 8, 9, 1]), &[], lost.clone()),
        (
            "with withdrawals only",
            [&communities[..], &unreach(&[0])].concat(),
            &[],
            lost.clone(),
        ),
        (
            "MP_REACH of nothing",
            [&communities[..], &reach(&[])].concat(),
            &[],
            lost,
        ),
        (
            "MP_REACH of a route",
            plus(&[&communities[..], &reach(&[0])].concat()),
            &[],
            Verdict::Withdraw,
        ),
        (
            "a route of a foreign family",
            plus(&[&communities[..], &foreign].concat()),
            &[],
            Verdict::Withdraw,
        ),
        (
            "half a header behind withdrawals",
            [&unreach(&[0])[..], &[0]].concat(),
            &[],
            Verdict::Withdraw,
        ),
        (
            "to be discarded only",
            plus(&[0x40, 5, 4, 0, 0, 0, 100]),
            &[],
            Verdict::Discard,
        ),
        ("nothing faulty", GOOD.to_vec(), &[], Verdict::Fine),
        ("MP_REACH of nothing, alone", reach(&[]), &[], Verdict::Fine),
    ] {
        assert_eq!(judge(&attributes, nlri), want, "{name}");
    }
}

#[test]
fn routes_in_an_attribute_that_cannot_be_trusted_reset_the_session() {
    let reach = mp_reach(2, &[0xfd; 16], &[0]);
    let unreach = [0x80, 15, 4, 0, 2, 1, 0];
    let flagged = |attribute: &[u8], flags: u8| [&[flags][..], &attribute[1..]].concat();
    for (name, attribute, want) in [
        ("MP_REACH", reach.clone(), None),
        ("MP_UNREACH", unreach.to_vec(), None),
        ("low flag bits", flagged(&unreach, 0x8f & !0x10), None),
        (
            "MP_REACH transitive",
            flagged(&reach, 0xc0),
            Some(Code::OPTIONAL_ATTRIBUTE_ERROR),
        ),
        (
            "MP_UNREACH well-known",
            flagged(&unreach, 0x40),
            Some(Code::OPTIONAL_ATTRIBUTE_ERROR),
        ),
        (
            "MP_REACH overruns",
            reach[..reach.len() - 1].to_vec(),
            Some(Code::MALFORMED_ATTRIBUTE_LIST),
        ),
        (
            "MP_UNREACH overruns",
            vec![0x80, 15, 9, 0, 2, 1],
            Some(Code::MALFORMED_ATTRIBUTE_LIST),
        ),
        (
            "MP_REACH of a foreign family, well-known",
            vec![0x40, 14, 5, 0, 25, 70, 0, 0],
            None,
        ),
        (
            "MP_REACH of a foreign family with a next hop beyond its end",
            vec![0x80, 14, 5, 0, 25, 70, 200, 0],
            None,
        ),
    ] {
        let want = want.map_or(Verdict::Fine, |code| Verdict::Reset(code.bare()));
        assert_eq!(judge(&plus(&attribute), ROUTE), want, "{name}");
    }
}

#[test]
fn the_end_of_a_table_stands_alone() {
    let end = [0x80, 15, 3, 0, 2, 1];
    for (name, body) in [
        ("beside a route", mk_body(&[], &plus(&end), ROUTE)),
        ("beside a withdrawal", mk_body(ROUTE, &end, &[])),
        ("beside attributes", mk_body(&[], &plus(&end), &[])),
        (
            "of another family",
            mk_body(&[], &[0x80, 15, 3, 0, 25, 70], &[]),
        ),
        (
            "with junk behind it",
            mk_body(&[], &[&end[..], &[0]].concat(), &[]),
        ),
    ] {
        let got = examine(&body, Relation::External, true);
        assert_eq!(got.end_of_rib, None, "{name}");
    }
    let v4 = examine(
        &mk_body(&[], &[0x80, 15, 3, 0, 1, 1], &[]),
        Relation::External,
        true,
    );
    assert_eq!(
        v4.end_of_rib,
        Some(Family::V4Unicast),
        "IPv4 in the form of the others"
    );
}

/// `MP_REACH_NLRI` with these next hop bytes and this NLRI.
fn mp_reach(afi: u8, next_hop: &[u8], nlri: &[u8]) -> Vec<u8> {
    let length = u8::try_from(next_hop.len()).unwrap();
    let value = [&[0, afi, 1, length][..], next_hop, &[0], nlri].concat();
    let total = u8::try_from(value.len()).unwrap();
    [&[0x80, 14, total][..], &value].concat()
}

#[test]
fn a_next_hop_of_impossible_length_resets_and_any_address_is_taken() {
    let error = Verdict::Reset(Code::OPTIONAL_ATTRIBUTE_ERROR.bare());
    for (afi, length, want) in [
        (1, 4, Verdict::Fine),
        (1, 16, Verdict::Fine),
        (1, 32, Verdict::Fine),
        (2, 16, Verdict::Fine),
        (2, 32, Verdict::Fine),
        (1, 0, error.clone()),
        (1, 5, error.clone()),
        (2, 0, error.clone()),
        (2, 4, error.clone()),
        (2, 15, error.clone()),
        (2, 24, error.clone()),
        (2, 33, error),
    ] {
        for octet in [0, 0xff] {
            let reach = mp_reach(afi, &vec![octet; length], &[0]);
            let got = judge(&plus(&reach), &[]);
            assert_eq!(got, want, "AFI {afi}, {length} times {octet}");
        }
    }
}

#[test]
fn a_family_that_was_not_agreed_is_not_read() {
    let garbage = mp_reach(2, &[1, 2, 3], &[255, 255]);
    let unreach = [0x80, 15, 5, 0, 2, 1, 200, 7];
    for attribute in [&garbage[..], &unreach] {
        let body = mk_body(&[], &plus(attribute), ROUTE);
        let terms = |families| Terms {
            relation: Relation::External,
            as4: true,
            families,
        };
        let v4 = Families::only(Family::V4Unicast);
        let got = examine_within(terms(v4), &body);
        assert_eq!((got.verdict, got.announced), (Verdict::Fine, 1));
        let both = v4.with(Family::V6Unicast);
        let got = examine_within(terms(both), &body).verdict;
        assert!(matches!(got, Verdict::Reset(_)), "{got:?}");
    }
}
