//! What RFC 7606 §7 says about each attribute whose content is not NLRI.
//!
//! An unknown well-known attribute would cost the session (RFC 4271 §6.3, which RFC 7606 left as it was); here it costs the
//! routes, as the other faults of attributes do, for we would have thrown it away.

use super::super::Relation;
use super::{Terms, Verdict};
use crate::read::Reader;

/// The attributes that have rules.
pub(super) mod code {
    pub(crate) const ORIGIN: u8 = 1;
    pub(crate) const AS_PATH: u8 = 2;
    pub(crate) const NEXT_HOP: u8 = 3;
    pub(crate) const MED: u8 = 4;
    pub(crate) const LOCAL_PREF: u8 = 5;
    pub(crate) const ATOMIC_AGGREGATE: u8 = 6;
    pub(crate) const AGGREGATOR: u8 = 7;
    pub(crate) const COMMUNITIES: u8 = 8;
    pub(crate) const ORIGINATOR_ID: u8 = 9;
    pub(crate) const CLUSTER_LIST: u8 = 10;
    pub(crate) const MP_REACH: u8 = 14;
    pub(crate) const MP_UNREACH: u8 = 15;
    pub(crate) const EXTENDED_COMMUNITIES: u8 = 16;
    pub(crate) const AS4_PATH: u8 = 17;
    pub(crate) const AS4_AGGREGATOR: u8 = 18;
    pub(crate) const IPV6_EXTENDED_COMMUNITIES: u8 = 25;
    pub(crate) const LARGE_COMMUNITIES: u8 = 32;
    pub(crate) const ONLY_TO_CUSTOMER: u8 = 35;
}

const OPTIONAL: u8 = 0x80;
const TRANSITIVE: u8 = 0x40;

/// Judges one attribute by its flags and value.
pub(super) fn judge(terms: Terms, flags: u8, kind: u8, value: &[u8]) -> Verdict {
    if !flags_fit(kind, flags) {
        return Verdict::Withdraw;
    }
    let as4 = terms.as4;
    let external = terms.relation == Relation::External;
    let length = value.len();
    match kind {
        code::ORIGIN => withdraw_unless(matches!(value, [0..=2])),
        code::AS_PATH => withdraw_unless(path_is_sound(value, as4, external)),
        code::LOCAL_PREF | code::ORIGINATOR_ID | code::CLUSTER_LIST if external => Verdict::Discard,
        code::NEXT_HOP
        | code::MED
        | code::LOCAL_PREF
        | code::ORIGINATOR_ID
        | code::ONLY_TO_CUSTOMER => withdraw_unless(length == 4),
        code::CLUSTER_LIST | code::COMMUNITIES => withdraw_unless(is_list(length, 4)),
        code::EXTENDED_COMMUNITIES => withdraw_unless(is_list(length, 8)),
        code::LARGE_COMMUNITIES => withdraw_unless(is_list(length, 12)),
        code::IPV6_EXTENDED_COMMUNITIES => withdraw_unless(is_list(length, 20)),
        code::ATOMIC_AGGREGATE => discard_unless(length == 0),
        code::AGGREGATOR => discard_unless(aggregator_is_sound(value, as4)),
        // Never empty, and never of a confederation, wherever it comes from (RFC 6793 §6).
        code::AS4_PATH => discard_unless(!as4 && length > 0 && path_is_sound(value, true, true)),
        code::AS4_AGGREGATOR => discard_unless(!as4 && aggregator_is_sound(value, true)),
        _ => Verdict::Fine,
    }
}

/// Whether the optional and transitive bits are those of a known type (RFC 4271 §5).
fn flags_fit(kind: u8, flags: u8) -> bool {
    let want = match kind {
        code::ORIGIN
        | code::AS_PATH
        | code::NEXT_HOP
        | code::LOCAL_PREF
        | code::ATOMIC_AGGREGATE => TRANSITIVE,
        code::MED | code::ORIGINATOR_ID | code::CLUSTER_LIST => OPTIONAL,
        code::AGGREGATOR
        | code::COMMUNITIES
        | code::EXTENDED_COMMUNITIES
        | code::AS4_PATH
        | code::AS4_AGGREGATOR
        | code::IPV6_EXTENDED_COMMUNITIES
        | code::LARGE_COMMUNITIES
        | code::ONLY_TO_CUSTOMER => OPTIONAL | TRANSITIVE,
        // A well-known attribute that we do not know cannot be right (RFC 4271 §6.3).
        _ => return flags & OPTIONAL != 0,
    };
    flags & (OPTIONAL | TRANSITIVE) == want
}

/// Whether the flags are those of the multiprotocol attributes: optional, not transitive (RFC 4760 §3, §4).
pub(super) fn are_optional(flags: u8) -> bool {
    flags & (OPTIONAL | TRANSITIVE) == OPTIONAL
}

/// An AS that is not 0 (RFC 7607), and a router.
fn aggregator_is_sound(value: &[u8], as4: bool) -> bool {
    match value {
        [asn @ .., _, _, _, _] if asn.len() == if as4 { 4 } else { 2 } => {
            asn.iter().any(|octet| *octet != 0)
        }
        _ => false,
    }
}

/// Segments of known type, none empty, none cut short, no AS 0 (RFC 7606 §7.2, RFC 7607), and none of a
/// confederation from outside (RFC 5065 §5).
fn path_is_sound(value: &[u8], as4: bool, external: bool) -> bool {
    let last_type = if external { 2 } else { 4 };
    let mut reader = Reader::new(value);
    while !reader.is_empty() {
        let (Ok(kind @ 1..), Ok(hops @ 1..)) = (reader.u8(), reader.u8()) else {
            return false;
        };
        if kind > last_type {
            return false;
        }
        for _ in 0..hops {
            let asn = if as4 {
                reader.u32()
            } else {
                reader.u16().map(u32::from)
            };
            if !matches!(asn, Ok(1..)) {
                return false;
            }
        }
    }
    true
}

/// A list attribute may not be empty (RFC 7606 §7).
fn is_list(length: usize, entry: usize) -> bool {
    length > 0 && length.is_multiple_of(entry)
}

fn withdraw_unless(sound: bool) -> Verdict {
    if sound {
        Verdict::Fine
    } else {
        Verdict::Withdraw
    }
}

fn discard_unless(sound: bool) -> Verdict {
    if sound {
        Verdict::Fine
    } else {
        Verdict::Discard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_judged_by_the_negotiated_width() {
        for (name, path, as4, sound) in [
            ("empty", &[][..], true, true),
            ("one of four bytes", &[2, 1, 0, 0, 0, 1], true, true),
            ("one of two bytes", &[2, 1, 0, 1], false, true),
            ("two bytes read as four", &[2, 1, 0, 1], true, false),
            ("segment type 7", &[7, 1, 0, 0, 0, 1], true, false),
            ("segment without hops", &[2, 0], true, false),
            ("AS 0", &[2, 1, 0, 0, 0, 0], true, false),
            ("a set", &[1, 1, 0, 0, 0, 1], true, true),
        ] {
            for external in [true, false] {
                assert_eq!(path_is_sound(path, as4, external), sound, "{name}");
            }
        }
        let confederation = [3, 1, 0, 0, 0, 1];
        assert!(path_is_sound(&confederation, true, false));
        assert!(!path_is_sound(&confederation, true, true), "from outside");
    }
}
