//! NOTIFICATION: why a session ends, in numbers and in words (RFC 4271 §4.5, §6; RFC 4486, 6608, 7313,
//! 9003, 9384, 9687).

use std::fmt;

use super::frame::{Kind, begin};
use crate::read::{Reader, Short};
use crate::write::Writer;

/// Error code and subcode.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u8, pub u8);

/// One NOTIFICATION message.
#[derive(Clone, PartialEq, Eq)]
pub struct Notification {
    /// What happened.
    pub code: Code,
    /// What belongs to it; at most [`Notification::MAX_DATA`] bytes.
    pub data: Vec<u8>,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal / $subcode:literal, $words:literal;)*) => {
        impl Code {
            $($(#[$doc])* pub const $name: Self = Self($code, $subcode);)*
        }

        /// The IANA names.
        const NAMES: &[(Code, &str)] = &[$((Code::$name, $words)),*];
    };
}

codes! {
    /// The marker is not all ones.
    CONNECTION_NOT_SYNCHRONIZED = 1/1, "connection not synchronized";
    /// Data: the length received, two octets.
    BAD_MESSAGE_LENGTH = 1/2, "bad message length";
    /// Data: the type received, one octet.
    BAD_MESSAGE_TYPE = 1/3, "bad message type";
    /// The OPEN's structure is broken.
    OPEN_UNSPECIFIC = 2/0, "malformed OPEN";
    /// Data: the largest version we speak, two octets.
    UNSUPPORTED_VERSION = 2/1, "unsupported version number";
    /// Not the AS that is configured, 0, or contradicting capability 65.
    BAD_PEER_AS = 2/2, "bad peer AS";
    /// Data: the identifier, four octets.
    BAD_BGP_IDENTIFIER = 2/3, "bad BGP identifier";
    /// An optional parameter other than capabilities.
    UNSUPPORTED_OPTIONAL_PARAMETER = 2/4, "unsupported optional parameter";
    /// Data: the hold time, two octets.
    UNACCEPTABLE_HOLD_TIME = 2/6, "unacceptable hold time";
    /// Data: the capabilities that are missed, as TLVs.
    UNSUPPORTED_CAPABILITY = 2/7, "unsupported capability";
    /// RFC 9234.
    ROLE_MISMATCH = 2/11, "role mismatch";
    /// A block of the UPDATE overruns, or MP attributes come twice.
    MALFORMED_ATTRIBUTE_LIST = 3/1, "malformed attribute list";
    /// `MP_REACH_NLRI` or `MP_UNREACH_NLRI` cannot be walked.
    OPTIONAL_ATTRIBUTE_ERROR = 3/9, "optional attribute error";
    /// Withdrawn routes or NLRI cannot be walked.
    INVALID_NETWORK_FIELD = 3/10, "invalid network field";
    /// Nothing came for the hold time.
    HOLD_TIMER_EXPIRED = 4/0, "hold timer expired";
    /// RFC 6608. Data: the type of the message, one octet.
    UNEXPECTED_IN_OPEN_SENT = 5/1, "unexpected message in OpenSent";
    /// RFC 6608. Data: the type of the message, one octet.
    UNEXPECTED_IN_OPEN_CONFIRM = 5/2, "unexpected message in OpenConfirm";
    /// RFC 6608. Data: the type of the message, one octet.
    UNEXPECTED_IN_ESTABLISHED = 5/3, "unexpected message in Established";
    /// RFC 4486. Sent by a peer that we announce too much to.
    MAXIMUM_PREFIXES = 6/1, "Cease: maximum number of prefixes reached";
    /// RFC 9003: may carry words.
    ADMINISTRATIVE_SHUTDOWN = 6/2, "Cease: administrative shutdown";
    /// The peer was removed from the configuration.
    PEER_DECONFIGURED = 6/3, "Cease: peer de-configured";
    /// RFC 9003: may carry words.
    ADMINISTRATIVE_RESET = 6/4, "Cease: administrative reset";
    /// The other side did not like the connection.
    CONNECTION_REJECTED = 6/5, "Cease: connection rejected";
    /// The peer's configuration changed in a way that needs a new session.
    CONFIGURATION_CHANGE = 6/6, "Cease: other configuration change";
    /// RFC 4271 §6.8.
    CONNECTION_COLLISION = 6/7, "Cease: connection collision resolution";
    /// RFC 4486.
    OUT_OF_RESOURCES = 6/8, "Cease: out of resources";
    /// RFC 8538.
    HARD_RESET = 6/9, "Cease: hard reset";
    /// RFC 9384.
    BFD_DOWN = 6/10, "Cease: BFD down";
    /// RFC 7313. Data: the message.
    INVALID_REFRESH_LENGTH = 7/1, "invalid ROUTE-REFRESH length";
    /// RFC 9687.
    SEND_HOLD_TIMER_EXPIRED = 8/0, "send hold timer expired";
}

impl Code {
    /// A NOTIFICATION without data.
    #[must_use]
    pub const fn bare(self) -> Notification {
        Notification {
            code: self,
            data: Vec::new(),
        }
    }

    /// A NOTIFICATION with data, cut at [`Notification::MAX_DATA`].
    #[must_use]
    pub fn with(self, data: &[u8]) -> Notification {
        let kept = data.get(..Notification::MAX_DATA).unwrap_or(data);
        Notification {
            code: self,
            data: kept.to_vec(),
        }
    }

    /// A Cease with a shutdown communication (RFC 9003): cut at a character boundary so that peers which
    /// know only RFC 8203 take it too (128 octets). Without words it has no data at all.
    #[must_use]
    pub fn saying(self, words: &str) -> Notification {
        let mut end = words.len().min(128);
        while !words.is_char_boundary(end) {
            end -= 1;
        }
        let words = words.get(..end).unwrap_or_default();
        let mut data = Vec::with_capacity(1 + end);
        if let Ok(length @ 1..) = u8::try_from(words.len()) {
            data.push(length);
            data.extend_from_slice(words.as_bytes());
        }
        Notification { code: self, data }
    }

    fn words(self) -> Option<&'static str> {
        NAMES
            .iter()
            .find(|(code, _)| *code == self)
            .map(|(_, words)| *words)
    }
}

