//! Community values and their names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::{Judgement, Kind, Refusal, Sources, accepted, refused};
use crate::crd::Communities;

/// A community value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CommunityValue {
    /// RFC 1997: two 16-bit halves.
    Standard(u32),
    /// RFC 8092: three 32-bit parts.
    Large([u32; 3]),
    /// RFC 4360: eight octets, as they stand on the wire.
    Extended([u8; 8]),
}

/// Names that operators know (IANA registry "BGP Well-known Communities").
const WELL_KNOWN: [(&str, u32); 9] = [
    ("graceful-shutdown", 0xFFFF_0000),
    ("accept-own", 0xFFFF_0001),
    ("llgr-stale", 0xFFFF_0006),
    ("no-llgr", 0xFFFF_0007),
    ("blackhole", 0xFFFF_029A),
    ("no-export", 0xFFFF_FF01),
    ("no-advertise", 0xFFFF_FF02),
    ("no-export-subconfed", 0xFFFF_FF03),
    ("no-peer", 0xFFFF_FF04),
];

/// Subtypes of extended communities, of each of the three forms that begin with an AS or an address (RFC 4360 §4, §5).
const ROUTE_TARGET: u8 = 0x02;
const ROUTE_ORIGIN: u8 = 0x03;

/// Reads `65000:100`, `large:65000:1:2`, `rt:65000:1`, `soo:192.0.2.1:1` or `ext:0002fde800000001`.
pub fn parse_community(text: &str) -> Result<CommunityValue, String> {
    let wrong = || {
        format!(
            "{text:?} is not a community: write 65000:100, large:65000:1:2, rt:65000:1, soo:65000:1 or ext: and 16 hexadecimal digits"
        )
    };
    let (head, tail) = text.split_once(':').ok_or_else(wrong)?;
    let value = match head {
        "large" => large(tail).map(CommunityValue::Large),
        "rt" => specific(ROUTE_TARGET, tail).map(CommunityValue::Extended),
        "soo" => specific(ROUTE_ORIGIN, tail).map(CommunityValue::Extended),
        "ext" => octets(tail).map(CommunityValue::Extended),
        _ => standard(head, tail).map(CommunityValue::Standard),
    };
    value.ok_or_else(wrong)
}

fn standard(high: &str, low: &str) -> Option<u32> {
    Some(u32::from(decimal::<u16>(high)?) << 16 | u32::from(decimal::<u16>(low)?))
}

fn large(text: &str) -> Option<[u32; 3]> {
    let parts: Option<Vec<u32>> = text.split(':').map(decimal).collect();
    parts?.try_into().ok()
}

/// The three forms of an administrator and a number: two octets and four, an address and two, four octets and two (RFC
/// 4360 §3.1, §3.2, RFC 5668).
fn specific(subtype: u8, text: &str) -> Option<[u8; 8]> {
    let (admin, number) = text.split_once(':')?;
    let four_and_two = |kind: u8, [a, b, c, d]: [u8; 4]| {
        let [high, low] = decimal::<u16>(number)?.to_be_bytes();
        Some([kind, subtype, a, b, c, d, high, low])
    };
    if let Ok(address) = admin.parse::<Ipv4Addr>() {
        return four_and_two(0x01, address.octets());
    }
    match (decimal::<u32>(admin)?, decimal::<u16>(admin)) {
        (_, Some(asn)) => {
            let ([high, low], [a, b, c, d]) =
                (asn.to_be_bytes(), decimal::<u32>(number)?.to_be_bytes());
            Some([0x00, subtype, high, low, a, b, c, d])
        }
        (asn, None) => four_and_two(0x02, asn.to_be_bytes()),
    }
}

fn octets(text: &str) -> Option<[u8; 8]> {
    let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let value = digits.then(|| u64::from_str_radix(text, 16).ok())??;
    Some(value.to_be_bytes())
}

/// Digits only: `str::parse` would take a sign.
fn decimal<N: std::str::FromStr>(part: &str) -> Option<N> {
    if part.bytes().all(|byte| byte.is_ascii_digit()) {
        part.parse().ok()
    } else {
        None
    }
}

/// Names of all accepted Community objects.
pub(super) type Aliases = BTreeMap<String, CommunityValue>;

/// The values of these texts: aliases, well-known names and values, without duplicates.
pub(super) fn resolve(
    field: &str,
    texts: &[String],
    aliases: &Aliases,
) -> Result<Communities, Refusal> {
    let values = texts.iter().map(|text| {
        let known = || WELL_KNOWN.iter().find(|(name, _)| name == text);
        if let Some(value) = aliases.get(text) {
            Ok(*value)
        } else if let Some((_, value)) = known() {
            Ok(CommunityValue::Standard(*value))
        } else if text.contains(':') {
            parse_community(text).map_err(|why| Refusal::invalid(field, why))
        } else {
            let why = format!(
                "{text:?} is no value and no well-known name, and no accepted Community object names it: create it there"
            );
            Err(Refusal::invalid(field, why))
        }
    });
    let mut sorted = Communities::default();
    for value in values.collect::<Result<BTreeSet<_>, _>>()? {
        match value {
            CommunityValue::Standard(value) => sorted.standard.push(value),
            CommunityValue::Large(value) => sorted.large.push(value),
            CommunityValue::Extended([a, b, c, d, rest @ ..]) => {
                let halves = [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes(rest)];
                sorted.extended.push(halves);
            }
        }
    }
    Ok(sorted)
}

/// Judges Community objects by age, then name: a name that stands in two belongs to the older one.
pub(super) fn compile(sources: &Sources, judgements: &mut Vec<Judgement>) -> Aliases {
    let mut aliases = Aliases::new();
    let mut objects: Vec<_> = sources.communities.iter().collect();
    objects.sort_by_key(|(name, object)| {
        (
            object
                .metadata
                .creation_timestamp
                .clone()
                .map(|time| time.0),
            (*name).clone(),
        )
    });
    for (name, object) in objects {
        let mut fresh = Aliases::new();
        let verdict = object.spec.communities.iter().try_for_each(|alias| {
            if alias.name.contains(':') {
                let why = format!("{:?} must not contain a colon", alias.name);
                return Err(Refusal::invalid("spec.communities.name", why));
            }
            let value = parse_community(&alias.value)
                .map_err(|why| Refusal::invalid("spec.communities.value", why))?;
            if aliases.contains_key(&alias.name)
                || fresh.insert(alias.name.clone(), value).is_some()
            {
                let why = format!(
                    "{:?} is defined already: a name may stand only once",
                    alias.name
                );
                return Err(Refusal::conflict("spec.communities.name", why));
            }
            Ok(())
        });
        match verdict {
            Ok(()) => {
                aliases.append(&mut fresh);
                judgements.push(accepted(Kind::Community, name, None));
            }
            Err(refusal) => judgements.push(refused(Kind::Community, name, &refusal, false)),
        }
    }
    aliases
}
