//! What is judged how.

use proptest::prelude::*;

use super::*;

const GOOD: &[u8] = &[
    0x40, 1, 1, 0, // ORIGIN IGP
    0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe8, // AS_PATH 65000
    0x40, 3, 4, 192, 0, 2, 1, // NEXT_HOP
];
const ROUTE: &[u8] = &[32, 10, 0, 0, 1];

fn mk_body(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let length = |part: &[u8]| u16::try_from(part.len()).unwrap().to_be_bytes();
    [
        &length(withdrawn),
        withdrawn,
        &length(attributes),
        attributes,
        nlri,
    ]
    .concat()
}

fn judge(attributes: &[u8], nlri: &[u8]) -> Verdict {
    examine(&mk_body(&[], attributes, nlri), Relation::External, true).verdict
}

fn plus(extra: &[u8]) -> Vec<u8> {
    [GOOD, extra].concat()
}

#[test]
fn a_sound_update_is_counted() {
    let body = mk_body(&[8, 10, 0], GOOD, &[ROUTE, ROUTE].concat());
    let got = examine(&body, Relation::External, true);
    let want = Examined {
        announced: 2,
        withdrawn: 2,
        verdict: Verdict::Fine,
        end_of_rib: None,
    };
    assert_eq!(got, want);
}

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
fn what_cannot_be_cut_resets_the_session() {
    let twice = [&[0x80, 15, 3, 0, 2, 1][..], &[0x80, 15, 3, 0, 2, 1]].concat();
    for (name, body, want) in [
        (
            "withdrawn overrun",
            vec![0, 9, 0, 0],
            Code::MALFORMED_ATTRIBUTE_LIST,
        ),
        (
            "attribute overrun",
            vec![0, 0, 0, 9],
            Code::MALFORMED_ATTRIBUTE_LIST,
        ),
        (
            "MP_UNREACH twice",
            mk_body(&[], &twice, &[]),
            Code::MALFORMED_ATTRIBUTE_LIST,
        ),
        (
            "withdrawn /33",
            mk_body(&[33, 0, 0, 0, 0, 0], &[], &[]),
            Code::INVALID_NETWORK_FIELD,
        ),
        (
            "NLRI /33",
            mk_body(&[], GOOD, &[33, 0, 0, 0, 0, 0]),
            Code::INVALID_NETWORK_FIELD,
        ),
        (
            "NLRI cut",
            mk_body(&[], GOOD, &[32, 10]),
            Code::INVALID_NETWORK_FIELD,
        ),
        (
            "MP NLRI /129",
            mk_body(&[], &[0x80, 15, 4, 0, 2, 1, 129], &[]),
            Code::OPTIONAL_ATTRIBUTE_ERROR,
        ),
        (
            "MP next hop of 7",
            mk_body(
                &[],
                &[0x80, 14, 12, 0, 2, 1, 7, 0, 0, 0, 0, 0, 0, 0, 0],
                &[],
            ),
            Code::OPTIONAL_ATTRIBUTE_ERROR,
        ),
    ] {
        let got = examine(&body, Relation::External, true).verdict;
        assert_eq!(got, Verdict::Reset(want.bare()), "{name}");
    }
}

