//! A second opinion: NetGauze, which shares no code with us, reads what we write and writes what we read.
//!
//! What it reads it writes again, and that must be the bytes that it was given: nothing of a message is left over, doubled or
//! out of place. Then the content is compared.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test of its own crate"
)]

mod ours;
mod reread;
mod theirs;
mod wanted;

use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_parse_utils::WritablePdu;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;
use portolan_proto::bgp::{Families, Family, Frame, MAX_MESSAGE, Peek};

const BOTH: [Family; 2] = Family::ALL;

fn both() -> Families {
    Families::only(Family::V4Unicast).with(Family::V6Unicast)
}

/// Strict: any fault is an error.
fn mk_context(as4: bool) -> BgpParsingContext {
    let mut context = BgpParsingContext::default();
    context.set_asn4(as4);
    context
}

/// A message as NetGauze writes it.
fn written(message: &BgpMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.write(&mut bytes).expect("what it read or built");
    bytes
}

/// What NetGauze makes of a stream of ours, message by message.
fn read(mut stream: &[u8], as4: bool) -> Vec<BgpMessage> {
    let mut messages = Vec::new();
    while !stream.is_empty() {
        let Ok(Peek::Whole(_, length)) = Frame::peek(stream) else {
            panic!("our own message cannot be cut: {stream:02x?}");
        };
        assert!(length <= MAX_MESSAGE, "{length} bytes");
        let (bytes, rest) = stream.split_at(length);
        let message = BgpMessage::parse(&mut SliceReader::new(bytes), &mut mk_context(as4));
        let message = message.unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"));
        assert_eq!(written(&message), bytes, "{message:?}");
        messages.push(message);
        stream = rest;
    }
    messages
}
