//! Where the peer is and how to get there: the listener, the neighbour of an unnumbered session, our links, BFD.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use portolan_proto::bgp::NextHops;
use portolan_proto::bgp::session::{Input, StopReason};

use super::super::connection::Connection;
use super::super::listen::Visit;
use super::super::path::{self, Path};
use super::super::socket::{self, SocketError};
use super::super::unnumbered::Neighbour;
use super::super::{Remote, next_hop};
use super::{REGISTER_RETRY, Task, find, now};
use crate::link::Links;

impl Task {
    /// Gets a place at the listener, or says why not.
    pub(super) fn register(&mut self) {
        self.register_at = None;
        let from = match self.spec.remote {
            Remote::Address(address) => SocketAddr::new(address, 0),
            // Until there is one, nobody can come from it.
            Remote::Interface { .. } => match self.neighbour().address {
                Some(address) => address.into(),
                None => return,
            },
        };
        let vrf = self.surroundings.check_vrf(self.spec.vrf.as_deref());
        let listeners = &self.surroundings.listeners;
        let place = vrf
            .map_err(Into::into)
            .and_then(|()| listeners.register(&self.spec, from));
        match place {
            Ok(place) => {
                self.place = Some(place);
                self.unregistered = None;
            }
            Err(error) => {
                let why = error.to_string();
                // Once: attempts to connect fail for reasons of their own meanwhile.
                if self.unregistered.as_ref() != Some(&why) {
                    self.complain(&why);
                    self.unregistered = Some(why);
                }
                self.register_at = Some(now() + REGISTER_RETRY);
            }
        }
    }

    pub(super) fn neighbour(&self) -> Neighbour {
        let search = self.search.as_ref();
        search.map_or_else(Neighbour::default, |it| it.neighbour.borrow().clone())
    }

    /// The neighbour of an unnumbered session is there, is gone, or is another one. Connections to the former one go on
    /// for as long as they can; new ones are the other's.
    pub(super) fn sighted(&mut self) {
        self.place = None;
        self.register_at = self.spec.listens().then(now);
        self.watch_path();
    }

    /// Keeps BFD on the way that the session takes.
    pub(super) fn watch_path(&mut self) {
        let bfd = self.profile.borrow_and_update().clone();
        // What keeps the session out of its VRF keeps BFD out, too.
        let vrf = self.surroundings.check_vrf(self.spec.vrf.as_deref());
        let bfd = bfd.filter(|_| vrf.is_ok());
        let remote = match self.spec.remote {
            Remote::Address(address) => Some(address),
            Remote::Interface { .. } => self.neighbour().address.map(|it| IpAddr::V6(*it.ip())),
        };
        let wanted = bfd.zip(remote).map(|(bfd, remote)| {
            let links = self.surroundings.links();
            path::spec(&self.spec, &bfd, remote, &links)
        });
        match (&mut self.path, wanted) {
            (_, None) => self.path = None,
            (Some(path), Some(wanted)) if path.is_of(&wanted) => path.follow(wanted),
            (_, Some(wanted)) => {
                let engine = self.surroundings.bfd.as_ref();
                self.path = engine.map(|engine| Path::watch(engine, wanted));
            }
        }
    }

    /// BFD has news.
    pub(super) fn judge_path(&mut self) {
        if self.path.as_mut().is_some_and(Path::has_failed) {
            self.give(Input::BfdDown);
        }
    }

    /// A connection from the peer. One buffer of what it said on others before is heard first: the end of one, if it is in
    /// there, makes way for this.
    pub(super) fn visited(&mut self, visit: Visit) {
        self.read();
        let Visit {
            stream,
            from,
            place,
        } = visit;
        let adopted = socket::adopt(&stream, from.ip(), &self.spec)
            .and_then(|()| Connection::new(stream, Some(place)).map_err(SocketError::Connect));
        match adopted {
            Ok(connection) => {
                let hops = self.next_hops(&connection);
                let id = self.peer.mint();
                self.connections.push((id, connection));
                self.give(Input::Accepted(id, hops));
            }
            Err(error) => self.complain(&format!("refused a connection of the peer: {error}")),
        }
    }

    pub(super) fn next_hops(&self, connection: &Connection) -> NextHops {
        let links = self.surroundings.links();
        next_hop::of(&links, &self.spec, connection.local(), connection.remote())
    }

    /// Ends what can not work any more, and begins anew what would begin with other next hops.
    pub(super) fn look_at_links(&mut self) {
        let links: Arc<Links> = self.surroundings.links();
        let fault = self.connections.iter().find_map(|(_, connection)| {
            next_hop::fault(&links, &self.spec, connection.local(), connection.remote())
        });
        self.watch_path();
        let way = next_hop::way(&links, &self.spec);
        let is_up = way.is_some() && way != std::mem::replace(&mut self.way, way);
        if let Some(fault) = fault {
            return self.give(Input::LinkDown(fault));
        }
        if is_up {
            self.give(Input::LinkUp);
        }
        let Some(connection) = self
            .peer
            .live()
            .and_then(|id| find(&mut self.connections, id))
        else {
            return;
        };
        let fresh = next_hop::of(&links, &self.spec, connection.local(), connection.remote());
        let held = self.peer.next_hops().unwrap_or_default();
        if !next_hop::still_hold(&links, &held, &fresh) {
            let words = "addresses of the interface have changed".to_owned();
            self.give(Input::Stop(StopReason::Reset(words)));
            self.give(Input::Start);
        }
    }
}
