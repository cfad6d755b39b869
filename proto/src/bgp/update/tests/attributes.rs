//! Attributes one by one (RFC 7606 §7, RFC 6793 §6 and later documents).

use super::*;

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
        ("unknown well-known", plus(&[0x40, 99, 1, 7]), Withdraw),
        (
            "MP of a foreign family",
            plus(&[0x80, 15, 4, 0, 25, 70, 1]),
            Fine,
        ),
    ] {
        assert_eq!(judge(&attributes, ROUTE), want, "{name}");
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
        ("AS4_PATH empty", &[0xc0, 17, 0], Discard),
        (
            "AS4_PATH of a confederation",
            &[0xc0, 17, 6, 3, 1, 0, 1, 0, 0],
            Discard,
        ),
        (
            "AS4_PATH of AS 0",
            &[0xc0, 17, 6, 2, 1, 0, 0, 0, 0],
            Discard,
        ),
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
