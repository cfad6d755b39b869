//! Cutting a byte stream into messages (RFC 4271 §4.1).
//!
//! ```text
//!  0                   1                   2                   3
//! +                     Marker: sixteen times 0xff                +
//! |          Length               |      Type     |  body ...
//! ```
//!
//! The header is judged as soon as its 19 bytes are there: a message that announces 65535 bytes is refused
//! at once, not after they have come.

use super::{Code, HEADER, MAX_MESSAGE, Notification};
use crate::read::Reader;
use crate::write::{Hole, Writer};

/// The message types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// RFC 4271 §4.2.
    Open,
    /// RFC 4271 §4.3.
    Update,
    /// RFC 4271 §4.5.
    Notification,
    /// RFC 4271 §4.4.
    Keepalive,
    /// RFC 2918.
    RouteRefresh,
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::Open,
        Self::Update,
        Self::Notification,
        Self::Keepalive,
        Self::RouteRefresh,
    ];

    /// The type octet.
    #[must_use]
    pub const fn octet(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Update => 2,
            Self::Notification => 3,
            Self::Keepalive => 4,
            Self::RouteRefresh => 5,
        }
    }

    fn from_octet(octet: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.octet() == octet)
    }

    /// Whether a message of this type may have `length` bytes, header included.
    fn allows(self, length: usize) -> bool {
        let fits = length <= MAX_MESSAGE;
        match self {
            Self::Open => length >= 29 && fits,
            Self::Update => length >= 23 && fits,
            Self::Notification => length >= 21 && fits,
            Self::Keepalive => length == HEADER,
            // Other lengths than 23 have an answer of their own (RFC 7313 §5), which quotes the message.
            Self::RouteRefresh => length >= HEADER && fits,
        }
    }
}

/// A header that no message can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Something else than ones: the stream is out of step, or not BGP.
    #[error("the marker is not all ones")]
    Marker,
    /// Too short or too long for its type.
    #[error("a message of type {kind} cannot have {length} bytes")]
    Length {
        /// The type octet, known or not.
        kind: u8,
        /// The length field.
        length: u16,
    },
    /// A type that does not exist.
    #[error("unknown message type {0}")]
    Kind(u8),
}

impl HeaderError {
    /// What to answer; nothing if the broken message was itself a NOTIFICATION (RFC 4271 §6.4).
    #[must_use]
    pub fn notification(self) -> Option<Notification> {
        match self {
            Self::Marker => Some(Code::CONNECTION_NOT_SYNCHRONIZED.bare()),
            Self::Length { kind, .. } if kind == Kind::Notification.octet() => None,
            Self::Length { length, .. } => {
                Some(Code::BAD_MESSAGE_LENGTH.with(&length.to_be_bytes()))
            }
            Self::Kind(kind) => Some(Code::BAD_MESSAGE_TYPE.with(&[kind])),
        }
    }
}

/// One whole message.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its type.
    pub kind: Kind,
    /// What follows the header.
    pub body: &'a [u8],
}

/// What the front of a receive buffer holds.
#[derive(Clone, Copy, Debug)]
pub enum Peek<'a> {
    /// Not a whole message yet.
    Partial,
    /// A message, and how many bytes of the buffer it takes.
    Whole(Frame<'a>, usize),
}

impl<'a> Frame<'a> {
    /// The message as it came.
    pub(super) fn message(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.body.len());
        let mut writer = Writer::new(&mut bytes);
        let length = begin(&mut writer, self.kind);
        writer.bytes(self.body);
        writer.fill(&length);
        bytes
    }

    /// Looks at the front of `buffer`. Never needs more than [`MAX_MESSAGE`] bytes to decide.
    pub fn peek(buffer: &'a [u8]) -> Result<Peek<'a>, HeaderError> {
        let mut reader = Reader::new(buffer);
        let Ok(marker) = reader.array::<16>() else {
            return Ok(Peek::Partial);
        };
        let (Ok(length), Ok(octet)) = (reader.u16(), reader.u8()) else {
            return Ok(Peek::Partial);
        };
        if marker != [0xff; 16] {
            return Err(HeaderError::Marker);
        }
        let bad_length = HeaderError::Length {
            kind: octet,
            length,
        };
        let whole = usize::from(length);
        let body = whole.checked_sub(HEADER).ok_or(bad_length)?;
        if whole > MAX_MESSAGE {
            return Err(bad_length);
        }
        let kind = Kind::from_octet(octet).ok_or(HeaderError::Kind(octet))?;
        if !kind.allows(whole) {
            return Err(bad_length);
        }
        Ok(match reader.take(body) {
            Ok(body) => Peek::Whole(Self { kind, body }, whole),
            Err(_) => Peek::Partial,
        })
    }
}

