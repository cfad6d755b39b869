//! What speakers say to each other.

use portolan_proto::claim::{Author, DATAGRAM_MAX, Key, Message};

/// A datagram as it comes from the wire, and its bytes once more as the content of a signed one.
pub fn claim(data: &[u8]) {
    let key = Key::new(b"the key of the cluster").expect("a key");
    assert!(Message::decode(data, [&key]).is_err(), "a forgery");
    let Ok(message) = Message::decode(&key.signed(data), [&key]) else {
        return;
    };
    let mut author = Author::new(&message.sender, message.boot).expect("a name that was read");
    let datagrams = author.datagrams(&message.statement, &key);
    let mut entries = Vec::new();
    for (part, datagram) in datagrams.iter().enumerate() {
        assert!(datagram.len() <= DATAGRAM_MAX, "{} bytes", datagram.len());
        let again = Message::decode(datagram, [&key]).expect("our own datagram");
        assert_eq!(
            (usize::from(again.part), usize::from(again.parts)),
            (part, datagrams.len())
        );
        assert_eq!(
            (&again.sender, again.boot),
            (&message.sender, message.boot),
            "who says it"
        );
        entries.extend(again.statement.entries);
    }
    assert_eq!(entries, message.statement.entries, "written and read");
}
