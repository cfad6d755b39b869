//! What is written, read and shown.

use proptest::prelude::*;

use super::*;

fn body(notification: &Notification) -> Vec<u8> {
    let mut out = Vec::new();
    notification.encode(&mut out);
    out.split_off(HEADER)
}

#[test]
fn a_shutdown_communication_has_golden_bytes() {
    let cease = Code::ADMINISTRATIVE_SHUTDOWN.saying("bye");
    assert_eq!(body(&cease), [6, 2, 3, b'b', b'y', b'e']);
    let back = Notification::decode(&[6, 2, 3, b'b', b'y', b'e']).unwrap();
    assert_eq!(back, cease);
    assert_eq!(
        back.to_string(),
        "Cease: administrative shutdown (6/2), saying \"bye\""
    );
}

#[test]
fn long_words_are_cut_between_characters() {
    let cease = Code::ADMINISTRATIVE_RESET.saying(&"ä".repeat(100));
    assert_eq!(cease.words().unwrap(), "ä".repeat(64));
    let odd = Code::ADMINISTRATIVE_RESET.saying(&format!("x{}", "ä".repeat(100)));
    assert_eq!(odd.data.len(), 1 + 127);
    assert_eq!(Code::ADMINISTRATIVE_RESET.saying("").data, []);
}

#[test]
fn hostile_words_are_tolerated_and_cleaned() {
    for (data, want) in [
        (&b"\xffshort"[..], Some("short")),
        (b"\x05a\nb\x1bc", Some("abc")),
        (b"\x03\xff\xfe\xfd", Some("\u{fffd}\u{fffd}\u{fffd}")),
        ("\x0da\u{202e}b\u{2028}c".as_bytes(), Some("abc")),
        (
            "\x14a\u{61c}b\u{200b}c\u{feff}d\u{e0041}e".as_bytes(),
            Some("abcde"),
        ),
        ("\x04\u{e4}\u{ad}".as_bytes(), Some("\u{e4}")),
        (b"\x00", None),
        (b"", None),
    ] {
        let got = Code::ADMINISTRATIVE_SHUTDOWN.with(data).words();
        assert_eq!(got.as_deref(), want, "{data:?}");
    }
}

#[test]
fn unknown_codes_and_data_are_shown_raw() {
    let odd = Notification::decode(&[9, 9, 0xab]).unwrap();
    assert_eq!(odd.to_string(), "code 9/9, data ab");
}

#[test]
fn codes_are_told_by_their_names_whoever_sends_them() {
    for (code, want) in [
        (Code::BAD_PEER_AS, "OPEN message error: bad peer AS (2/2)"),
        (Code::HOLD_TIMER_EXPIRED, "hold timer expired (4/0)"),
        (
            Code(3, 5),
            "UPDATE message error: attribute length error (3/5)",
        ),
        (Code(3, 99), "UPDATE message error (3/99)"),
        (Code(6, 0), "Cease (6/0)"),
        (Code(0, 1), "code 0/1"),
    ] {
        assert_eq!(code.to_string(), want);
    }
}

#[test]
fn words_cannot_leave_their_quotation_marks() {
    let told = Code::ADMINISTRATIVE_SHUTDOWN.saying(r#"a" b\"#);
    assert!(told.to_string().ends_with(r#"saying "a\" b\\""#), "{told}");
}

proptest! {
    #[test]
    fn any_notification_survives_the_wire(
        code: u8, subcode: u8, data in proptest::collection::vec(any::<u8>(), 0..=258),
    ) {
        let notification = Code(code, subcode).with(&data);
        prop_assert_eq!(Notification::decode(&body(&notification)), Ok(notification));
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(notification) = Notification::decode(&bytes) {
            prop_assert!(notification.data.len() <= Notification::MAX_DATA);
            let _ = notification.to_string();
        }
    }
}

#[test]
fn a_hard_reset_wraps_and_tells_what_it_wraps() {
    let hard = Code::ADMINISTRATIVE_SHUTDOWN.saying("bye").hard_reset();
    assert_eq!(body(&hard), [6, 9, 6, 2, 3, b'b', b'y', b'e']);
    assert_eq!(
        hard.to_string(),
        "Cease: hard reset (6/9): Cease: administrative shutdown (6/2), saying \"bye\""
    );
    let long = Code::ADMINISTRATIVE_RESET.with(&[&[255][..], &[b'x'; 255]].concat());
    assert_eq!(long.hard_reset().words().unwrap().len(), 255);
    for (bytes, words) in [
        (&[6, 9][..], "Cease: hard reset (6/9)"),
        (&[6, 9, 4], "Cease: hard reset (6/9), data 04"),
        (
            &[6, 9, 4, 0],
            "Cease: hard reset (6/9): hold timer expired (4/0)",
        ),
        (&[6, 9, 6, 9, 6, 9], "Cease: hard reset (6/9), data 0609"),
    ] {
        assert_eq!(Notification::decode(bytes).unwrap().to_string(), words);
    }
}

#[test]
fn a_prefix_limit_is_told_in_words() {
    for (bytes, want, words) in [
        (
            &[6, 1, 0, 1, 1, 0, 0, 0, 100][..],
            Some((Some(Family::V4Unicast), 100)),
            "Cease: maximum number of prefixes reached (6/1), 100 for IPv4 unicast",
        ),
        (
            &[6, 9, 6, 1, 0, 2, 1, 0, 0, 0, 7],
            Some((Some(Family::V6Unicast), 7)),
            "Cease: hard reset (6/9): Cease: maximum number of prefixes reached (6/1), 7 for IPv6 unicast",
        ),
        (
            &[6, 1, 0, 25, 70, 0, 0, 0, 7],
            Some((None, 7)),
            "Cease: maximum number of prefixes reached (6/1), 7",
        ),
        (
            &[6, 1],
            None,
            "Cease: maximum number of prefixes reached (6/1)",
        ),
        (
            &[6, 1, 0],
            None,
            "Cease: maximum number of prefixes reached (6/1), data 00",
        ),
    ] {
        let told = Notification::decode(bytes).unwrap();
        assert_eq!(told.prefix_limit(), want, "{bytes:?}");
        assert_eq!(told.to_string(), words);
    }
}

#[test]
fn errors_and_goodbyes_end_the_routes_and_restarts_do_not() {
    for (codes, ends) in [
        (
            &[
                Code::BAD_MESSAGE_LENGTH,
                Code::BAD_PEER_AS,
                Code::MALFORMED_ATTRIBUTE_LIST,
                Code::UNEXPECTED_IN_ESTABLISHED,
                Code::INVALID_REFRESH_LENGTH,
                Code::MAXIMUM_PREFIXES,
                Code::ADMINISTRATIVE_SHUTDOWN,
                Code::PEER_DECONFIGURED,
                Code::BFD_DOWN,
            ][..],
            true,
        ),
        (
            &[
                Code::HOLD_TIMER_EXPIRED,
                Code::SEND_HOLD_TIMER_EXPIRED,
                Code::ADMINISTRATIVE_RESET,
                Code::CONNECTION_REJECTED,
                Code::CONFIGURATION_CHANGE,
                Code::CONNECTION_COLLISION,
                Code::OUT_OF_RESOURCES,
            ],
            false,
        ),
    ] {
        for code in codes {
            assert_eq!(code.ends_routes(), ends, "{code}");
        }
    }
}
