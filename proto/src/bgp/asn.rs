//! Autonomous system numbers (RFC 6793) and what follows from comparing two of them.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use super::community::decimal;

/// An autonomous system number: any 32-bit value but 0, which RFC 7607 forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asn(NonZeroU32);

/// Why a number is not an AS number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AsnError {
    /// RFC 7607: AS 0 must not appear in an OPEN or a path.
    #[error("AS 0 is reserved and cannot be used (RFC 7607)")]
    Zero,
    /// Neither a decimal number below 2³² nor asdot.
    #[error("{0:?} is not an AS number between 1 and 4294967295")]
    Syntax(String),
}

impl Asn {
    /// What a 4-byte AS calls itself towards those who know two bytes only (RFC 6793 §4.2.2).
    pub const TRANS: u16 = 23456;

    /// Accepts everything but 0.
    pub fn new(number: u32) -> Result<Self, AsnError> {
        NonZeroU32::new(number).map(Self).ok_or(AsnError::Zero)
    }

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// The number in two octets, if it fits.
    #[must_use]
    pub fn two_byte(self) -> Option<u16> {
        u16::try_from(self.get()).ok()
    }

    /// The number in two octets, or [`Asn::TRANS`] in its place.
    #[must_use]
    pub fn two_byte_or_trans(self) -> u16 {
        self.two_byte().unwrap_or(Self::TRANS)
    }

    /// How a speaker in this AS sees a peer in `peer`.
    #[must_use]
    pub fn relation(self, peer: Asn) -> Relation {
        if self == peer {
            Relation::Internal
        } else {
            Relation::External
        }
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Asn {
    type Err = AsnError;

    /// Reads asplain (`4200000001`) and asdot (`64086.59905`, RFC 5396).
    fn from_str(text: &str) -> Result<Self, AsnError> {
        let syntax = || AsnError::Syntax(text.to_owned());
        let number = match text.split_once('.') {
            None => decimal(text).ok_or_else(syntax)?,
            Some((high, low)) => {
                let high: u16 = decimal(high).ok_or_else(syntax)?;
                let low: u16 = decimal(low).ok_or_else(syntax)?;
                u32::from(high) << 16 | u32::from(low)
            }
        };
        Self::new(number)
    }
}

/// eBGP or iBGP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Different AS: our AS is prepended, `LOCAL_PREF` is not sent.
    External,
    /// Same AS: empty `AS_PATH`, `LOCAL_PREF` is sent.
    Internal,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_plain_and_dotted_numbers_and_refuses_the_rest() {
        for (text, want) in [
            ("1", Ok(1)),
            ("4294967295", Ok(u32::MAX)),
            ("64086.59905", Ok(4_200_000_001)),
            ("0", Err(AsnError::Zero)),
            ("4294967296", Err(AsnError::Syntax("4294967296".into()))),
            ("1.65536", Err(AsnError::Syntax("1.65536".into()))),
            ("", Err(AsnError::Syntax(String::new()))),
            ("+1", Err(AsnError::Syntax("+1".into()))),
            ("1.+5", Err(AsnError::Syntax("1.+5".into()))),
        ] {
            assert_eq!(text.parse::<Asn>().map(Asn::get), want, "{text:?}");
        }
    }

    #[test]
    fn a_large_number_hides_behind_as_trans() {
        assert_eq!(Asn::new(65_535).unwrap().two_byte_or_trans(), 65_535);
        assert_eq!(Asn::new(65_536).unwrap().two_byte_or_trans(), Asn::TRANS);
    }
}
