//! Reading UPDATE: a bounded walk that judges and counts, and keeps nothing (RFC 4271 §4.3, RFC 7606).
//!
//! ```text
//! | withdrawn length (2) | withdrawn routes | attributes length (2) | path attributes | NLRI |
//! ```
//!
//! We want no routes, so the only question is whether the session can go on. The rule of RFC 7606: if the
//! message can be cut into its blocks and its NLRI can be walked, it can. Where faulty attributes come without any route,
//! the routes have not been found (§5.2), and it cannot.

mod rules;

use self::rules::code;
use super::{Code, Families, Family, Notification, Prefix, PrefixError, Relation};
use crate::read::{Reader, Short};

/// How bad an UPDATE is, in rising severity (RFC 7606 §2). The most severe finding wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to complain about.
    #[default]
    Fine,
    /// An attribute is to be ignored.
    Discard,
    /// Its routes are to be treated as withdrawn.
    Withdraw,
    /// The session cannot go on.
    Reset(Notification),
}

impl Verdict {
    fn severity(&self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Discard => 1,
            Self::Withdraw => 2,
            Self::Reset(_) => 3,
        }
    }

    /// The more severe of the two; the first of equals.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        if other.severity() > self.severity() {
            other
        } else {
            self
        }
    }
}

/// What the walk saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// What to do.
    pub verdict: Verdict,
    /// Prefixes announced, of the families that were agreed on, and of IPv4 wherever it stands outside of attributes.
    pub announced: usize,
    /// Prefixes withdrawn.
    pub withdrawn: usize,
    /// The message was nothing but the end of a family's table (RFC 4724 §2).
    pub end_of_rib: Option<Family>,
}

const EXTENDED_LENGTH: u8 = 0x10;

/// What was agreed on, as far as reading depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// eBGP or iBGP.
    pub relation: Relation,
    /// AS numbers have four octets (RFC 6793).
    pub as4: bool,
    /// Routes of other families are not read: their grammar may be one that we do not know.
    pub families: Families,
}

/// [`examine_within`] a session that carries both families.
#[must_use]
pub fn examine(body: &[u8], relation: Relation, as4: bool) -> Examined {
    let families = Families::only(Family::V4Unicast).with(Family::V6Unicast);
    let terms = Terms {
        relation,
        as4,
        families,
    };
    examine_within(terms, body)
}

/// Judges the body of an UPDATE.
#[must_use]
pub fn examine_within(terms: Terms, body: &[u8]) -> Examined {
    let mut walk = Walk {
        terms,
        seen: [false; 256],
        reachable: false,
        others: false,
        examined: Examined::default(),
    };
    match walk.message(body) {
        Ok(()) => {}
        Err(fatal) => walk.examined.verdict = Verdict::Reset(fatal),
    }
    walk.examined
}

struct Walk {
    terms: Terms,
    seen: [bool; 256],
    /// Routes are announced, of whatever family.
    reachable: bool,
    /// There are path attributes beside `MP_UNREACH_NLRI`.
    others: bool,
    examined: Examined,
}

impl Walk {
    fn message(&mut self, body: &[u8]) -> Result<(), Notification> {
        let overrun = |_: Short| Code::MALFORMED_ATTRIBUTE_LIST.bare();
        let mut reader = Reader::new(body);
        let length = reader.u16().map_err(overrun)?;
        let withdrawn = reader.within(usize::from(length)).map_err(overrun)?;
        let length = reader.u16().map_err(overrun)?;
        let attributes = reader.within(usize::from(length)).map_err(overrun)?;

        let invalid = |_: PrefixError| Code::INVALID_NETWORK_FIELD.bare();
        let gone = count(Family::V4Unicast, withdrawn).map_err(invalid)?;
        let announced = count(Family::V4Unicast, reader).map_err(invalid)?;
        self.examined.withdrawn += gone;
        self.examined.announced += announced;
        self.reachable = announced > 0;
        let ends = if attributes.is_empty() {
            Some(Family::V4Unicast)
        } else {
            self.attributes(attributes)?
        };
        if gone == 0 && announced == 0 && !self.others {
            self.examined.end_of_rib = ends;
        }
        self.mandatory(announced > 0);
        self.routes_were_found()
    }

    /// Returns the family that `MP_UNREACH_NLRI` has no routes of.
    fn attributes(&mut self, mut block: Reader<'_>) -> Result<Option<Family>, Notification> {
        let mut ends = None;
        while !block.is_empty() {
            let begun = block.rest().get(1).copied();
            self.others |= begun.is_some_and(|kind| kind != code::MP_UNREACH);
            let Ok((flags, kind, value)) = attribute(&mut block) else {
                self.overrun(begun)?;
                return Ok(None);
            };
            let again = self
                .seen
                .get_mut(usize::from(kind))
                .is_some_and(|seen| std::mem::replace(seen, true));
            match (again, kind) {
                (true, code::MP_REACH | code::MP_UNREACH) => {
                    return Err(Code::MALFORMED_ATTRIBUTE_LIST.bare());
                }
                // RFC 7606 §3 g: the first one counts.
                (true, _) => self.note(Verdict::Discard),
                (false, code::MP_REACH) => self.mp_reach(flags, value)?,
                (false, code::MP_UNREACH) => ends = self.mp_unreach(flags, value)?,
                (false, _) => self.note(rules::judge(self.terms, flags, kind, value)),
            }
        }
        Ok(ends)
    }

