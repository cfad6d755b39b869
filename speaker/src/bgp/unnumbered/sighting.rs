//! Who has advertised itself on a link: one neighbour, and how many others. Pure.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

/// How long a silent neighbour keeps its place against another: routers advertise themselves every 10 minutes at most,
/// those who look for unnumbered neighbours every 10 to 30 seconds.
const STALE: Duration = Duration::from_secs(65);

/// What was seen on a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sighting {
    first: Option<(Ipv6Addr, Instant)>,
    second: Option<(Ipv6Addr, Instant)>,
}

impl Sighting {
    /// A router advertised itself.
    pub(crate) fn hear(&mut self, router: Ipv6Addr, now: Instant) {
        let fresh = Some((router, now));
        match self.first {
            Some((known, heard)) if known != router && now < heard + STALE => self.second = fresh,
            _ => self.first = fresh,
        }
        let rival = |(other, heard)| Some(other) != self.router() && now < heard + STALE;
        self.second = self.second.filter(|second| rival(*second));
    }

    /// The neighbour.
    pub(crate) fn router(&self) -> Option<Ipv6Addr> {
        self.first.map(|(router, _)| router)
    }

    /// Another one on the same link, which is one too many.
    pub(crate) fn rival(&self) -> Option<Ipv6Addr> {
        self.second.map(|(router, _)| router)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xa);
    const B: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xb);

    #[test]
    fn the_first_neighbour_stays_until_it_is_silent_for_long() {
        let start = tokio::time::Instant::now().into_std();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut seen = Sighting::default();
        for (row, at, who, router, rival) in [
            ("the first", 0, A, A, None),
            ("another beside it", 1, B, A, Some(B)),
            ("both go on", 60, A, A, Some(B)),
            ("the other is silent", 120, A, A, None),
            ("it comes back in time", 184, B, A, Some(B)),
            ("the first one is gone", 185, B, B, None),
        ] {
            seen.hear(who, after(at));
            assert_eq!(
                (seen.router(), seen.rival()),
                (Some(router), rival),
                "{row}"
            );
        }
    }
}
