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
