use proptest::prelude::*;

use super::*;

const US: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const CLIENT: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x99]);

fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn mk_solicitation(source: &str, destination: &str, source_mac: Option<MacAddr>) -> Message {
    Message {
        source: ip(source),
        destination: ip(destination),
        target: ip("2001:db8::10"),
        body: Body::Solicitation {
            source_mac,
            nonce: None,
        },
    }
}

fn mk_multicast() -> Message {
    mk_solicitation("fe80::99", "ff02::1:ff00:10", Some(CLIENT))
}

fn payload(message: &Message) -> Vec<u8> {
    message
        .frame(CLIENT, MacAddr::of_group(message.destination))
        .as_bytes()[14..]
        .to_vec()
}

/// Writes the checksum that makes a changed packet valid again, so that a test reaches the check
/// it is about.
fn seal(mut payload: Vec<u8>) -> Vec<u8> {
    let ip = Ipv6Packet::new(&payload).unwrap();
    let (source, destination) = (ip.get_source(), ip.get_destination());
    let sum = icmpv6::checksum(
        &Icmpv6Packet::new(ip.payload()).unwrap(),
        &source,
        &destination,
    );
    payload[42..44].copy_from_slice(&sum.to_be_bytes());
    payload
}

/// The same packet with other bytes behind the fixed part.
fn with_options(options: &[u8]) -> Vec<u8> {
    let mut bytes = payload(&mk_multicast());
    bytes.truncate(64);
    bytes.extend(options);
    bytes[4..6].copy_from_slice(&u16::try_from(24 + options.len()).unwrap().to_be_bytes());
    seal(bytes)
}

/// Checksums of these were computed by hand with Python's struct and the sum of RFC 1071.
const GOLDEN_SOLICITATION: &str = "3333ff000010020000000099\
    86dd6000000000203aff\
    fe800000000000000000000000000099\
    ff0200000000000000000001ff000010\
    87004a1300000000\
    20010db8000000000000000000000010\
    0101020000000099";
const GOLDEN_ADVERTISEMENT: &str = "020000000099020000000001\
    86dd6000000000203aff\
    20010db8000000000000000000000010\
    fe800000000000000000000000000099\
    8800b8f660000000\
    20010db8000000000000000000000010\
    0201020000000001";
const GOLDEN_UNSOLICITED: &str = "333300000001020000000001\
    86dd6000000000203aff\
    20010db8000000000000000000000010\
    ff020000000000000000000000000001\
    8800f90c20000000\
    20010db8000000000000000000000010\
    0201020000000001";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn golden_frames_hold_in_both_directions() {
    let answer = mk_multicast().answer(US);
    let unsolicited = Message::unsolicited(ip("2001:db8::10"), US);
    let table = [
        (
            "solicitation",
            mk_multicast(),
            CLIENT,
            MacAddr([0x33, 0x33, 0xff, 0, 0, 0x10]),
            GOLDEN_SOLICITATION,
        ),
        ("advertisement", answer, US, CLIENT, GOLDEN_ADVERTISEMENT),
        (
            "unsolicited",
            unsolicited,
            US,
            MacAddr([0x33, 0x33, 0, 0, 0, 1]),
            GOLDEN_UNSOLICITED,
        ),
    ];
    for (name, message, from, to, golden) in table {
        let golden = hex(golden);
        assert_eq!(message.frame(from, to).as_bytes(), golden, "emit: {name}");
        let (header, payload) = Header::split(&golden).unwrap();
        assert_eq!(
            (header.source, header.destination),
            (from, to),
            "header: {name}"
        );
        assert_eq!(Message::parse(payload), Ok(message), "parse: {name}");
    }
}

#[test]
fn the_solicited_node_group_takes_the_low_24_bits() {
    assert_eq!(
        solicited_node(ip("2001:db8::12:3456:789a")),
        ip("ff02::1:ff56:789a")
    );
    assert_eq!(
        solicited_node(ip("ff02::1:ff56:789a")),
        ip("ff02::1:ff56:789a")
    );
}

#[test]
fn an_answer_is_solicited_and_overrides() {
    let answer = mk_multicast().answer(US);
    let expected = Body::Advertisement {
        router: false,
        solicited: true,
        overrides: true,
        target_mac: Some(US),
    };
    assert_eq!(
        (answer.destination, answer.body),
        (ip("fe80::99"), expected)
    );
}