#[test]
fn faulty_attributes_cost_routes_but_not_the_session() {
    use Verdict::{Discard, Fine, Withdraw};
    for (name, attributes, want) in [
        ("none wrong", GOOD.to_vec(), Fine),
        (
            "ORIGIN 3",
            plus(&[])[..3]
                .iter()
                .chain(&[3])
                .chain(&GOOD[4..])
                .copied()
                .collect(),
            Withdraw,
        ),
        ("no NEXT_HOP", GOOD[..13].to_vec(), Withdraw),
        (
            "block overrun by attribute",
            plus(&[0xc0, 8, 9, 1]),
            Withdraw,
        ),
        ("junk at the end", plus(&[0]), Withdraw),
        ("COMMUNITIES of 3", plus(&[0xc0, 8, 3, 1, 2, 3]), Withdraw),
        ("COMMUNITIES empty", plus(&[0xc0, 8, 0]), Withdraw),
        (
            "COMMUNITIES with wrong flags",
            plus(&[0x40, 8, 4, 0, 0, 0, 0]),
            Withdraw,
        ),
        (
            "LARGE of 11",
            plus(&[0xc0, 32, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            Withdraw,
        ),
        (
            "LOCAL_PREF from outside",
            plus(&[0x40, 5, 4, 0, 0, 0, 100]),
            Discard,
        ),
        (
            "AGGREGATOR of 5",
            plus(&[0xc0, 7, 5, 0, 0, 0, 0, 0]),
            Discard,
        ),
        ("AS4_PATH from a 4-byte peer", plus(&[0xc0, 17, 0]), Discard),
        ("second ORIGIN", plus(&[0x40, 1, 1, 0]), Discard),
        ("unknown transitive", plus(&[0xc0, 99, 1, 7]), Fine),
        ("unknown well-known", plus(&[0x40, 99, 1, 7]), Fine),
        (
            "MP of a foreign family",
            plus(&[0x80, 15, 4, 0, 25, 70, 1]),
            Fine,
        ),
    ] {
        assert_eq!(judge(&attributes, ROUTE), want, "{name}");
    }
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

#[test]
fn attributes_of_later_documents_have_their_rules() {
    use Verdict::{Discard, Fine, Withdraw};
    for (name, attribute, want) in [
        (
            "IPv6 community of 20",
            [&[0xc0, 25, 20][..], &[0; 20]].concat(),
            Fine,
        ),
        (
            "IPv6 community of 19",
            [&[0xc0, 25, 19][..], &[0; 19]].concat(),
            Withdraw,
        ),
        ("only-to-customer", vec![0xc0, 35, 4, 0, 0, 0, 1], Fine),
        (
            "only-to-customer of 3",
            vec![0xc0, 35, 3, 0, 0, 1],
            Withdraw,
        ),
        (
            "extended community of 7",
            vec![0xc0, 16, 7, 0, 0, 0, 0, 0, 0, 0],
            Withdraw,
        ),
        (
            "AGGREGATOR with AS 0",
            vec![0xc0, 7, 8, 0, 0, 0, 0, 10, 0, 0, 1],
            Discard,
        ),
        ("ATOMIC_AGGREGATE of 1", vec![0x40, 6, 1, 0], Discard),
        ("MED of 3", vec![0x80, 4, 3, 0, 0, 1], Withdraw),
        ("ORIGINATOR_ID from outside", vec![0x80, 9, 1, 0], Discard),
        ("CLUSTER_LIST from outside", vec![0x80, 10, 0], Discard),
        (
            "AS4_AGGREGATOR from a 4-byte peer",
            vec![0xc0, 18, 8, 0, 0, 0, 1, 10, 0, 0, 1],
            Discard,
        ),
        ("low flag bits", vec![0xcf, 8, 4, 0, 0, 0, 1], Fine),
        ("partial bit", vec![0xe0, 8, 4, 0, 0, 0, 1], Fine),
        ("unknown of length 0", vec![0xc0, 200, 0], Fine),
    ] {
        assert_eq!(judge(&plus(&attribute), ROUTE), want, "{name}");
    }
}

#[test]
fn inside_of_an_as_the_attributes_of_reflection_are_read() {
    use Verdict::{Fine, Withdraw};
    let preference = [0x40, 5, 4, 0, 0, 0, 100];
    for (name, extra, want) in [
        (
            "reflected",
            &[0x80, 9, 4, 1, 2, 3, 4, 0x80, 10, 4, 1, 2, 3, 4][..],
            Fine,
        ),
        ("ORIGINATOR_ID of 3", &[0x80, 9, 3, 1, 2, 3], Withdraw),
        ("CLUSTER_LIST of 5", &[0x80, 10, 5, 1, 2, 3, 4, 5], Withdraw),
        ("CLUSTER_LIST empty", &[0x80, 10, 0], Withdraw),
    ] {
        let attributes = [GOOD, &preference, extra].concat();
        let body = mk_body(&[], &attributes, ROUTE);
        let got = examine(&body, Relation::Internal, true).verdict;
        assert_eq!(got, want, "{name}");
    }
    let without = examine(&mk_body(&[], GOOD, ROUTE), Relation::Internal, true);
    assert_eq!(without.verdict, Withdraw, "no LOCAL_PREF");
    let short = [GOOD, &[0x40, 5, 3, 0, 0, 1]].concat();
    let short = examine(&mk_body(&[], &short, ROUTE), Relation::Internal, true);
    assert_eq!(short.verdict, Withdraw, "LOCAL_PREF of 3");
}

#[test]
fn a_two_byte_peer_may_send_the_true_path_beside_it() {
    use Verdict::{Discard, Fine};
    let path = [
        0x40, 1, 1, 0, 0x40, 2, 4, 2, 1, 0x5b, 0xa0, 0x40, 3, 4, 192, 0, 2, 1,
    ];
    for (name, extra, want) in [
        ("AS4_PATH", &[0xc0, 17, 6, 2, 1, 0, 1, 0, 0][..], Fine),
        ("AS4_PATH cut short", &[0xc0, 17, 5, 2, 1, 0, 1, 0], Discard),
        (
            "AS4_AGGREGATOR",
            &[0xc0, 18, 8, 0, 1, 0, 0, 10, 0, 0, 1],
            Fine,
        ),
        (
            "AS4_AGGREGATOR of 6",
            &[0xc0, 18, 6, 0, 1, 10, 0, 0, 1],
            Discard,
        ),
        (
            "AGGREGATOR of 6",
            &[0xc0, 7, 6, 0x5b, 0xa0, 10, 0, 0, 1],
            Fine,
        ),
    ] {
        let body = mk_body(&[], &[&path[..], extra].concat(), ROUTE);
        let got = examine(&body, Relation::External, false).verdict;
        assert_eq!(got, want, "{name}");
    }
}

#[test]
fn the_most_severe_fault_wins() {
    let unreach = [0x80, 15, 3, 0, 2, 1];
    let discard = [0x40, 5, 4, 0, 0, 0, 100];
    let withdraw = [0xc0, 8, 3, 1, 2, 3];
    let twice = Verdict::Reset(Code::MALFORMED_ATTRIBUTE_LIST.bare());
    for (name, faults, want) in [
        ("discard", vec![&discard[..]], Verdict::Discard),
        (
            "discard, withdraw",
            vec![&discard[..], &withdraw],
            Verdict::Withdraw,
        ),
        (
            "withdraw, discard",
            vec![&withdraw[..], &discard],
            Verdict::Withdraw,
        ),
        (
            "withdraw, reset",
            vec![&withdraw[..], &unreach, &unreach],
            twice.clone(),
        ),
        (
            "reset, withdraw",
            vec![&unreach[..], &unreach, &withdraw],
            twice,
        ),
    ] {
        assert_eq!(judge(&plus(&faults.concat()), ROUTE), want, "{name}");
    }
}

#[test]
fn strange_but_sound_routes_are_none_of_our_business() {
    for nlri in [
        &[8, 224][..],
        &[0],
        &[8, 127],
        &[8, 0xff],
        &[1, 0xff],
        &[32, 255, 255, 255, 255],
    ] {
        assert_eq!(judge(GOOD, nlri), Verdict::Fine, "{nlri:?}");
    }
    let mut path = vec![0x50, 2];
    path.extend(u16::try_from(4 * (2 + 250 * 4)).unwrap().to_be_bytes());
    for _ in 0..4 {
        path.extend([2, 250]);
        path.extend([0, 0, 0xfd, 0xe8].repeat(250));
    }
    let long = [&GOOD[..4], &path, &GOOD[13..]].concat();
    assert_eq!(judge(&long, ROUTE), Verdict::Fine, "a thousand hops");
    let mut communities = vec![0xd0, 8];
    communities.extend(4000u16.to_be_bytes());
    communities.extend([0; 4000]);
    assert_eq!(judge(&plus(&communities), ROUTE), Verdict::Fine);
    let empty = [&GOOD[..4], &[0x40, 2, 0], &GOOD[13..]].concat();
    assert_eq!(judge(&empty, ROUTE), Verdict::Fine, "no hops at all");
}

proptest! {
    #[test]
    fn random_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        attributes in proptest::collection::vec(prop_oneof![0u8..40, Just(0x40), Just(0x80), Just(0xc0), any::<u8>()], 0..200),
        as4: bool, external: bool,
    ) {
        let relation = if external { Relation::External } else { Relation::Internal };
        let _ = examine(&bytes, relation, as4);
        let _ = examine(&mk_body(&[], &attributes, ROUTE), relation, as4);
    }
}