impl Notification {
    /// How much data is kept of a received one: a shutdown communication and its length octet.
    pub const MAX_DATA: usize = 256;

    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        let length = begin(&mut writer, Kind::Notification);
        writer.u8(self.code.0);
        writer.u8(self.code.1);
        writer.bytes(&self.data);
        writer.fill(&length);
    }

    /// Reads the body of a message.
    pub fn decode(body: &[u8]) -> Result<Self, Short> {
        let mut reader = Reader::new(body);
        let code = Code(reader.u8()?, reader.u8()?);
        Ok(code.with(reader.rest()))
    }

    /// What the other side said (RFC 9003), with control characters removed so that a peer cannot forge
    /// log lines. A length octet that lies is tolerated.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        if !matches!(
            self.code,
            Code::ADMINISTRATIVE_SHUTDOWN | Code::ADMINISTRATIVE_RESET
        ) {
            return None;
        }
        let (length, said) = self.data.split_first()?;
        let said = said.get(..usize::from(*length)).unwrap_or(said);
        let said: String = String::from_utf8_lossy(said)
            .chars()
            .filter(|char| !char.is_control())
            .collect();
        (!said.is_empty()).then_some(said)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(code, subcode) = self;
        match self.words() {
            Some(words) => write!(f, "{words} ({code}/{subcode})"),
            None => write!(f, "code {code}/{subcode}"),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.code.fmt(f)?;
        match self.words() {
            Some(words) => write!(f, ", saying {words:?}"),
            None if self.data.is_empty() => Ok(()),
            None => {
                f.write_str(", data ")?;
                self.data
                    .iter()
                    .take(32)
                    .try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

impl fmt::Debug for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(notification: &Notification) -> Vec<u8> {
        let mut out = Vec::new();
        notification.encode(&mut out);
        out.split_off(super::super::HEADER)
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

    proptest! {
        #[test]
        fn any_notification_survives_the_wire(
            code: u8, subcode: u8, data in proptest::collection::vec(any::<u8>(), 0..=256),
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
}