#[test]
fn a_duplicate_address_probe_is_answered_to_all_nodes_unsolicited() {
    let answer = mk_solicitation("::", "ff02::1:ff00:10", None).answer(US);
    let expected = Body::Advertisement {
        router: false,
        solicited: false,
        overrides: true,
        target_mac: Some(US),
    };
    assert_eq!((answer.destination, answer.body), (ALL_NODES, expected));
}

#[test]
fn well_formed_solicitations_are_read() {
    let table = [
        ("multicast", mk_multicast()),
        (
            "unicast probe",
            mk_solicitation("fe80::99", "2001:db8::10", Some(CLIENT)),
        ),
        (
            "unicast probe without option",
            mk_solicitation("fe80::99", "2001:db8::10", None),
        ),
        (
            "duplicate address probe",
            mk_solicitation("::", "ff02::1:ff00:10", None),
        ),
    ];
    for (name, message) in table {
        assert_eq!(Message::parse(&payload(&message)), Ok(message), "{name}");
    }
}

#[test]
fn a_probe_from_nowhere_must_go_to_the_group_and_name_no_mac() {
    for (name, message) in [
        ("to a node", mk_solicitation("::", "2001:db8::10", None)),
        ("to all nodes", mk_solicitation("::", "ff02::1", None)),
        (
            "with a MAC",
            mk_solicitation("::", "ff02::1:ff00:10", Some(CLIENT)),
        ),
    ] {
        assert_eq!(
            Message::parse(&payload(&message)),
            Err(Error::Probe),
            "{name}"
        );
    }
}

#[test]
fn what_did_not_come_from_a_neighbour_or_is_malformed_is_refused() {
    let table: [(&str, usize, &[u8], Error); 7] = [
        ("IPv4", 0, &[0x45], Error::Version(4)),
        ("UDP", 6, &[17], Error::NextHeader(17)),
        ("hop limit", 7, &[254], Error::HopLimit(254)),
        (
            "multicast source",
            8,
            &[0xff],
            Error::Source(ip("ff80::99")),
        ),
        ("echo request", 40, &[128], Error::Type(128)),
        ("code", 41, &[1], Error::Code(1)),
        (
            "multicast target",
            48,
            &[0xff],
            Error::Target(ip("ff01:db8::10")),
        ),
    ];
    for (name, offset, patch, error) in table {
        let mut bytes = payload(&mk_multicast());
        bytes[offset..offset + patch.len()].copy_from_slice(patch);
        assert_eq!(Message::parse(&seal(bytes)), Err(error), "{name}");
    }
}

#[test]
fn any_flipped_bit_breaks_the_checksum() {
    let good = payload(&mk_multicast());
    for at in 8..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        assert!(Message::parse(&bytes).is_err(), "byte {at}");
    }
}

#[test]
fn every_truncation_is_refused() {
    let good = payload(&mk_multicast());
    for len in 0..good.len() {
        assert_eq!(
            Message::parse(&good[..len]),
            Err(Error::Truncated),
            "length {len}"
        );
    }
}

#[test]
fn ethernet_padding_behind_the_packet_is_ignored() {
    let mut bytes = payload(&mk_solicitation("fe80::99", "2001:db8::10", None));
    bytes.extend([0xee; 9]);
    assert!(Message::parse(&bytes).is_ok());
}

#[test]
fn options_are_walked_and_bad_lengths_discard_the_message() {
    let mac = [1, 1, 2, 0, 0, 0, 0, 0x99];
    let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
    let long = [[1, 33].as_slice(), &[0; 6]].concat();
    let table = [
        ("none", vec![], Ok(None)),
        ("nonce alone", nonce.to_vec(), Ok(None)),
        ("nonce, then MAC", [nonce, mac].concat(), Ok(Some(CLIENT))),
        (
            "a MAC of 14 bytes is not Ethernet's",
            [&[1, 2], [0; 14].as_slice()].concat(),
            Ok(None),
        ),
        (
            "length 0",
            vec![1, 0, 0, 0, 0, 0, 0, 0],
            Err(Error::Option(1, 0)),
        ),
        ("length over the end", long, Err(Error::Option(1, 33))),
        (
            "length 255",
            [&[1, 255], [0; 6].as_slice()].concat(),
            Err(Error::Option(1, 255)),
        ),
        (
            "one byte left",
            [mac.as_slice(), &[1]].concat(),
            Err(Error::Option(1, 0)),
        ),
    ];
    for (name, options, expected) in table {
        let parsed = Message::parse(&with_options(&options)).map(|message| match message.body {
            Body::Solicitation { source_mac, .. } => source_mac,
            Body::Advertisement { .. } => panic!("{name}: not a solicitation"),
        });
        assert_eq!(parsed, expected, "{name}");
    }
}

