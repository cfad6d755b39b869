//! OPEN: who the two sides are and what they can do (RFC 4271 §4.2, RFC 5492, RFC 9072).
//!
//! ```text
//! | version 4 | my AS (2) | hold time (2) | identifier (4) | length (1) | parameters: type, length, value ...
//! extended:                                                | 255 | 255 | length (2) | type, length (2), value ...
//! ```
//!
//! An [`Open`] is what was on the wire, legal or not; `session::validate_open` is the judge.

#[cfg(test)]
mod tests;

use super::frame::{Kind, begin};
use super::{Asn, Capabilities, Code, HoldTime, Notification, RouterId};
use crate::read::{Reader, Short};
use crate::write::Writer;

const VERSION: u8 = 4;
/// Parameter type "capabilities" (RFC 5492 §4).
const CAPABILITIES: u8 = 2;
/// Length and type that announce the extended form (RFC 9072 §2).
const EXTENDED: u8 = 255;

/// The content of an OPEN message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The two-octet field; [`Asn::TRANS`] stands for anything larger.
    pub my_as: u16,
    /// Hold time in seconds, unjudged.
    pub hold_time: u16,
    /// BGP identifier, unjudged.
    pub identifier: u32,
    /// All capabilities of all parameters.
    pub capabilities: Capabilities,
}

/// An OPEN that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not version 4; nothing behind it can be trusted.
    #[error("BGP version {0}")]
    Version(u8),
    /// A length points outside.
    #[error("structure broken: {0}")]
    Structure(#[from] Short),
    /// Bytes behind the parameters.
    #[error("{0} bytes behind the optional parameters")]
    Trailing(usize),
    /// A parameter type that RFC 5492 does not know.
    #[error("optional parameter of type {0}")]
    Parameter(u8),
}

impl OpenError {
    /// What to answer.
    #[must_use]
    pub fn notification(self) -> Notification {
        match self {
            Self::Version(_) => Code::UNSUPPORTED_VERSION.with(&u16::from(VERSION).to_be_bytes()),
            Self::Structure(_) | Self::Trailing(_) => Code::OPEN_UNSPECIFIC.bare(),
            Self::Parameter(_) => Code::UNSUPPORTED_OPTIONAL_PARAMETER.bare(),
        }
    }
}

impl Open {
    /// What we say about ourselves.
    #[must_use]
    pub fn ours(asn: Asn, hold: HoldTime, id: RouterId, capabilities: Capabilities) -> Self {
        Self {
            my_as: asn.two_byte_or_trans(),
            hold_time: hold.seconds(),
            identifier: id.get(),
            capabilities,
        }
    }

    /// Appends the message, with all capabilities in one parameter: some routers read only the first.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut capabilities = Vec::new();
        self.capabilities
            .encode(&mut Writer::new(&mut capabilities));

        let mut writer = Writer::new(out);
        let length = begin(&mut writer, Kind::Open);
        writer.u8(VERSION);
        writer.u16(self.my_as);
        writer.u16(self.hold_time);
        writer.u32(self.identifier);
        match u8::try_from(capabilities.len()) {
            Ok(0) => writer.u8(0),
            // 253 and its two octets of header make 255, which would announce the extended form.
            Ok(short @ ..=252) => {
                writer.bytes(&[short + 2, CAPABILITIES, short]);
                writer.bytes(&capabilities);
            }
            Ok(_) | Err(_) => {
                writer.bytes(&[EXTENDED, EXTENDED]);
                let parameters = writer.hole();
                writer.u8(CAPABILITIES);
                let value = writer.hole();
                writer.bytes(&capabilities);
                writer.fill(&value);
                writer.fill(&parameters);
            }
        }
        writer.fill(&length);
    }

    /// Reads the body of a message.
    pub fn decode(body: &[u8]) -> Result<Self, OpenError> {
        let mut reader = Reader::new(body);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(OpenError::Version(version));
        }
        let my_as = reader.u16()?;
        let hold_time = reader.u16()?;
        let identifier = reader.u32()?;
        let capabilities = parameters(&mut reader)?;
        if !reader.is_empty() {
            return Err(OpenError::Trailing(reader.remaining()));
        }
        Ok(Self {
            my_as,
            hold_time,
            identifier,
            capabilities,
        })
    }
}

fn parameters(reader: &mut Reader<'_>) -> Result<Capabilities, OpenError> {
    let length = reader.u8()?;
    // RFC 9072 §2: the type octet decides, not the length. Some send 255 ordinary bytes.
    let extended = length != 0 && reader.rest().first() == Some(&EXTENDED);
    let mut block = if extended {
        reader.u8()?;
        let length = reader.u16()?;
        reader.within(usize::from(length))?
    } else {
        reader.within(usize::from(length))?
    };
    let mut capabilities = Capabilities::default();
    while !block.is_empty() {
        let kind = block.u8()?;
        let length = if extended {
            usize::from(block.u16()?)
        } else {
            usize::from(block.u8()?)
        };
        let value = block.within(length)?;
        if kind != CAPABILITIES {
            return Err(OpenError::Parameter(kind));
        }
        capabilities.decode(value)?;
    }
    Ok(capabilities)
}
