//! Reading UPDATE: a bounded walk that judges and counts, and keeps nothing (RFC 4271 §4.3, RFC 7606).
//!
//! ```text
//! | withdrawn length (2) | withdrawn routes | attributes length (2) | path attributes | NLRI |
//! ```
//!
//! We want no routes, so the only question is whether the session can go on. The rule of RFC 7606: if the
//! message can be cut into its blocks and its NLRI can be walked, it can.

mod rules;

use self::rules::code;
use super::{Code, Family, Notification, Prefix, PrefixError, Relation};
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
    /// Prefixes announced, all families of ours.
    pub announced: usize,
    /// Prefixes withdrawn.
    pub withdrawn: usize,
    /// The message was nothing but the end of a family's table (RFC 4724 §2).
    pub end_of_rib: Option<Family>,
}

const EXTENDED_LENGTH: u8 = 0x10;

/// Judges the body of an UPDATE from a peer with this relation; `as4` as negotiated (RFC 6793).
#[must_use]
pub fn examine(body: &[u8], relation: Relation, as4: bool) -> Examined {
    let mut walk = Walk {
        relation,
        as4,
        seen: [false; 256],
        examined: Examined::default(),
    };
    match walk.message(body) {
        Ok(()) => {}
        Err(fatal) => walk.examined.verdict = Verdict::Reset(fatal),
    }
    walk.examined
}

struct Walk {
    relation: Relation,
    as4: bool,
    seen: [bool; 256],
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
        let empty = attributes.is_empty();
        self.attributes(attributes)?;
        if empty && gone == 0 && announced == 0 {
            self.examined.end_of_rib = Some(Family::V4Unicast);
        }
        self.mandatory(announced > 0);
        Ok(())
    }

    fn attributes(&mut self, mut block: Reader<'_>) -> Result<(), Notification> {
        while !block.is_empty() {
            // RFC 7606 §4: what overruns the block spoils the routes, not the session.
            let Ok((flags, kind, value)) = attribute(&mut block) else {
                self.note(Verdict::Withdraw);
                return Ok(());
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
                (false, _) => {
                    let verdict = self.value(flags, kind, value)?;
                    self.note(verdict);
                }
            }
        }
        Ok(())
    }

    fn value(&mut self, flags: u8, kind: u8, value: &[u8]) -> Result<Verdict, Notification> {
        // Kept apart: their NLRI must be walked whatever their flags say.
        match kind {
            code::MP_REACH => self.mp_reach(value)?,
            code::MP_UNREACH => self.mp_unreach(value)?,
            _ => {}
        }
        Ok(rules::judge(flags, kind, value, self.relation, self.as4))
    }

    fn mp_reach(&mut self, value: &[u8]) -> Result<(), Notification> {
        let broken = |_: Short| Code::OPTIONAL_ATTRIBUTE_ERROR.bare();
        let mut reader = Reader::new(value);
        let family = read_family(&mut reader).map_err(broken)?;
        let length = reader.u8().map_err(broken)?;
        reader.take(usize::from(length)).map_err(broken)?;
        reader.u8().map_err(broken)?;
        // A family that was not agreed is ignored: its grammar may be one we do not know.
        let Some(family) = family else { return Ok(()) };
        if !matches!(length, 4 | 16 | 32) {
            return Err(Code::OPTIONAL_ATTRIBUTE_ERROR.bare());
        }
        let count = count(family, reader).map_err(|_| Code::OPTIONAL_ATTRIBUTE_ERROR.bare())?;
        self.examined.announced += count;
        Ok(())
    }

    fn mp_unreach(&mut self, value: &[u8]) -> Result<(), Notification> {
        let broken = |_: Short| Code::OPTIONAL_ATTRIBUTE_ERROR.bare();
        let mut reader = Reader::new(value);
        let Some(family) = read_family(&mut reader).map_err(broken)? else {
            return Ok(());
        };
        if reader.is_empty() {
            self.examined.end_of_rib = Some(family);
        }
        let count = count(family, reader).map_err(|_| Code::OPTIONAL_ATTRIBUTE_ERROR.bare())?;
        self.examined.withdrawn += count;
        Ok(())
    }

    /// RFC 7606 §3 d: what is missing spoils the routes. Withdrawals need no attributes.
    fn mandatory(&mut self, classic: bool) {
        let has = |kind: u8| self.seen.get(usize::from(kind)).is_some_and(|seen| *seen);
        let announces = classic || has(code::MP_REACH);
        let complete = has(code::ORIGIN)
            && has(code::AS_PATH)
            && (!classic || has(code::NEXT_HOP))
            && (self.relation == Relation::External || has(code::LOCAL_PREF));
        if announces && !complete {
            self.note(Verdict::Withdraw);
        }
    }

    fn note(&mut self, verdict: Verdict) {
        self.examined.verdict = std::mem::take(&mut self.examined.verdict).max(verdict);
    }
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

