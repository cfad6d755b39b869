//! What is written, and what is read of what others write.

use proptest::prelude::*;

use super::super::{Families, Family, HEADER, MAX_MESSAGE};
use super::*;

const GOLDEN: &[u8] = &[
    4, 0x5b, 0xa0, 0, 90, 10, 0, 0, 1, 22, 2, 20, // AS_TRANS, 90 s, 10.0.0.1
    1, 4, 0, 1, 0, 1, // IPv4 unicast
    1, 4, 0, 2, 0, 1, // IPv6 unicast
    2, 0, // route refresh
    65, 4, 0xfa, 0x56, 0xea, 0x01, // AS 4200000001
];

fn mk_open() -> Open {
    Open::ours(
        Asn::new(4_200_000_001).unwrap(),
        HoldTime::DEFAULT,
        "10.0.0.1".parse().unwrap(),
        Capabilities {
            multiprotocol: Some(Families::only(Family::V4Unicast).with(Family::V6Unicast)),
            route_refresh: true,
            four_octet_as: Some(4_200_000_001),
            ..Capabilities::default()
        },
    )
}

fn body(open: &Open) -> Vec<u8> {
    let mut out = Vec::new();
    open.encode(&mut out);
    out.split_off(HEADER)
}

fn with_parameters(parameters: &[u8]) -> Vec<u8> {
    let mut bytes = GOLDEN[..9].to_vec();
    bytes.extend(parameters);
    bytes
}

#[test]
fn golden_bytes_hold_in_both_directions() {
    assert_eq!(body(&mk_open()), GOLDEN);
    assert_eq!(Open::decode(GOLDEN), Ok(mk_open()));
}

#[test]
fn faults_get_their_own_answers() {
    let mut version = GOLDEN.to_vec();
    version[0] = 3;
    for (name, bytes, want) in [
        (
            "version 3",
            version,
            Code::UNSUPPORTED_VERSION.with(&[0, 4]),
        ),
        (
            "block beyond body",
            with_parameters(&[4, 2, 0]),
            Code::OPEN_UNSPECIFIC.bare(),
        ),
        (
            "bytes after",
            with_parameters(&[0, 1]),
            Code::OPEN_UNSPECIFIC.bare(),
        ),
        (
            "parameter overruns",
            with_parameters(&[2, 2, 1]),
            Code::OPEN_UNSPECIFIC.bare(),
        ),
        (
            "capability overruns",
            with_parameters(&[4, 2, 2, 1, 9]),
            Code::OPEN_UNSPECIFIC.bare(),
        ),
        (
            "authentication parameter",
            with_parameters(&[3, 1, 1, 0]),
            Code::UNSUPPORTED_OPTIONAL_PARAMETER.bare(),
        ),
    ] {
        assert_eq!(
            Open::decode(&bytes).unwrap_err().notification(),
            want,
            "{name}"
        );
    }
}

#[test]
fn every_way_to_pack_capabilities_is_read() {
    let refresh = Capabilities {
        route_refresh: true,
        ..Capabilities::default()
    };
    let both = Capabilities {
        four_octet_as: Some(7),
        ..refresh.clone()
    };
    for (name, parameters, want) in [
        ("none", &[0][..], Capabilities::default()),
        (
            "one each",
            &[12, 2, 2, 2, 0, 2, 6, 65, 4, 0, 0, 0, 7],
            both.clone(),
        ),
        (
            "extended",
            &[255, 255, 0, 11, 2, 0, 8, 2, 0, 65, 4, 0, 0, 0, 7],
            both,
        ),
        (
            "extended, odd length octet",
            &[9, 255, 0, 5, 2, 0, 2, 2, 0],
            refresh.clone(),
        ),
        (
            "unknown and misshapen",
            &[9, 2, 7, 200, 1, 0, 65, 0, 2, 0],
            Capabilities {
                others: 2,
                ..refresh
            },
        ),
    ] {
        let open = Open::decode(&with_parameters(parameters)).map(|open| open.capabilities);
        assert_eq!(open, Ok(want), "{name}");
    }
}

