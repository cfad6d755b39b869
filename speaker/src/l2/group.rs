//! Membership in solicited-node groups, so that the interface accepts the questions, and that MLD
//! reports tell snooping switches to deliver them (RFC 4861 §7.2.1, RFC 3810).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv6Addr;

use socket2::{Domain, Socket, Type};
use thiserror::Error;

/// Groups joined by one socket. Memberships are charged to the socket's option memory
/// (`net.core.optmem_max`, 20 KiB on older kernels), 56 bytes each: 365 would fit.
const GROUPS_PER_SOCKET: usize = 256;

/// Why a group is not joined.
#[derive(Debug, Error)]
pub enum Error {
    /// No socket.
    #[error("open socket for multicast groups: {0}")]
    Open(#[source] io::Error),
    /// The kernel did not join.
    #[error("join {0}: {1}")]
    Join(Ipv6Addr, #[source] io::Error),
    /// The kernel did not leave.
    #[error("leave {0}: {1}")]
    Leave(Ipv6Addr, #[source] io::Error),
}

/// The groups that are joined on one interface. They are left when this is dropped.
#[derive(Debug)]
pub(super) struct Groups {
    interface: u32,
    members: Vec<Member>,
    joined: BTreeMap<Ipv6Addr, usize>,
}

/// A socket that exists only for its memberships; it is never read, and bound to nothing.
#[derive(Debug)]
struct Member {
    socket: Socket,
    groups: usize,
}

impl Groups {
    pub(super) fn new(interface: u32) -> Self {
        Self {
            interface,
            members: Vec::new(),
            joined: BTreeMap::new(),
        }
    }

    /// Makes the joined groups equal to `wanted`. One that fails does not stop the others; the
    /// first failure is returned, and the next call tries again.
    pub(super) fn set(&mut self, wanted: &BTreeSet<Ipv6Addr>) -> Result<(), Error> {
        let mut result = Ok(());
        let leaving: Vec<_> = self
            .joined
            .keys()
            .filter(|group| !wanted.contains(group))
            .copied()
            .collect();
        for group in leaving {
            result = result.and(self.leave(group));
        }
        let joining: Vec<_> = wanted
            .iter()
            .filter(|group| !self.joined.contains_key(group))
            .copied()
            .collect();
        for group in joining {
            result = result.and(self.join(group));
        }
        result
    }

    fn join(&mut self, group: Ipv6Addr) -> Result<(), Error> {
        let room = self
            .members
            .iter()
            .position(|member| member.groups < GROUPS_PER_SOCKET);
        if room.is_none() {
            let socket = Socket::new(Domain::IPV6, Type::DGRAM, None).map_err(Error::Open)?;
            self.members.push(Member { socket, groups: 0 });
        }
        let slot = room.unwrap_or(self.members.len() - 1);
        if let Some(member) = self.members.get_mut(slot) {
            member
                .socket
                .join_multicast_v6(&group, self.interface)
                .map_err(|error| Error::Join(group, error))?;
            member.groups += 1;
            self.joined.insert(group, slot);
        }
        Ok(())
    }

    fn leave(&mut self, group: Ipv6Addr) -> Result<(), Error> {
        let slot = self.joined.remove(&group);
        if let Some(member) = slot.and_then(|slot| self.members.get_mut(slot)) {
            member.groups -= 1;
            member
                .socket
                .leave_multicast_v6(&group, self.interface)
                .map_err(|error| Error::Leave(group, error))?;
        }
        Ok(())
    }
}