    /// RFC 7606 §4: an attribute of type `begun` that overruns the block spoils the routes, not the session, unless the
    /// routes are in it (§3 j).
    fn overrun(&mut self, begun: Option<u8>) -> Result<(), Notification> {
        if matches!(begun, Some(code::MP_REACH | code::MP_UNREACH)) {
            return Err(Code::MALFORMED_ATTRIBUTE_LIST.bare());
        }
        self.note(Verdict::Withdraw);
        Ok(())
    }

    fn mp_reach(&mut self, flags: u8, value: &[u8]) -> Result<(), Notification> {
        let mut reader = Reader::new(value);
        let Some(family) = self.mp_family(flags, &mut reader)? else {
            self.reachable = true;
            return Ok(());
        };
        let length = reader.u8().map_err(broken)?;
        reader.take(usize::from(length)).map_err(broken)?;
        reader.u8().map_err(broken)?;
        let possible = match family {
            Family::V4Unicast => matches!(length, 4 | 16 | 32),
            Family::V6Unicast => matches!(length, 16 | 32),
        };
        if !possible {
            return Err(Code::OPTIONAL_ATTRIBUTE_ERROR.bare());
        }
        let count = count(family, reader).map_err(broken)?;
        self.examined.announced += count;
        self.reachable |= count > 0;
        Ok(())
    }

    /// Returns the family if there are no routes.
    fn mp_unreach(&mut self, flags: u8, value: &[u8]) -> Result<Option<Family>, Notification> {
        let mut reader = Reader::new(value);
        let Some(family) = self.mp_family(flags, &mut reader)? else {
            return Ok(None);
        };
        let count = count(family, reader).map_err(broken)?;
        self.examined.withdrawn += count;
        Ok((count == 0).then_some(family))
    }

    /// The family that both multiprotocol attributes begin with, if it was agreed on. Of another one nothing is read,
    /// which is the "AFI/SAFI disable" of RFC 7606 §2. Wrong flags mean that the routes cannot be relied on (§5.3).
    fn mp_family(
        &self,
        flags: u8,
        reader: &mut Reader<'_>,
    ) -> Result<Option<Family>, Notification> {
        let (afi, safi) = (reader.u16().map_err(broken)?, reader.u8().map_err(broken)?);
        let agreed = Family::from_wire(afi, safi).filter(|family| self.terms.families.has(*family));
        if agreed.is_some() && !rules::are_optional(flags) {
            return Err(Code::OPTIONAL_ATTRIBUTE_ERROR.bare());
        }
        Ok(agreed)
    }

    /// RFC 7606 §3 d: what is missing spoils the routes. Withdrawals need no attributes.
    fn mandatory(&mut self, classic: bool) {
        let has = |kind: u8| self.seen.get(usize::from(kind)).is_some_and(|seen| *seen);
        let complete = has(code::ORIGIN)
            && has(code::AS_PATH)
            && (!classic || has(code::NEXT_HOP))
            && (self.terms.relation == Relation::External || has(code::LOCAL_PREF));
        if self.reachable && !complete {
            self.note(Verdict::Withdraw);
        }
    }

    /// RFC 7606 §5.2: faulty attributes that come without a route are the attributes of routes that we failed to find.
    fn routes_were_found(&self) -> Result<(), Notification> {
        let spoilt = self.examined.verdict == Verdict::Withdraw;
        if spoilt && self.others && !self.reachable {
            return Err(Code::MALFORMED_ATTRIBUTE_LIST.bare());
        }
        Ok(())
    }

    fn note(&mut self, verdict: Verdict) {
        self.examined.verdict = std::mem::take(&mut self.examined.verdict).max(verdict);
    }
}

/// Routes that cannot be found in a multiprotocol attribute (RFC 4760 §7).
fn broken<E>(_: E) -> Notification {
    Code::OPTIONAL_ATTRIBUTE_ERROR.bare()
}

fn attribute<'a>(block: &mut Reader<'a>) -> Result<(u8, u8, &'a [u8]), Short> {
    let flags = block.u8()?;
    let kind = block.u8()?;
    let length = if flags & EXTENDED_LENGTH == 0 {
        usize::from(block.u8()?)
    } else {
        usize::from(block.u16()?)
    };
    Ok((flags, kind, block.take(length)?))
}

fn count(family: Family, mut reader: Reader<'_>) -> Result<usize, PrefixError> {
    let mut count = 0;
    while !reader.is_empty() {
        Prefix::decode(family, &mut reader)?;
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests;