#[test]
fn extended_parameters_are_never_read_past_their_end() {
    // RFC 9072: marker, marker, total length (2), then type and length (2) of each.
    for (name, parameters) in [
        ("no total length", &[255, 255][..]),
        ("half of it", &[255, 255, 0]),
        ("total beyond the body", &[255, 255, 0, 9, 2, 0, 2, 2, 0]),
        ("total of 65535", &[255, 255, 255, 255, 2, 0, 2, 2, 0]),
        ("total short of the body", &[255, 255, 0, 4, 2, 0, 1, 2, 0]),
        ("a parameter without length", &[255, 255, 0, 1, 2]),
        ("half of a parameter's length", &[255, 255, 0, 2, 2, 0]),
        ("parameter overruns", &[255, 255, 0, 5, 2, 0, 3, 2, 0]),
        ("parameter of 65535", &[255, 255, 0, 5, 2, 255, 255, 2, 0]),
        ("capability overruns", &[255, 255, 0, 5, 2, 0, 2, 2, 1]),
        ("the marker and nothing", &[1, 255]),
    ] {
        let error = Open::decode(&with_parameters(parameters)).unwrap_err();
        let answer = error.notification();
        assert_eq!(answer, Code::OPEN_UNSPECIFIC.bare(), "{name}: {error}");
    }
    let marker_again = with_parameters(&[255, 255, 0, 3, 255, 0, 0]);
    assert_eq!(Open::decode(&marker_again), Err(OpenError::Parameter(255)));
}

#[test]
fn two_hundred_capabilities_are_counted_and_not_kept() {
    let mut parameter = Vec::new();
    for number in 0..200u8 {
        parameter.extend([200 + number % 50, 16]);
        parameter.extend([number; 16]);
    }
    parameter.extend([2, 0]);
    let length = u16::try_from(parameter.len()).unwrap();
    let mut parameters = vec![255, 255];
    parameters.extend((length + 3).to_be_bytes());
    parameters.push(2);
    parameters.extend(length.to_be_bytes());
    parameters.extend(parameter);
    let bytes = with_parameters(&parameters);
    assert!(bytes.len() > 3600 && bytes.len() + HEADER <= MAX_MESSAGE);
    let want = Capabilities {
        route_refresh: true,
        others: 200,
        ..Capabilities::default()
    };
    assert_eq!(Open::decode(&bytes).map(|open| open.capabilities), Ok(want));
}

#[test]
fn a_version_is_judged_before_anything_behind_it() {
    for version in [0, 3, 5, 255] {
        let error = Open::decode(&[version]).unwrap_err();
        let want = Code::UNSUPPORTED_VERSION.with(&[0, 4]);
        assert_eq!(error.notification(), want, "version {version}");
    }
}

#[test]
fn no_multiprotocol_capability_means_ipv4_alone() {
    let v4 = Families::only(Family::V4Unicast);
    assert_eq!(Capabilities::default().families(), v4);
    let other = Open::decode(&with_parameters(&[8, 2, 6, 1, 4, 0, 25, 0, 70])).unwrap();
    assert_eq!(
        other.capabilities.families(),
        Families::NONE,
        "only EVPN was offered"
    );
}

proptest! {
    #[test]
    fn any_open_survives_the_wire(
        my_as: u16, hold_time: u16, identifier: u32, asn in any::<Option<u32>>(),
        route_refresh: bool, v4: bool, v6: bool,
    ) {
        let mut families = Families::NONE;
        if v4 { families = families.with(Family::V4Unicast); }
        if v6 { families = families.with(Family::V6Unicast); }
        let capabilities = Capabilities {
            multiprotocol: (v4 || v6).then_some(families),
            four_octet_as: asn,
            route_refresh,
            ..Capabilities::default()
        };
        let open = Open { my_as, hold_time, identifier, capabilities };
        prop_assert_eq!(Open::decode(&body(&open)), Ok(open));
    }

    #[test]
    fn random_bytes_never_panic(
        head in proptest::collection::vec(any::<u8>(), 0..12),
        bytes in proptest::collection::vec(prop_oneof![Just(2u8), Just(255), any::<u8>()], 0..300),
    ) {
        let _ = Open::decode(&head);
        let _ = Open::decode(&bytes);
        let _ = Open::decode(&with_parameters(&bytes));
    }
}
