//! Stations that a segment can be probed with: the neighbours that the kernel knows there, routers first.
//!
//! They must be known before they are needed, so they are looked at now and then. This one thing is polled: a subscription
//! would wake the speaker for every neighbour of every pod.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

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
                    publish(&found, stations);
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

fn publish(found: &watch::Sender<Arc<Stations>>, mut stations: Stations) {
    found.send_if_modified(|known| {
        // A segment whose neighbours are all forgotten is told as empty once.
        for interface in known
            .iter()
            .filter(|(_, known)| !known.is_empty())
            .map(|it| it.0)
        {
            stations.entry(*interface).or_default();
        }
        let differs = **known != stations;
        if differs {
            *known = Arc::new(stations);
        }
        differs
    });
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
    is_stale: bool,
    address: IpAddr,
}

impl Neighbour {
    fn read(message: &NeighbourMessage) -> Option<Self> {
        let is_stale = match message.header.state {
            NeighbourState::Reachable | NeighbourState::Permanent => false,
            NeighbourState::Stale | NeighbourState::Delay | NeighbourState::Probe => true,
            _ => return None,
        };
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
            is_stale,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_neighbours_routers_and_those_heard_lately_are_chosen() {
        let mk = |last: u8, is_host, is_stale| Neighbour {
            interface: 3,
            is_host,
            is_stale,
            address: [192, 0, 2, last].into(),
        };
        let mut neighbours: Vec<Neighbour> = (1..=20).map(|last| mk(last, true, true)).collect();
        neighbours.push(mk(254, false, true));
        neighbours.push(mk(100, true, false));
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
    fn a_segment_without_neighbours_any_more_is_told_once() {
        let (found, mut stations) = watch::channel(Arc::default());
        let some: Stations = [(3, [IpAddr::from([192, 0, 2, 1])].into())].into();
        publish(&found, some.clone());
        assert_eq!(**stations.borrow_and_update(), some);
        publish(&found, Stations::new());
        assert_eq!(
            **stations.borrow_and_update(),
            Stations::from([(3, BTreeSet::new())])
        );
        publish(&found, Stations::new());
        assert!(stations.has_changed().unwrap());
        assert!(stations.borrow_and_update().is_empty());
        publish(&found, Stations::new());
        assert!(!stations.has_changed().unwrap());
    }
}
