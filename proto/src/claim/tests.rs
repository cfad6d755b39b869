use proptest::prelude::*;

use super::*;

fn mk_key() -> Key {
    Key::new(b"sixteen bytes or more").unwrap()
}

fn mk_entry(vip: &str, term: u64, turn: u32, held: bool) -> Entry {
    let vip = vip.parse().unwrap();
    let claim = Claim { term, turn };
    Entry { vip, claim, held }
}

fn mk_statement(count: u8, v6: bool) -> Statement {
    let entry = |number: u8| {
        let vip = if v6 {
            format!("fd00::{number}")
        } else {
            format!("192.0.2.{number}")
        };
        mk_entry(&vip, 7, 1, true)
    };
    Statement {
        ask: false,
        all: true,
        leaving: false,
        entries: (0..count).map(entry).collect(),
    }
}

fn decode(datagram: &[u8]) -> Result<Message, Error> {
    Message::decode(datagram, [&mk_key()])
}

/// Content with a proper signature.
fn signed(content: &[u8]) -> Vec<u8> {
    mk_key().signed(content)
}

fn hex(octets: &[u8]) -> String {
    let digits = octets.iter().flat_map(|octet| [octet >> 4, octet & 15]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

const GOLDEN: &str = "50544c43 01 05 0000 0001 0000000000000102 0000000000000001 02 6e31 02 \
    00 0000000000000009 00000001 c0000207 \
    03 000000000000000a 00000000 fd000000000000000000000000000001";

#[test]
fn the_bytes_are_these() {
    let mut author = Author::new("n1", 258).unwrap();
    let entries = vec![
        mk_entry("192.0.2.7", 9, 1, true),
        mk_entry("fd00::1", 10, 0, false),
    ];
    let statement = Statement {
        ask: true,
        all: false,
        leaving: true,
        entries,
    };
    let datagrams = author.datagrams(&statement, &mk_key());
    let [datagram] = datagrams.as_slice() else {
        panic!("{datagrams:?}")
    };
    let (content, signature) = datagram.split_at(datagram.len() - Key::SIGNATURE);
    assert_eq!(hex(content), GOLDEN.replace(' ', ""));
    assert_eq!(signature, mk_key().sign(content));
    let message = decode(datagram).unwrap();
    assert_eq!(
        (message.sender.as_str(), message.boot, message.sequence),
        ("n1", 258, 1)
    );
    assert_eq!((message.part, message.parts), (0, 1));
    assert_eq!(message.statement, statement);
}

#[test]
fn the_signature_is_hmac_sha256() {
    // RFC 4231, test case 7: a key longer than a block, the only one there that is long enough for us and uncut.
    let key = Key::new(&[0xaa; 131]).unwrap();
    let data =
        b"This is a test using a larger than block-size key and a larger than block-size data. \
        The key needs to be hashed before being used by the HMAC algorithm.";
    assert_eq!(
        hex(&key.sign(data)),
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"
    );
}

#[test]
fn a_short_secret_is_no_key() {
    assert_eq!(Key::new(&[1; 15]), Err(KeyError::TooShort(15)));
    assert!(Key::new(&[1; 16]).is_ok());
    assert_ne!(mk_key().bfd(), Key::new(&[1; 16]).unwrap().bfd());
    assert!(
        !format!("{:?}", mk_key()).contains("115"),
        "a key prints its bytes"
    );
}

#[test]
fn a_hundred_addresses_fit_three_datagrams() {
    for v6 in [false, true] {
        let mut author = Author::new("worker-17.rack-3.example.org", 1).unwrap();
        let datagrams = author.datagrams(&mk_statement(100, v6), &mk_key());
        assert!(
            datagrams.len() <= 3,
            "{} datagrams, IPv6: {v6}",
            datagrams.len()
        );
    }
}

#[test]
fn datagrams_stay_below_their_limit_and_together_say_everything() {
    for name in ["n", &"n".repeat(NAME_MAX)] {
        for count in [0, 1, 31, 32, 41, 74, 75, 255] {
            for v6 in [false, true] {
                let statement = mk_statement(count, v6);
                let datagrams = Author::new(name, 1)
                    .unwrap()
                    .datagrams(&statement, &mk_key());
                let messages: Vec<Message> = datagrams
                    .iter()
                    .map(|datagram| {
                        assert!(
                            datagram.len() <= DATAGRAM_MAX,
                            "{count} entries: {}",
                            datagram.len()
                        );
                        decode(datagram).unwrap()
                    })
                    .collect();
                let entries: Vec<Entry> = messages
                    .iter()
                    .flat_map(|it| it.statement.entries.clone())
                    .collect();
                assert_eq!(entries, statement.entries, "{count} entries");
                for (part, message) in messages.iter().enumerate() {
                    assert_eq!(usize::from(message.part), part, "{count} entries");
                    assert_eq!(
                        usize::from(message.parts),
                        messages.len(),
                        "{count} entries"
                    );
                    assert_eq!(
                        message.sequence,
                        messages[0].sequence + part as u64,
                        "{count} entries"
                    );
                }
            }
        }
    }
}

#[test]
fn only_a_key_that_we_know_opens_a_datagram() {
    let other = Key::new(b"another key of the cluster").unwrap();
    let datagram = Author::new("n1", 1)
        .unwrap()
        .datagrams(&mk_statement(3, false), &mk_key())
        .remove(0);
    assert_eq!(Message::decode(&datagram, [&other]), Err(Error::Signature));
    assert_eq!(Message::decode(&datagram, []), Err(Error::Signature));
    assert!(
        Message::decode(&datagram, [&other, &mk_key()]).is_ok(),
        "a key that changes"
    );
    for octet in 0..datagram.len() {
        let mut changed = datagram.clone();
        changed[octet] ^= 0x10;
        assert_eq!(decode(&changed), Err(Error::Signature), "octet {octet}");
    }
}

#[test]
fn a_signed_datagram_with_a_fault_says_which() {
    let datagram = Author::new("n1", 1)
        .unwrap()
        .datagrams(&mk_statement(1, false), &mk_key())
        .remove(0);
    let content = &datagram[..datagram.len() - Key::SIGNATURE];
    let with = |at: usize, octet: u8| {
        let mut content = content.to_vec();
        content[at] = octet;
        signed(&content)
    };
    let rows = [
        ("magic", with(0, b'Q'), Error::Magic(*b"QTLC")),
        ("version", with(4, 2), Error::Version(2)),
        ("flags", with(5, 8), Error::Flags(8)),
        ("part", with(7, 1), Error::Part { part: 1, parts: 1 }),
        ("no name", with(26, 0), Error::Kind(b'1')),
        ("name not in UTF-8", with(27, 0xff), Error::Sender),
        ("kind", with(30, 4), Error::Kind(4)),
        (
            "trailing",
            signed(&[content, &[0]].concat()),
            Error::Trailing(1),
        ),
        (
            "more entries than bytes",
            with(29, 2),
            Error::Truncated(Short { missing: 1 }),
        ),
        (
            "IPv6 in the place of IPv4",
            with(30, 1),
            Error::Truncated(Short { missing: 12 }),
        ),
        (
            "nothing",
            signed(&[]),
            Error::Truncated(Short { missing: 4 }),
        ),
        ("less than a signature", vec![0; 31], Error::Signature),
    ];
    for (row, datagram, expected) in rows {
        // A name without letters leaves its letters to the next fields; any refusal will do.
        match (row, decode(&datagram)) {
            ("no name", result) => assert!(result.is_err(), "{row}"),
            (_, result) => assert_eq!(result, Err(expected), "{row}"),
        }
    }
}

#[test]
fn a_name_that_no_datagram_carries_is_refused() {
    assert!(Author::new("", 1).is_none());
    assert!(Author::new(&"n".repeat(NAME_MAX + 1), 1).is_none());
}

fn any_entry() -> impl Strategy<Value = Entry> {
    (any::<IpAddr>(), any::<u64>(), any::<u32>(), any::<bool>()).prop_map(
        |(vip, term, turn, held)| Entry {
            vip,
            claim: Claim { term, turn },
            held,
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_reads_the_same(ask: bool, all: bool, leaving: bool, boot: u64, entries in proptest::collection::vec(any_entry(), 0..20)) {
        let statement = Statement { ask, all, leaving, entries };
        let datagrams = Author::new("n1", boot).unwrap().datagrams(&statement, &mk_key());
        prop_assert_eq!(datagrams.len(), 1);
        let message = decode(&datagrams[0]).unwrap();
        prop_assert_eq!((message.boot, message.statement), (boot, statement));
    }

    #[test]
    fn no_signed_bytes_make_the_decoder_panic(content in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&signed(&content));
        let framed = [&[0x50, 0x54, 0x4c, 0x43, 1], content.as_slice()].concat();
        let _ = decode(&signed(&framed));
    }
}
