//! Bytes in and out: messages from the peer to the machine, UPDATEs from the table to the socket.

use std::io;

use portolan_proto::bgp::session::{ConnId, Input};
use portolan_proto::bgp::{Frame, Kind, Peek};

use super::{Task, find, now};

/// More UPDATEs are packed when less than this waits to be written.
const LOW_WATER: usize = 64 * 1024;
/// How far the output queue is filled then.
const HIGH_WATER: usize = 256 * 1024;
/// Reads from a connection that is broken already: about as much as the kernel holds of what came before (8 MiB).
const LAST_READS: usize = 512;

impl Task {
    /// Reads once from each connection and handles all whole messages.
    pub(super) fn read(&mut self) {
        let ids: Vec<ConnId> = self.connections.iter().map(|(id, _)| *id).collect();
        for id in ids {
            self.read_from(id);
        }
    }

    /// Says how many bytes came; 0 for none right now, or an end.
    pub(super) fn read_from(&mut self, id: ConnId) -> usize {
        let Some(connection) = find(&mut self.connections, id) else {
            return 0;
        };
        let result = connection.read();
        let (mut taken, mut messages) = (0, 0);
        let now = now();
        while self.peer.knows(id) {
            match Frame::peek(connection.received().get(taken..).unwrap_or_default()) {
                Ok(Peek::Partial) => break,
                Ok(Peek::Whole(frame, length)) => {
                    taken += length;
                    messages += 1;
                    if frame.kind == Kind::Notification {
                        self.shared.traffic.count_told(frame.body);
                    }
                    self.peer
                        .handle(Input::Received(id, frame), now, &mut self.effects);
                }
                Err(error) => {
                    self.peer
                        .handle(Input::Garbled(id, error), now, &mut self.effects);
                }
            }
        }
        connection.consume(taken);
        let bytes = *result.as_ref().unwrap_or(&0);
        self.shared.traffic.count_in(messages, bytes);
        self.act();
        if let Err(error) = result {
            self.lost(id, &error);
        }
        bytes
    }

    /// Packs more UPDATEs if the queue runs low.
    ///
    /// Says whether there may be more as soon as there is room.
    pub(super) fn fill(&mut self) -> bool {
        let live = self.peer.live();
        let Some(connection) = live.and_then(|id| find(&mut self.connections, id)) else {
            return false;
        };
        let backlog = connection.backlog();
        if backlog >= LOW_WATER {
            return true;
        }
        connection.compact();
        let mut rib = self.shared.rib();
        let room = HIGH_WATER - backlog;
        let follower = rib.follower(&self.spec.name);
        let Some((target, pulled)) = self.peer.pull(follower, room, now(), &mut self.packed) else {
            return false;
        };
        debug_assert_eq!(live, Some(target), "one connection is live");
        let packed = self.packed.len();
        connection.queue().append(&mut self.packed);
        drop(rib);
        self.shared.traffic.count_out(pulled.messages);
        if pulled.messages > 0 {
            self.shared.report(|status| {
                status.updates_sent += u64::try_from(pulled.messages).unwrap_or(u64::MAX);
            });
        }
        // A pull that came to the end leaves most of the room.
        packed >= room / 2
    }

    /// Whether the output queue runs low.
    pub(super) fn has_room(&mut self) -> bool {
        let live = self.peer.live();
        let connection = live.and_then(|id| find(&mut self.connections, id));
        connection.is_some_and(|connection| connection.backlog() < LOW_WATER)
    }

    pub(super) fn flush(&mut self) {
        let ids: Vec<ConnId> = self.connections.iter().map(|(id, _)| *id).collect();
        for id in ids {
            let Some(connection) = find(&mut self.connections, id) else {
                continue;
            };
            let mut sent = 0;
            let result = connection.write(&mut sent);
            self.shared.traffic.count_sent(sent);
            match result {
                Ok(output) => self.give(Input::Output(id, output)),
                Err(error) => {
                    // A peer that closed may have said why, behind everything else that it had to say.
                    let mut reads = 0;
                    while reads < LAST_READS && self.read_from(id) > 0 {
                        reads += 1;
                    }
                    self.lost(id, &error);
                }
            }
        }
    }

    pub(super) fn lost(&mut self, id: ConnId, error: &io::Error) {
        self.give(Input::Lost(id, error.to_string()));
    }
}
