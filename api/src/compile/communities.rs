//! Community values and their names.

use std::collections::BTreeMap;

use super::{Judgement, Kind, Refusal, Sources, accepted, refused};

/// A community value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StandardOrLarge {
    /// RFC 1997: two 16-bit halves.
    Standard(u32),
    /// RFC 8092: three 32-bit parts.
    Large([u32; 3]),
}

/// Reads `65000:100` or `large:65000:1:2`.
pub fn parse_community(text: &str) -> Result<StandardOrLarge, String> {
    let wrong = || format!("{text:?} is not a community: write 65000:100 or large:65000:1:2");
    if let Some(large) = text.strip_prefix("large:") {
        let parts: Vec<u32> = large.split(':').map_while(decimal).collect();
        return match (parts.as_slice(), large.split(':').count()) {
            (&[a, b, c], 3) => Ok(StandardOrLarge::Large([a, b, c])),
            _ => Err(wrong()),
        };
    }
    let (high, low) = text.split_once(':').ok_or_else(wrong)?;
    let half = |part: &str| decimal::<u16>(part).ok_or_else(wrong);
    Ok(StandardOrLarge::Standard(
        u32::from(half(high)?) << 16 | u32::from(half(low)?),
    ))
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
pub(super) type Aliases = BTreeMap<String, StandardOrLarge>;

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
