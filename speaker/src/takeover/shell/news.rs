//! What the shell tells the core: what happened, and how things stand.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use portolan_proto::ethernet::MacAddr;
use tokio::sync::mpsc;

use super::super::{Cause, Duty, SessionKey, SessionWish, Standing, Took};
use crate::bfd::BfdStatus;

/// Conflicts that are remembered.
pub(super) const CONFLICTS: usize = 100;
/// How long a station that is not heard any more is remembered.
pub(super) const CONFLICT_MEMORY: Duration = Duration::from_secs(300);
/// News that wait while the core takes none. More are of no use to anybody.
const WAITING: usize = 64;

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Addresses were taken over.
    Took {
        /// The node that answered before.
        from: String,
        /// Why.
        cause: Cause,
        /// The addresses.
        vips: Vec<IpAddr>,
        /// From the last sign of life of the other node until the addresses were announced; none without any sign.
        silence: Option<Duration>,
        /// When.
        at: Timestamp,
    },
    /// Addresses are answered for by another node now.
    Yielded {
        /// The other node.
        to: String,
        /// The addresses.
        vips: Vec<IpAddr>,
    },
    /// A station outside the cluster uses an address.
    Conflict(Conflict),
    /// The core was too slow for so many.
    Lost(usize),
}

/// A station outside the cluster that uses an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// The address.
    pub(crate) vip: IpAddr,
    /// The station.
    pub(crate) mac: MacAddr,
    /// Where it was heard, by name.
    pub(crate) interface: String,
    /// When it was heard last.
    pub(crate) last: Timestamp,
    /// When the address was probed before its first use.
    pub(crate) before_use: bool,
}

/// How things stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Picture {
    /// What was ordered.
    pub(crate) duties: Arc<BTreeMap<IpAddr, Duty>>,
    /// By address.
    pub(crate) standing: BTreeMap<IpAddr, Standing>,
    /// The paths to other nodes.
    pub(crate) watched: Vec<Watched>,
    /// Stations that use addresses which are answered here.
    pub(crate) conflicts: Vec<Conflict>,
    /// What stands in the way of messages, in words.
    pub(crate) problems: Vec<String>,
    /// There is a key to sign with.
    pub(crate) signs: bool,
}

/// A path to another node, as BFD sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Watched {
    pub(crate) key: SessionKey,
    pub(crate) wish: SessionWish,
    pub(crate) status: Option<BfdStatus>,
}

/// Collects what happened, and tells it once everything is done.
#[derive(Debug)]
pub(super) struct Digest {
    out: mpsc::Sender<News>,
    waiting: Vec<News>,
    took: Vec<(Took, Option<Instant>)>,
    yielded: BTreeMap<String, Vec<IpAddr>>,
    lost: usize,
}

impl Digest {
    pub(super) fn new(out: mpsc::Sender<News>) -> Self {
        Self {
            out,
            waiting: Vec::new(),
            took: Vec::new(),
            yielded: BTreeMap::new(),
            lost: 0,
        }
    }

    /// `last_heard`: the last packet of the other node that BFD saw.
    pub(super) fn took(&mut self, took: Took, last_heard: Option<Instant>) {
        self.took.push((took, last_heard));
    }

    pub(super) fn yielded(&mut self, vip: IpAddr, to: String) {
        self.yielded.entry(to).or_default().push(vip);
    }

    pub(super) fn conflict(&mut self, conflict: Conflict) {
        self.waiting.push(News::Conflict(conflict));
    }

    /// All that was collected has been done by `now`.
    pub(super) fn send(&mut self, now: Instant) {
        for (took, last_heard) in std::mem::take(&mut self.took) {
            let heard = last_heard.map(|heard| now.saturating_duration_since(heard));
            self.waiting.push(News::Took {
                from: took.from,
                cause: took.cause,
                vips: took.vips,
                silence: heard.or(took.since_last_sign),
                at: Timestamp::now(),
            });
        }
        for (to, vips) in std::mem::take(&mut self.yielded) {
            self.waiting.push(News::Yielded { to, vips });
        }
        if self.lost > 0 && self.out.try_send(News::Lost(self.lost)).is_ok() {
            self.lost = 0;
        }
        while let Some(news) = self.waiting.first() {
            if self.out.try_send(news.clone()).is_err() {
                break;
            }
            self.waiting.remove(0);
        }
        let excess = self.waiting.len().saturating_sub(WAITING);
        self.lost += self.waiting.drain(..excess).count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_took(last: u8) -> Took {
        Took {
            from: "n1".into(),
            cause: Cause::Silent,
            vips: vec![[192, 0, 2, last].into()],
            since_last_sign: Some(Duration::from_millis(400)),
        }
    }

    fn mk_now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[test]
    fn silence_counts_from_the_last_packet_to_the_announcement() {
        let (out, mut told) = mpsc::channel(4);
        let mut digest = Digest::new(out);
        let now = mk_now();
        digest.took(mk_took(1), Some(now));
        digest.took(mk_took(2), None);
        digest.send(now + Duration::from_millis(301));
        for milliseconds in [301, 400] {
            let News::Took { silence, .. } = told.try_recv().unwrap() else {
                panic!("another news");
            };
            assert_eq!(silence, Some(Duration::from_millis(milliseconds)));
        }
    }

    #[test]
    fn addresses_that_go_to_one_node_are_one_news() {
        let (out, mut told) = mpsc::channel(4);
        let mut digest = Digest::new(out);
        for (last, to) in [(1, "n2"), (2, "n3"), (3, "n2")] {
            digest.yielded([192, 0, 2, last].into(), to.into());
        }
        digest.send(mk_now());
        let mut counts = Vec::new();
        while let Ok(News::Yielded { to, vips }) = told.try_recv() {
            counts.push((to, vips.len()));
        }
        assert_eq!(counts, [("n2".to_owned(), 2), ("n3".to_owned(), 1)]);
    }

    #[test]
    fn what_the_core_is_too_slow_for_is_bounded_and_counted() {
        let (out, mut told) = mpsc::channel(1);
        let mut digest = Digest::new(out);
        for last in 0..200 {
            digest.took(mk_took(last), None);
            digest.send(mk_now());
        }
        assert_eq!(digest.waiting.len(), WAITING);
        let mut seen = 0;
        while let Ok(news) = told.try_recv() {
            seen += match news {
                News::Lost(lost) => lost,
                _ => 1,
            };
            digest.send(mk_now());
        }
        assert_eq!(seen, 200);
    }
}
