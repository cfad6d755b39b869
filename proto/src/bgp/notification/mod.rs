//! NOTIFICATION: why a session ends, in numbers and in words (RFC 4271 §4.5, §6; RFC 4486, 8538, 9003).

mod code;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt::{self, Write as _};

pub use code::Code;

use super::frame::{Kind, begin};
use super::{Family, HEADER, MAX_MESSAGE};
use crate::read::{Reader, Short};
use crate::write::Writer;

/// How much data a message holds beside header, code and subcode.
const ROOM: usize = MAX_MESSAGE - HEADER - 2;

/// One NOTIFICATION message.
#[derive(Clone, PartialEq, Eq)]
pub struct Notification {
    /// What happened.
    pub code: Code,
    /// What belongs to it; at most [`Notification::MAX_DATA`] bytes of a received one.
    pub data: Vec<u8>,
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

    /// A NOTIFICATION with data, as much as a message holds.
    #[must_use]
    pub fn with(self, data: &[u8]) -> Notification {
        let kept = data.get(..ROOM).unwrap_or(data);
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
}

impl Notification {
    /// How much data is kept: a shutdown communication of 255 octets and its length octet, in a
    /// Hard Reset.
    pub const MAX_DATA: usize = 258;

    /// This one wrapped, so that it ends the routes too where both sides said bit N (RFC 8538 §3).
    #[must_use]
    pub fn hard_reset(self) -> Self {
        let Code(code, subcode) = self.code;
        let data = [&[code, subcode], &self.data[..]].concat();
        Code::HARD_RESET.with(&data)
    }

    /// What is wrapped in a Hard Reset; of anything else, itself.
    #[must_use]
    pub fn cause(&self) -> Cow<'_, Self> {
        match (self.code, &self.data[..]) {
            (Code::HARD_RESET, &[code, subcode, ref data @ ..]) => {
                Cow::Owned(Code(code, subcode).with(data))
            }
            (_, _) => Cow::Borrowed(self),
        }
    }

    /// What a 6/1 says, wrapped or not: the family that had too many prefixes, if it is one of ours, and how many are
    /// allowed (RFC 4486 §4).
    #[must_use]
    pub fn prefix_limit(&self) -> Option<(Option<Family>, u32)> {
        let cause = self.cause();
        match (cause.code, &cause.data[..]) {
            (Code::MAXIMUM_PREFIXES, &[high, low, safi, a, b, c, d]) => {
                let family = Family::from_wire(u16::from_be_bytes([high, low]), safi);
                Some((family, u32::from_be_bytes([a, b, c, d])))
            }
            (_, _) => None,
        }
    }

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
        Ok(code.with(reader.rest()).abridged())
    }

    /// As much of it as is worth keeping: at most [`Notification::MAX_DATA`] bytes of data.
    #[must_use]
    pub(super) fn abridged(mut self) -> Self {
        self.data.truncate(Self::MAX_DATA);
        self.data.shrink_to_fit();
        self
    }

    /// What the other side said (RFC 9003), with control characters removed so that a peer cannot forge
    /// log lines. A length octet that lies is tolerated. A Hard Reset says what is wrapped in it.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        let cause = self.cause();
        if !matches!(
            cause.code,
            Code::ADMINISTRATIVE_SHUTDOWN | Code::ADMINISTRATIVE_RESET
        ) {
            return None;
        }
        let (length, said) = cause.data.split_first()?;
        let said = said.get(..usize::from(*length)).unwrap_or(said);
        let mut said = String::from_utf8_lossy(said).into_owned();
        said.retain(|char| !is_invisible(char));
        (!said.is_empty()).then_some(said)
    }
}

/// Control characters, and what Unicode calls format characters: they break lines, turn the direction of what follows, or
/// are not seen at all.
fn is_invisible(char: char) -> bool {
    match char {
        ' '..='~' => false,
        '\u{ad}'
        | '\u{600}'..='\u{605}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => true,
        _ => char.is_control(),
    }
}

/// In quotation marks that the words cannot end.
fn quoted(words: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_char('"')?;
    for char in words.chars() {
        if matches!(char, '"' | '\\') {
            f.write_char('\\')?;
        }
        f.write_char(char)?;
    }
    f.write_char('"')
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.code.fmt(f)?;
        let cause = self.cause();
        if cause.code != self.code {
            write!(f, ": {}", cause.code)?;
        }
        if let Some(words) = self.words() {
            f.write_str(", saying ")?;
            return quoted(&words, f);
        }
        match self.prefix_limit() {
            Some((Some(family), limit)) => write!(f, ", {limit} for {family}"),
            Some((None, limit)) => write!(f, ", {limit}"),
            None if cause.data.is_empty() => Ok(()),
            None => {
                f.write_str(", data ")?;
                let mut shown = cause.data.iter().take(32);
                shown.try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

impl fmt::Debug for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
