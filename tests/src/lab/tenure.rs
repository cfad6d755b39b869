//! Who had an address when, judged by what was said on the wire.
//!
//! ```text
//! claims of A   x x x x x x x
//! claims of B             x   x x x x x
//! tenure of A   └───────────┘
//! tenure of B             └───────────┘
//! overlap                 └─┘
//! ```

use std::time::Duration;

use portolan_proto::ethernet::MacAddr;

/// Somebody said to have the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// When, since 1970.
    pub at: Duration,
    /// Where it says the address is.
    pub mac: MacAddr,
}

/// A time in which one station claimed the address again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenure {
    /// The station.
    pub mac: MacAddr,
    /// Its first claim.
    pub from: Duration,
    /// Its last one.
    pub until: Duration,
}

/// The tenures in claims of one address. Whoever is silent for longer than `patience` has given it up; choose a few times the
/// interval of the questions that provoke the claims.
#[must_use]
pub fn tenures(claims: &[Claim], patience: Duration) -> Vec<Tenure> {
    let mut sorted = claims.to_vec();
    sorted.sort_by_key(|claim| claim.at);
    let mut tenures: Vec<Tenure> = Vec::new();
    for Claim { at, mac } in sorted {
        let own = tenures.iter_mut().rev().find(|tenure| tenure.mac == mac);
        match own {
            Some(tenure) if at.saturating_sub(tenure.until) <= patience => tenure.until = at,
            _ => tenures.push(Tenure {
                mac,
                from: at,
                until: at,
            }),
        }
    }
    tenures
}

/// The longest time in which two stations claimed the address at once.
#[must_use]
pub fn longest_overlap(tenures: &[Tenure]) -> Duration {
    let pairs = tenures.iter().enumerate().flat_map(|(index, one)| {
        let others = tenures.iter().skip(index + 1);
        others
            .filter(|other| other.mac != one.mac)
            .map(move |other| (one, other))
    });
    let overlaps = pairs.map(|(one, other)| {
        one.until
            .min(other.until)
            .saturating_sub(one.from.max(other.from))
    });
    overlaps.max().unwrap_or_default()
}

/// The longest time between `from` and `until` in which nobody claimed the address.
#[must_use]
pub fn longest_silence(claims: &[Claim], from: Duration, until: Duration) -> Duration {
    let mut times: Vec<Duration> = claims
        .iter()
        .map(|claim| claim.at.clamp(from, until))
        .collect();
    times.extend([from, until]);
    times.sort_unstable();
    let gaps = times.windows(2).filter_map(|pair| match pair {
        [one, next] => Some(next.saturating_sub(*one)),
        _ => None,
    });
    gaps.max().unwrap_or_default()
}

/// The station that claimed the address last.
#[must_use]
pub fn last_claimant(claims: &[Claim]) -> Option<MacAddr> {
    claims
        .iter()
        .max_by_key(|claim| claim.at)
        .map(|claim| claim.mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(30);

    /// One letter per 10 ms: who claims then; several rows run at once.
    fn mk_claims(rows: &[&str]) -> Vec<Claim> {
        let claims = rows
            .iter()
            .flat_map(|row| (0..).zip(row.bytes()).filter(|(_, letter)| *letter != b' '));
        claims
            .map(|(at, letter)| Claim {
                at: Duration::from_millis(1000 + 10 * at),
                mac: MacAddr([2, 0, 0, 0, 0, letter]),
            })
            .collect()
    }

    #[test]
    fn overlaps_are_the_times_in_which_two_claim_at_once() {
        for (rows, tenures_wanted, millis) in [
            (&["aaaa"][..], 1, 0),
            (&["aaa", "   bbb"], 2, 0),
            (&["aaaaaa", "   bbbbb"], 2, 20),
            (&["aa aa aa", "  b"], 2, 0),
            // Two that overlap, an end, and a stale one who comes back for a moment.
            (
                &["aaaaaaa", "    bbbbbbbbbbbbbbbbb", "             aa"],
                3,
                20,
            ),
            // A single frame of a stale holder is a tenure of no length.
            (&["bbbbbbbbbbbbb", "     a"], 2, 0),
        ] {
            let tenures = tenures(&mk_claims(rows), PATIENCE);
            assert_eq!(tenures.len(), tenures_wanted, "row {rows:?}: {tenures:?}");
            assert_eq!(
                longest_overlap(&tenures),
                Duration::from_millis(millis),
                "row {rows:?}"
            );
        }
    }

    #[test]
    fn silence_is_the_longest_time_without_any_claim() {
        let at = |millis: u64| Duration::from_millis(1000 + millis);
        for (rows, from, until, millis) in [
            (&[""][..], 0, 50, 50),
            (&["aaaaaa"], 0, 50, 10),
            (&["aa    bb"], 0, 70, 50),
            (&["aa    bb"], 30, 70, 30),
            (&["aa"], 0, 100, 90),
        ] {
            let silence = longest_silence(&mk_claims(rows), at(from), at(until));
            assert_eq!(
                silence,
                Duration::from_millis(millis),
                "row {rows:?} {from}..{until}"
            );
        }
    }

    #[test]
    fn the_last_claimant_is_the_latest_in_time_not_in_the_list() {
        let claims = mk_claims(&["    b", "aa"]);
        assert_eq!(last_claimant(&claims), Some(MacAddr([2, 0, 0, 0, 0, b'b'])));
        assert_eq!(last_claimant(&[]), None);
    }
}
