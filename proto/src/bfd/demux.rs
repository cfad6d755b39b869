//! Which session a packet belongs to (RFC 5880 §6.3, RFC 5881 §3, RFC 5883 §4).

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::dice::Dice;
use super::packet::{Discriminator, Packet, State};

/// Where packets come from and go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    /// The peer's address.
    pub peer: IpAddr,
    /// Our address.
    pub local: IpAddr,
    /// Index of the interface; None means any. Multihop packets come by any.
    pub interface: Option<u32>,
    /// More than one hop: another port, so another world.
    pub multihop: bool,
    /// Index of the VRF device; None means the main routing table. Addresses mean something else in each.
    pub vrf: Option<u32>,
}

impl Path {
    /// What no discriminator reaches across.
    const fn world(&self) -> World {
        (self.multihop, self.vrf)
    }
}

/// Single hop or multihop, and the VRF.
type World = (bool, Option<u32>);

/// Why a packet belongs to no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DemuxError {
    /// It names a session that does not exist, or one of another kind (single hop, multihop) or VRF.
    #[error("your discriminator {} is not known", .0.get())]
    Discriminator(Discriminator),
    /// Only a peer that is down may not know our discriminator.
    #[error("your discriminator 0 in state {0}")]
    Zero(State),
    /// Nobody expects packets by this path.
    #[error("no session from {0:?}")]
    Path(Path),
}

/// All sessions of one host; `K` is what the host calls them.
#[derive(Clone, Debug)]
pub struct Demux<K> {
    named: HashMap<Discriminator, (K, World)>,
    paths: HashMap<Path, K>,
    /// Minted and not yet given back.
    minted: HashSet<Discriminator>,
}

impl<K> Default for Demux<K> {
    fn default() -> Self {
        Self {
            named: HashMap::new(),
            paths: HashMap::new(),
            minted: HashSet::new(),
        }
    }
}

impl<K: Copy> Demux<K> {
    /// A discriminator that no session has. Random, so that a peer never takes us for who we were before a restart.
    pub fn mint(&mut self, dice: &mut Dice) -> Discriminator {
        loop {
            let fresh = Discriminator::new(dice.roll()).filter(|it| self.minted.insert(*it));
            if let Some(fresh) = fresh {
                return fresh;
            }
        }
    }

    /// Takes a session in; false if another one has its path.
    pub fn insert(&mut self, discriminator: Discriminator, path: Path, key: K) -> bool {
        if self.paths.contains_key(&path) {
            return false;
        }
        self.paths.insert(path, key);
        self.named.insert(discriminator, (key, path.world()));
        true
    }

    /// The session on a path.
    #[must_use]
    pub fn on(&self, path: &Path) -> Option<K> {
        self.paths.get(path).copied()
    }

    /// Forgets a session, and its discriminator may be minted again.
    pub fn remove(&mut self, discriminator: Discriminator, path: &Path) {
        self.named.remove(&discriminator);
        self.minted.remove(&discriminator);
        self.paths.remove(path);
    }

    /// The session of a packet that came by `path` (with its interface). A session is found by what we call it, if the
    /// peer knows that: routers may answer from another address or by another interface.
    pub fn find(&self, packet: &Packet, path: Path) -> Result<K, DemuxError> {
        if let Some(yours) = packet.your_discriminator {
            let named = self.named.get(&yours);
            let here = named.filter(|(_, world)| *world == path.world());
            return here
                .map(|(key, _)| *key)
                .ok_or(DemuxError::Discriminator(yours));
        }
        if !matches!(packet.state, State::Down | State::AdminDown) {
            return Err(DemuxError::Zero(packet.state));
        }
        let anywhere = Path {
            interface: None,
            ..path
        };
        let exact = self.on(&path).filter(|_| !path.multihop);
        exact
            .or_else(|| self.on(&anywhere))
            .ok_or(DemuxError::Path(path))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::packet::tests::mk_packet;
    use super::*;

    fn mk_path(peer: u8, interface: Option<u32>, multihop: bool) -> Path {
        Path {
            peer: Ipv4Addr::new(192, 0, 2, peer).into(),
            local: Ipv4Addr::new(192, 0, 2, 254).into(),
            interface,
            multihop,
            vrf: None,
        }
    }

    fn mk_name(number: u32) -> Discriminator {
        Discriminator::new(number).unwrap()
    }

    fn mk_demux() -> Demux<&'static str> {
        let mut demux = Demux::default();
        for (number, path, key) in [
            (1, mk_path(1, None, false), "any interface"),
            (2, mk_path(1, None, true), "multihop"),
            (3, mk_path(2, Some(4), false), "interface 4"),
            (4, mk_path(2, Some(5), false), "interface 5"),
        ] {
            assert!(demux.insert(mk_name(number), path, key));
        }
        demux
    }

    #[test]
    fn a_packet_finds_its_session() {
        let demux = mk_demux();
        let first = |state| Packet {
            your_discriminator: None,
            state,
            ..mk_packet()
        };
        let named = |number| Packet {
            your_discriminator: Discriminator::new(number),
            ..mk_packet()
        };
        let (down, admin_down) = (first(State::Down), first(State::AdminDown));
        let lost = mk_path(9, Some(4), false);
        for (row, packet, path, want) in [
            (
                "by path",
                down,
                mk_path(1, Some(7), false),
                Ok("any interface"),
            ),
            (
                "admin down",
                admin_down,
                mk_path(1, Some(7), false),
                Ok("any interface"),
            ),
            (
                "multihop apart",
                down,
                mk_path(1, Some(7), true),
                Ok("multihop"),
            ),
            (
                "by interface",
                down,
                mk_path(2, Some(4), false),
                Ok("interface 4"),
            ),
            (
                "by interface",
                down,
                mk_path(2, Some(5), false),
                Ok("interface 5"),
            ),
            (
                "elsewhere",
                down,
                mk_path(2, Some(6), false),
                Err(DemuxError::Path(mk_path(2, Some(6), false))),
            ),
            ("stranger", down, lost, Err(DemuxError::Path(lost))),
            ("by name, another way", named(3), lost, Ok("interface 4")),
            (
                "by name, another kind",
                named(2),
                lost,
                Err(DemuxError::Discriminator(mk_name(2))),
            ),
            (
                "unknown name",
                named(99),
                mk_path(1, None, false),
                Err(DemuxError::Discriminator(mk_name(99))),
            ),
            (
                "no name while Init",
                first(State::Init),
                mk_path(1, None, false),
                Err(DemuxError::Zero(State::Init)),
            ),
            (
                "no name while Up",
                first(State::Up),
                mk_path(1, None, false),
                Err(DemuxError::Zero(State::Up)),
            ),
        ] {
            assert_eq!(demux.find(&packet, path), want, "{row}");
        }
    }

    #[test]
    fn a_removed_session_is_found_no_more_and_its_path_is_free() {
        let mut demux = mk_demux();
        let path = mk_path(1, None, false);
        assert!(!demux.insert(mk_name(9), path, "rival"));
        demux.remove(mk_name(1), &path);
        assert_eq!(demux.on(&path), None);
        assert!(demux.insert(mk_name(9), path, "heir"));
        assert_eq!(demux.on(&path), Some("heir"));
    }

    #[test]
    fn minted_discriminators_differ() {
        let mut demux: Demux<()> = Demux::default();
        // The same dice thrown anew would give the same names.
        let all: HashSet<_> = (0..50).map(|_| demux.mint(&mut Dice::new(3))).collect();
        assert_eq!(all.len(), 50);
    }
}
