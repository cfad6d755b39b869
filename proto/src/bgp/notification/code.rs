//! The codes and subcodes, with their IANA names (RFC 4271 §4.5, RFC 4486, 6608, 7313, 8538, 9234, 9384, 9687).

use std::fmt;

/// Error code and subcode.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u8, pub u8);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal / $subcode:literal, $words:literal;)*) => {
        impl Code {
            $($(#[$doc])* pub const $name: Self = Self($code, $subcode);)*
        }

        /// The IANA names of the subcodes that mean something here; empty where the code says it all.
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
    OPEN_UNSPECIFIC = 2/0, "malformed";
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
    HOLD_TIMER_EXPIRED = 4/0, "";
    /// RFC 6608. Data: the type of the message, one octet.
    UNEXPECTED_IN_OPEN_SENT = 5/1, "unexpected message in OpenSent";
    /// RFC 6608. Data: the type of the message, one octet.
    UNEXPECTED_IN_OPEN_CONFIRM = 5/2, "unexpected message in OpenConfirm";
    /// RFC 6608. Data: the type of the message, one octet.
    UNEXPECTED_IN_ESTABLISHED = 5/3, "unexpected message in Established";
    /// RFC 4486. Sent by a peer that we announce too much to.
    MAXIMUM_PREFIXES = 6/1, "maximum number of prefixes reached";
    /// RFC 9003: may carry words.
    ADMINISTRATIVE_SHUTDOWN = 6/2, "administrative shutdown";
    /// The peer was removed from the configuration.
    PEER_DECONFIGURED = 6/3, "peer de-configured";
    /// RFC 9003: may carry words.
    ADMINISTRATIVE_RESET = 6/4, "administrative reset";
    /// The other side did not like the connection.
    CONNECTION_REJECTED = 6/5, "connection rejected";
    /// The peer's configuration changed in a way that needs a new session.
    CONFIGURATION_CHANGE = 6/6, "other configuration change";
    /// RFC 4271 §6.8.
    CONNECTION_COLLISION = 6/7, "connection collision resolution";
    /// RFC 4486.
    OUT_OF_RESOURCES = 6/8, "out of resources";
    /// RFC 8538.
    HARD_RESET = 6/9, "hard reset";
    /// RFC 9384.
    BFD_DOWN = 6/10, "BFD down";
    /// RFC 7313. Data: the message.
    INVALID_REFRESH_LENGTH = 7/1, "invalid message length";
    /// RFC 9687.
    SEND_HOLD_TIMER_EXPIRED = 8/0, "";
}

/// What only others say.
const FOREIGN_NAMES: &[(Code, &str)] = &[
    (Code(2, 5), "authentication failure"),
    (Code(3, 2), "unrecognized well-known attribute"),
    (Code(3, 3), "missing well-known attribute"),
    (Code(3, 4), "attribute flags error"),
    (Code(3, 5), "attribute length error"),
    (Code(3, 6), "invalid ORIGIN attribute"),
    (Code(3, 7), "AS routing loop"),
    (Code(3, 8), "invalid NEXT_HOP attribute"),
    (Code(3, 11), "malformed AS_PATH"),
];

impl Code {
    /// The IANA name of the code, without the subcode.
    const fn class(self) -> Option<&'static str> {
        Some(match self.0 {
            1 => "message header error",
            2 => "OPEN message error",
            3 => "UPDATE message error",
            4 => "hold timer expired",
            5 => "finite state machine error",
            6 => "Cease",
            7 => "ROUTE-REFRESH message error",
            8 => "send hold timer expired",
            _ => return None,
        })
    }

    /// The IANA name of the subcode, if it has one.
    fn name(self) -> Option<&'static str> {
        NAMES
            .iter()
            .chain(FOREIGN_NAMES)
            .find(|(code, _)| *code == self)
            .map(|(_, words)| *words)
            .filter(|words| !words.is_empty())
    }

    /// Whether it is to end the routes with the session where NOTIFICATIONs may leave them (RFC 8538 §4): what says
    /// that something is wrong with the messages, the path or the agreement does; time, collisions and
    /// restarts do not. The choice is that of `OpenBGPD`, and FRR's for Cease.
    #[must_use]
    pub const fn ends_routes(self) -> bool {
        match self {
            Self::MAXIMUM_PREFIXES
            | Self::ADMINISTRATIVE_SHUTDOWN
            | Self::PEER_DECONFIGURED
            | Self::BFD_DOWN => true,
            // Header, OPEN, UPDATE, state machine, ROUTE-REFRESH.
            Self(code, _) => matches!(code, 1 | 2 | 3 | 5 | 7),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(code, subcode) = self;
        let Some(class) = self.class() else {
            return write!(f, "code {code}/{subcode}");
        };
        match self.name() {
            Some(words) => write!(f, "{class}: {words} ({code}/{subcode})"),
            None => write!(f, "{class} ({code}/{subcode})"),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