/// Writes a header; [`Writer::fill`] with its result ends the message.
pub(super) fn begin(writer: &mut Writer<'_>, kind: Kind) -> Hole {
    let start = writer.position();
    writer.bytes(&[0xff; 16]);
    let length = writer.hole_from(start);
    writer.u8(kind.octet());
    length
}

/// Appends a KEEPALIVE.
pub fn write_keepalive(out: &mut Vec<u8>) {
    let mut writer = Writer::new(out);
    let length = begin(&mut writer, Kind::Keepalive);
    writer.fill(&length);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mk_header(length: u16, kind: u8) -> Vec<u8> {
        let mut bytes = vec![0xff; 16];
        bytes.extend(length.to_be_bytes());
        bytes.push(kind);
        bytes
    }

    #[test]
    fn a_keepalive_is_nineteen_bytes_in_both_directions() {
        let mut out = Vec::new();
        write_keepalive(&mut out);
        assert_eq!(out, mk_header(19, 4));
        assert!(matches!(
            Frame::peek(&out),
            Ok(Peek::Whole(
                Frame {
                    kind: Kind::Keepalive,
                    body: []
                },
                19
            ))
        ));
    }

    #[test]
    fn headers_are_judged_at_nineteen_bytes() {
        for (length, kind, want) in [
            (0, 4, (Code::BAD_MESSAGE_LENGTH, vec![0, 0])),
            (18, 4, (Code::BAD_MESSAGE_LENGTH, vec![0, 18])),
            (20, 4, (Code::BAD_MESSAGE_LENGTH, vec![0, 20])),
            (28, 1, (Code::BAD_MESSAGE_LENGTH, vec![0, 28])),
            (22, 2, (Code::BAD_MESSAGE_LENGTH, vec![0, 22])),
            (4097, 5, (Code::BAD_MESSAGE_LENGTH, vec![16, 1])),
            (4097, 2, (Code::BAD_MESSAGE_LENGTH, vec![16, 1])),
            (65535, 2, (Code::BAD_MESSAGE_LENGTH, vec![255, 255])),
            (19, 0, (Code::BAD_MESSAGE_TYPE, vec![0])),
            (19, 6, (Code::BAD_MESSAGE_TYPE, vec![6])),
        ] {
            let error = Frame::peek(&mk_header(length, kind)).unwrap_err();
            let answer = error.notification().unwrap();
            assert_eq!(
                (answer.code, answer.data),
                want,
                "length {length} type {kind}"
            );
        }
    }

    #[test]
    fn a_wrong_marker_is_seen_before_anything_else() {
        let mut bytes = mk_header(0, 0);
        bytes[15] = 0;
        assert_eq!(Frame::peek(&bytes).unwrap_err(), HeaderError::Marker);
    }

    #[test]
    fn a_broken_notification_gets_no_answer() {
        let error = Frame::peek(&mk_header(20, 3)).unwrap_err();
        assert_eq!(error.notification(), None);
    }

    #[test]
    fn a_message_in_parts_waits_for_its_end() {
        let mut bytes = mk_header(23, 2);
        bytes.extend([0; 4]);
        for end in 0..bytes.len() {
            assert!(
                matches!(Frame::peek(&bytes[..end]), Ok(Peek::Partial)),
                "{end} bytes"
            );
        }
        assert!(matches!(Frame::peek(&bytes), Ok(Peek::Whole(_, 23))));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Frame::peek(&bytes);
            let mut marked = vec![0xff; 16];
            marked.extend(&bytes);
            if let Ok(Peek::Whole(frame, taken)) = Frame::peek(&marked) {
                prop_assert_eq!(frame.body.len() + HEADER, taken);
            }
        }
    }
}
