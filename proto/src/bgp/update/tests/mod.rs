//! What is judged how.

mod attributes;
mod routes;

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