fn read_family(reader: &mut Reader<'_>) -> Result<Option<Family>, Short> {
    Ok(Family::from_wire(reader.u16()?, reader.u8()?))
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &[u8] = &[
        0x40, 1, 1, 0, // ORIGIN IGP
        0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe8, // AS_PATH 65000
        0x40, 3, 4, 192, 0, 2, 1, // NEXT_HOP
    ];
    const ROUTE: &[u8] = &[32, 10, 0, 0, 1];

    fn mk_body(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
        let length = |part: &[u8]| u16::try_from(part.len()).unwrap().to_be_bytes();
        [
            &length(withdrawn),
            withdrawn,
            &length(attributes),
            attributes,
            nlri,
        ]
        .concat()
    }

    fn judge(attributes: &[u8], nlri: &[u8]) -> Verdict {
        examine(&mk_body(&[], attributes, nlri), Relation::External, true).verdict
    }

    fn plus(extra: &[u8]) -> Vec<u8> {
        [GOOD, extra].concat()
    }

    #[test]
    fn a_sound_update_is_counted() {
        let body = mk_body(&[8, 10, 0], GOOD, &[ROUTE, ROUTE].concat());
        let got = examine(&body, Relation::External, true);
        let want = Examined {
            announced: 2,
            withdrawn: 2,
            verdict: Verdict::Fine,
            end_of_rib: None,
        };
        assert_eq!(got, want);
    }

    #[test]
    fn end_of_rib_is_recognised_per_family() {
        let v4 = examine(&mk_body(&[], &[], &[]), Relation::External, true);
        assert_eq!(v4.end_of_rib, Some(Family::V4Unicast));
        let unreach = [0x80, 15, 3, 0, 2, 1];
        let v6 = examine(&mk_body(&[], &unreach, &[]), Relation::Internal, true);
        assert_eq!(v6.end_of_rib, Some(Family::V6Unicast));
        assert_eq!(v6.verdict, Verdict::Fine);
    }

    #[test]
    fn what_cannot_be_cut_resets_the_session() {
        let twice = [&[0x80, 15, 3, 0, 2, 1][..], &[0x80, 15, 3, 0, 2, 1]].concat();
        for (name, body, want) in [
            (
                "withdrawn overrun",
                vec![0, 9, 0, 0],
                Code::MALFORMED_ATTRIBUTE_LIST,
            ),
            (
                "attribute overrun",
                vec![0, 0, 0, 9],
                Code::MALFORMED_ATTRIBUTE_LIST,
            ),
            (
                "MP_UNREACH twice",
                mk_body(&[], &twice, &[]),
                Code::MALFORMED_ATTRIBUTE_LIST,
            ),
            (
                "withdrawn /33",
                mk_body(&[33, 0, 0, 0, 0, 0], &[], &[]),
                Code::INVALID_NETWORK_FIELD,
            ),
            (
                "NLRI /33",
                mk_body(&[], GOOD, &[33, 0, 0, 0, 0, 0]),
                Code::INVALID_NETWORK_FIELD,
            ),
            (
                "NLRI cut",
                mk_body(&[], GOOD, &[32, 10]),
                Code::INVALID_NETWORK_FIELD,
            ),
            (
                "MP NLRI /129",
                mk_body(&[], &[0x80, 15, 4, 0, 2, 1, 129], &[]),
                Code::OPTIONAL_ATTRIBUTE_ERROR,
            ),
            (
                "MP next hop of 7",
                mk_body(
                    &[],
                    &[0x80, 14, 12, 0, 2, 1, 7, 0, 0, 0, 0, 0, 0, 0, 0],
                    &[],
                ),
                Code::OPTIONAL_ATTRIBUTE_ERROR,
            ),
        ] {
            let got = examine(&body, Relation::External, true).verdict;
            assert_eq!(got, Verdict::Reset(want.bare()), "{name}");
        }
    }

    #[test]
    fn faulty_attributes_cost_routes_but_not_the_session() {
        use Verdict::{Discard, Fine, Withdraw};
        for (name, attributes, want) in [
            ("none wrong", GOOD.to_vec(), Fine),
            (
                "ORIGIN 3",
                plus(&[])[..3]
                    .iter()
                    .chain(&[3])
                    .chain(&GOOD[4..])
                    .copied()
                    .collect(),
                Withdraw,
            ),
            ("no NEXT_HOP", GOOD[..13].to_vec(), Withdraw),
            (
                "block overrun by attribute",
                plus(&[0xc0, 8, 9, 1]),
                Withdraw,
            ),
            ("junk at the end", plus(&[0]), Withdraw),
            ("COMMUNITIES of 3", plus(&[0xc0, 8, 3, 1, 2, 3]), Withdraw),
            ("COMMUNITIES empty", plus(&[0xc0, 8, 0]), Withdraw),
            (
                "COMMUNITIES with wrong flags",
                plus(&[0x40, 8, 4, 0, 0, 0, 0]),
                Withdraw,
            ),
            (
                "LARGE of 11",
                plus(&[0xc0, 32, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
                Withdraw,
            ),
            (
                "LOCAL_PREF from outside",
                plus(&[0x40, 5, 4, 0, 0, 0, 100]),
                Discard,
            ),
            (
                "AGGREGATOR of 5",
                plus(&[0xc0, 7, 5, 0, 0, 0, 0, 0]),
                Discard,
            ),
            ("AS4_PATH from a 4-byte peer", plus(&[0xc0, 17, 0]), Discard),
            ("second ORIGIN", plus(&[0x40, 1, 1, 0]), Discard),
            ("unknown transitive", plus(&[0xc0, 99, 1, 7]), Fine),
            ("unknown well-known", plus(&[0x40, 99, 1, 7]), Fine),
            (
                "MP of a foreign family",
                plus(&[0x80, 15, 4, 0, 25, 70, 1]),
                Fine,
            ),
        ] {
            assert_eq!(judge(&attributes, ROUTE), want, "{name}");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            attributes in proptest::collection::vec(prop_oneof![0u8..40, Just(0x40), Just(0x80), Just(0xc0), any::<u8>()], 0..200),
            as4: bool, external: bool,
        ) {
            let relation = if external { Relation::External } else { Relation::Internal };
            let _ = examine(&bytes, relation, as4);
            let _ = examine(&mk_body(&[], &attributes, ROUTE), relation, as4);
        }
    }
}