#[test]
fn an_advertisement_to_a_group_must_not_claim_to_be_an_answer() {
    let mut message = Message::unsolicited(ip("2001:db8::10"), US);
    message.body = Body::Advertisement {
        router: false,
        solicited: true,
        overrides: true,
        target_mac: Some(US),
    };
    assert_eq!(
        Message::parse(&payload(&message)),
        Err(Error::SolicitedToGroup)
    );
}

prop_compose! {
    fn arb_message()(
        source in any::<[u8; 16]>(), target in any::<[u8; 16]>(), node in any::<[u8; 16]>(),
        mac in proptest::option::of(any::<[u8; 6]>().prop_map(MacAddr)),
        flags in proptest::option::of(any::<[bool; 3]>()),
    ) -> Message {
        let body = match flags {
            None => Body::Solicitation { source_mac: mac, nonce: None },
            Some([router, solicited, overrides]) => {
                Body::Advertisement { router, solicited, overrides, target_mac: mac }
            }
        };
        Message { source: source.into(), destination: node.into(), target: target.into(), body }
    }
}

proptest! {
    #[test]
    fn a_valid_message_survives_the_round_trip(message in arb_message()) {
        prop_assume!(![message.source, message.target, message.destination]
            .iter().any(Ipv6Addr::is_multicast));
        prop_assert_eq!(Message::parse(&payload(&message)), Ok(message));
    }

    #[test]
    fn hostile_bytes_behind_a_valid_head_never_panic(
        rest in proptest::collection::vec(any::<u8>(), 0..300),
        length in any::<u16>(),
        kind in 135u8..=136,
    ) {
        let mut bytes = payload(&mk_multicast())[..40].to_vec();
        bytes[4..6].copy_from_slice(&length.to_be_bytes());
        bytes.push(kind);
        bytes.extend(rest);
        let _ = Message::parse(&bytes);
    }

    #[test]
    fn hostile_options_never_panic(options in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Message::parse(&with_options(&options));
    }
}

#[test]
fn a_nonce_is_read_beside_other_options_and_only_in_our_length() {
    let long = [&[14, 2][..], &[9; 14]].concat();
    let table: [(&str, Vec<u8>, Option<Nonce>); 4] = [
        (
            "alone",
            vec![14, 1, 1, 2, 3, 4, 5, 6],
            Some([1, 2, 3, 4, 5, 6]),
        ),
        (
            "behind another option",
            vec![1, 1, 2, 0, 0, 0, 0, 0x99, 14, 1, 1, 2, 3, 4, 5, 6],
            Some([1, 2, 3, 4, 5, 6]),
        ),
        ("longer", long, None),
        ("none", vec![], None),
    ];
    for (name, options, expected) in table {
        let message = Message::parse(&with_options(&options)).unwrap();
        let Body::Solicitation { nonce, .. } = message.body else {
            panic!("{message:?}");
        };
        assert_eq!(nonce, expected, "{name}");
    }
}

const GOLDEN_PROBE: &str = "6000000000203aff\
    00000000000000000000000000000000\
    ff0200000000000000000001ff000010\
    870035ba0000000020010db80000000000000000000000100e01010203040506";

/// As Linux sends it with enhanced duplicate address detection, the checksum computed apart from this code.
#[test]
fn a_probe_with_a_nonce_has_these_bytes() {
    let probe = Message::probe(ip("2001:db8::10"), [1, 2, 3, 4, 5, 6]);
    let bytes = payload(&probe);
    assert_eq!(bytes, hex(GOLDEN_PROBE));
    assert_eq!(Message::parse(&bytes), Ok(probe));
}
