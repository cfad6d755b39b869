//! Stations that a segment can be probed with: the neighbours that the kernel has heard there lately, routers first.
//!
//! They must be known before they are needed, so they are looked at now and then. This one thing is polled: a subscription
//! would wake the speaker for every neighbour of every pod.
//!
//! Who was not heard for a minute has perhaps left, and would make a segment look dead whose last other node has died. But
//! on a segment that is dead nobody is heard: there the list of those who were there before it died goes on to count, for
//! [`TRUST`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// By interface index.
pub(super) type Stations = BTreeMap<u32, BTreeSet<IpAddr>>;

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(10);
/// How lately a station was heard.
pub(super) const LATELY: Duration = Duration::from_secs(60);
/// How long stations count that are not heard any more, on a segment without any other sign of life.
pub(super) const TRUST: Duration = Duration::from_secs(300);
/// The kernel's unit of time towards programs (USER_HZ), on every architecture that we run on.
const TICK: Duration = Duration::from_millis(10);
/// Longest time that one may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Stations of one segment: one that lives is enough, and each is asked ten times a second when it matters.
const OF_ONE: usize = 8;
/// Neighbours looked at: more than a kernel keeps by default.
const LOOKED_AT: usize = 4096;

/// Looks for ever, on the runtime around; ends with the receiver.
pub(super) fn follow() -> watch::Receiver<Arc<Stations>> {
    let (found, stations) = watch::channel(Arc::default());
    tokio::spawn(async move {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                () = found.closed() => return,
                _ = ticks.tick() => {}
            }
            let looked = timeout(TIMEOUT, look()).await;
            let result = looked.unwrap_or_else(|_late| Err(io::ErrorKind::TimedOut.into()));
            match result {
                Ok(stations) => {
                    failing = false;
                    // Told each time: those who are not heard any more count for a while only.
                    found.send_replace(Arc::new(stations));
                }
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(%error, "neighbours of this node can not be read");
                }
                Err(_) => {}
            }
        }
    });
    stations
}

async fn look() -> io::Result<Stations> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let found = handle.neighbours().get().execute();
    let mut found = std::pin::pin!(found);
    let mut neighbours = Vec::new();
    let result = loop {
        match found.try_next().await {
            Ok(Some(message)) if neighbours.len() < LOOKED_AT => {
                neighbours.extend(Neighbour::read(&message));
            }
            Ok(_) => break Ok(choose(neighbours)),
            Err(error) => break Err(io::Error::other(error)),
        }
    };
    connection.abort();
    result
}

/// Somebody on a segment, in the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Neighbour {
    interface: u32,
    is_host: bool,
    /// Time since it was heard.
    silence: Duration,
    address: IpAddr,
}

impl Neighbour {
    fn read(message: &NeighbourMessage) -> Option<Self> {
        // A permanent entry is somebody's configuration: nothing was heard.
        let resolved = matches!(
            message.header.state,
            NeighbourState::Reachable
                | NeighbourState::Stale
                | NeighbourState::Delay
                | NeighbourState::Probe
        );
        let silence = message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                NeighbourAttribute::CacheInfo(info) => Some(TICK * info.confirmed),
                _ => None,
            })?;
        if !resolved || silence > LATELY {
            return None;
        }
        let address = message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => {
                    Some(IpAddr::V4(*ip))
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => {
                    Some(IpAddr::V6(*ip))
                }
                _ => None,
            });
        let address = address.filter(|it| !it.is_multicast() && !it.is_unspecified())?;
        Some(Self {
            interface: message.header.ifindex,
            is_host: !message.header.flags.contains(NeighbourFlags::Router),
            silence,
            address,
        })
    }
}

/// The best of each segment.
fn choose(mut neighbours: Vec<Neighbour>) -> Stations {
    neighbours.sort_unstable();
    let mut stations = Stations::new();
    for neighbour in neighbours {
        let segment = stations.entry(neighbour.interface).or_default();
        if segment.len() < OF_ONE {
            segment.insert(neighbour.address);
        }
    }
    stations
}

/// The stations of one segment that count.
#[derive(Debug, Default)]
struct Witnesses {
    heard: BTreeSet<IpAddr>,
    /// Not heard any more, since the segment has no other sign of life.
    lost: BTreeMap<IpAddr, Instant>,
}

impl Witnesses {
    /// Takes in who was heard lately; `alive` when the segment has another sign of life. Returns whether others count now.
    fn follow(&mut self, heard: &BTreeSet<IpAddr>, alive: bool, now: Instant) -> bool {
        let before = self.all();
        let gone = self.heard.difference(heard);
        self.lost.extend(gone.map(|station| (*station, now)));
        self.heard.clone_from(heard);
        self.lost.retain(|station, since| {
            !alive && !heard.contains(station) && now.saturating_duration_since(*since) < TRUST
        });
        while self.lost.len() > OF_ONE {
            let oldest = self.lost.iter().min_by_key(|(_, since)| **since);
            let Some(oldest) = oldest.map(|(station, _)| *station) else {
                break;
            };
            self.lost.remove(&oldest);
        }
        before != self.all()
    }

    fn all(&self) -> BTreeSet<IpAddr> {
        self.heard.iter().chain(self.lost.keys()).copied().collect()
    }
}

/// Those of all segments that have some.
#[derive(Debug, Default)]
pub(super) struct AllWitnesses(BTreeMap<u32, Witnesses>);

impl AllWitnesses {
    /// As [`Witnesses::follow`], everywhere. Returns the segments where others count now, with all that do.
    pub(super) fn follow(
        &mut self,
        stations: &Stations,
        alive: impl Fn(u32) -> bool,
        now: Instant,
    ) -> Vec<(u32, BTreeSet<IpAddr>)> {
        for interface in stations.keys() {
            self.0.entry(*interface).or_default();
        }
        let nobody = BTreeSet::new();
        let mut others = Vec::new();
        self.0.retain(|interface, witnesses| {
            let heard = stations.get(interface).unwrap_or(&nobody);
            let differ = witnesses.follow(heard, alive(*interface), now);
            let all = witnesses.all();
            let some = !all.is_empty();
            if differ {
                others.push((*interface, all));
            }
            some
        });
        others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_neighbours_routers_and_those_heard_lately_are_chosen() {
        let mk = |last: u8, is_host, seconds| Neighbour {
            interface: 3,
            is_host,
            silence: Duration::from_secs(seconds),
            address: [192, 0, 2, last].into(),
        };
        let mut neighbours: Vec<Neighbour> = (1..=20).map(|last| mk(last, true, 40)).collect();
        neighbours.push(mk(254, false, 50));
        neighbours.push(mk(100, true, 1));
        let chosen = choose(neighbours).remove(&3).unwrap();
        assert_eq!(chosen.len(), OF_ONE);
        for last in [254, 100, 1] {
            assert!(
                chosen.contains(&IpAddr::from([192, 0, 2, last])),
                "{last}: {chosen:?}"
            );
        }
    }

    #[tokio::test]
    async fn the_kernel_can_be_asked() {
        look().await.unwrap();
    }

    #[test]
    fn a_dead_segment_without_any_neighbour_is_forgotten_in_the_end() {
        let start = tokio::time::Instant::now().into_std();
        let one = IpAddr::from([192, 0, 2, 1]);
        let mut all = AllWitnesses::default();
        let some: Stations = [(3, [one].into())].into();
        let nobody = Stations::new();
        assert_eq!(all.follow(&some, |_| true, start), [(3, [one].into())]);
        for seconds in [10, 20, 309] {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(all.follow(&nobody, |_| false, now), [], "{seconds} s");
        }
        let late = start + Duration::from_secs(10) + TRUST;
        assert_eq!(all.follow(&nobody, |_| false, late), [(3, BTreeSet::new())]);
        assert!(all.0.is_empty(), "nothing is kept of it");
    }

    #[test]
    fn of_those_who_are_not_heard_any_more_only_the_latest_count() {
        let start = tokio::time::Instant::now().into_std();
        let mut witnesses = Witnesses::default();
        for second in 0..100 {
            let heard = [IpAddr::from([192, 0, 2, second])].into();
            witnesses.follow(&heard, false, start + Duration::from_secs(second.into()));
        }
        let all = witnesses.all();
        assert_eq!(all.len(), 1 + OF_ONE);
        assert!(all.contains(&IpAddr::from([192, 0, 2, 98])), "{all:?}");
    }

    #[test]
    fn on_a_segment_without_a_sign_of_life_those_who_were_there_go_on_to_count_for_a_while() {
        let start = tokio::time::Instant::now().into_std();
        let at = |seconds| start + Duration::from_secs(seconds);
        let [one, other] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        let both: BTreeSet<IpAddr> = [one, other].into();
        let nobody = BTreeSet::new();
        let mut witnesses = Witnesses::default();
        assert!(witnesses.follow(&both, true, at(0)));
        assert!(witnesses.follow(&[one].into(), true, at(10)), "has left");
        assert_eq!(witnesses.all(), [one].into());
        witnesses.follow(&both, true, at(20));
        assert!(
            !witnesses.follow(&nobody, false, at(30)),
            "the segment is dead"
        );
        assert!(!witnesses.follow(&nobody, false, at(329)));
        assert_eq!(witnesses.all(), both);
        assert!(
            witnesses.follow(&nobody, false, at(330)),
            "that was long ago"
        );
        witnesses.follow(&both, false, at(340));
        witnesses.follow(&nobody, false, at(350));
        assert!(
            witnesses.follow(&nobody, true, at(360)),
            "it lives, and they are not there"
        );
        assert_eq!(witnesses.all(), nobody);
    }
}
